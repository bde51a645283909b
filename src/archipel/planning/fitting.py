"""The utilisation of training fitted to documented runs: the constants of `tables/utilisation`, and how far they hold.

A Bayesian line in logarithms: coefficients are expected near 0, rows of one lab share an offset of their own, so
that a lab with many rows does not rule, and both spreads are those under which the rows are likeliest. Nothing is
drawn at random. `held_out` predicts every row from rows of other labs alone (a lab with very many, from other chips
or other labs), which is how plans meet runs that nobody here has seen.
Law: `table` makes the constants that are kept; a test makes them again.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from archipel.planning.covering import Held
from archipel.planning.documented import rows
from archipel.planning.laws import attention, memory
from archipel.planning.laws.utilisation import features
from archipel.planning.quantity import given
from archipel.planning.questions.failures import failures
from archipel.planning.questions.utilisation import chip_of, linked
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf, shelf

NINETY = 1.645
"""Standard deviations from the middle to either end of a 90% interval."""
LIKELY = 0.4
"""How far from 0 a coefficient is expected: a factor of 1.5."""
ANYWHERE = 2.0
"""The same of the level itself, which is as good as unknown."""
LABS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
FIGURES = (0.15, 0.18, 0.21, 0.24, 0.27, 0.3, 0.35, 0.4, 0.45)
"""Spreads that are tried, of labs and of figures within one."""
MANY = 25
"""A lab with more rows is left out chip by chip: with all of it, whole generations of chips would go."""
CAUSES = (
    "step",
    "whole",
    "fp8",
    "early",
    "trial",
    "experts",
    "small",
    "peak",
    "tpu",
    "amd",
    "rack",
)


@dataclass(frozen=True)
class Point:
    """A documented figure as the fit sees it."""

    name: str
    lab: str
    kind: str
    reached: float
    """Share of the bf16 peak, attention counted; of a whole run, of the time that failures left."""
    causes: dict[str, float]
    """By the names of `CAUSES`."""
    counted: float
    """What makes a utilisation of 6ND in bf16 one of this figure: attention's arithmetic, and the gain of fp8."""


@dataclass(frozen=True)
class Fit:
    """Coefficients of logarithms, and their standard deviations."""

    causes: tuple[str, ...]
    by: np.ndarray
    apart: np.ndarray
    """Covariance."""
    lab: float
    figure: float

    def says(self, causes: dict[str, float]) -> tuple[float, float]:
        """The logarithm expected of a lab not seen, and its standard deviation."""
        row = np.array([causes[name] for name in self.causes])
        spread = math.sqrt(row @ self.apart @ row + self.lab**2 + self.figure**2)
        return float(row @ self.by), spread


@cache
def points() -> tuple[Point, ...]:
    """Every row of the table of documented training."""
    known = shelf()
    return tuple(_point(row, known) for row in rows())


def _point(row: dict[str, Any], known: Shelf) -> Point:
    kind, active = row["kind"], row.get("active", row["params"])
    peak = row["peak"] if "peak" in row else _centre(known, f"accelerator.{kind}.bf16") * 1e12
    aspect = _centre(known, "train.shape.width_per_layer")
    counted = 1.0 + attention.share(row["sequence"], memory.shape_of(active, aspect, 1, 1).width)
    faster, experts, small = map(float, features(peak / 1e12, row["params"], active))
    causes = {
        "step": 1.0, "whole": float("hours" in row), "fp8": float(row.get("precision") == "fp8"),
        "early": float(row.get("early", False)), "trial": float(row.get("trial", False) and experts > 0),
        "experts": experts, "small": small, "peak": faster, "tpu": float(chip_of(kind) == "tpu"),
        "amd": float(chip_of(kind) == "amd"), "rack": float(linked(kind, experts > 0) == "rack"),
    }  # fmt: skip
    reached = _share(row, active, peak, counted, known)
    gain = _centre(known, "train.fp8_gain") if causes["fp8"] else 1.0
    return Point(row["name"], row["lab"], kind, reached, causes, counted * gain)


def _share(row: dict[str, Any], active: float, peak: float, counted: float, known: Shelf) -> float:
    """What the row says, as a share of the peak with attention counted."""
    if "pace" in row:
        return 6.0 * active * float(row["pace"]) * counted / peak
    if "hours" in row:
        kept = _goodput(row["count"], known)
        flop = 6.0 * active * float(row["tokens"]) * counted
        return flop / (float(row["hours"]) * 3600.0 * peak * kept)
    share = row["share"] * (0.75 if row["counts"] == "hardware" else 1.0)
    return float(share * (counted if row["counts"] == "model" else 1.0))


def _goodput(count: float, known: Shelf) -> float:
    job = given("fit.accelerators", count, "accelerator", "count")
    return Draws(count=1).centre(failures(job, known, "fit").goodput)


def _centre(known: Shelf, name: str) -> float:
    return Draws(count=1).centre(known[name])


def fit(seen: Sequence[Point], causes: Sequence[str] = CAUSES) -> Fit:
    """The likeliest spreads, and the coefficients under them."""
    labs = sorted({each.lab for each in seen})
    of_lab = np.array([[float(each.lab == lab) for lab in labs] for each in seen])
    before = np.full(len(causes), LIKELY)
    before[0] = ANYWHERE
    causing = np.array([[each.causes[name] for name in causes] for each in seen]) * before
    reached = np.log([each.reached for each in seen])
    columns = np.hstack([causing, of_lab])
    squares, with_reached = columns.T @ columns, columns.T @ reached
    tried = []
    for lab, figure in itertools.product(LABS, FIGURES):
        scale = np.concatenate([np.ones(len(causes)), np.full(len(labs), lab)]) / figure
        inside = np.eye(len(scale)) + scale[:, None] * squares * scale[None, :]
        weights = np.linalg.solve(inside, scale * with_reached)
        missed = reached @ reached - (scale * with_reached) @ weights
        size = 2 * len(seen) * math.log(figure) + np.linalg.slogdet(inside)[1]
        tried.append((float(-0.5 * (size + missed / figure**2)), lab, figure))
    _, lab, figure = max(tried)
    scale = np.concatenate([np.ones(len(causes)), np.full(len(labs), lab)]) / figure
    apart = np.linalg.inv(np.eye(len(scale)) + scale[:, None] * squares * scale[None, :])
    weights = apart @ (scale * with_reached) / figure
    kept = slice(len(causes))
    wide = before[:, None] * apart[kept, kept] * before[None, :]
    return Fit(tuple(causes), before * weights[kept], wide, lab, figure)


def left_out(seen: Sequence[Point]) -> Iterator[tuple[list[Point], list[Point]]]:
    """Rows of one lab, and those of all others; of a lab with `MANY` rows, one chip at a time."""
    many = Counter(each.lab for each in seen)

    def group(each: Point) -> str:
        return f"{each.lab} {each.kind}" if many[each.lab] > MANY else each.lab

    for name in sorted({group(each) for each in seen}):
        out = [each for each in seen if group(each) == name]
        yield out, [each for each in seen if group(each) != name]


def held_out(causes: Sequence[str] = CAUSES, *, whole_labs: bool = False) -> list[Held]:
    """Every figure beside what the others predict of it. whole_labs: also of labs with very many rows."""
    seen = points()
    before = shelf().entry("mfu.default").figure
    found = []
    pairs: Callable[[Sequence[Point]], Iterator[tuple[list[Point], list[Point]]]]
    pairs = _labs_out if whole_labs else left_out
    for out, rest in pairs(seen):
        made = fit(rest, causes)
        for each in out:
            middle, spread = made.says(each.causes)
            low, high = (math.exp(middle + sign * NINETY * spread) for sign in (-1, 1))
            old = (before.value, before.low or 0.0, before.high or 0.0)
            old = (old[0] * each.counted, old[1] * each.counted, old[2] * each.counted)
            found.append(Held(each.name, each.reached, math.exp(middle), low, high, old))
    return found


def _labs_out(seen: Sequence[Point]) -> Iterator[tuple[list[Point], list[Point]]]:
    for lab in sorted({each.lab for each in seen}):
        yield [e for e in seen if e.lab == lab], [e for e in seen if e.lab != lab]


ABOUT = {
    "step": "utilisation of a step of a large dense model on a chip of 600 TFLOP/s, bf16, attention counted",
    "whole": "time at the pace of its steps over all time of a run that failures left",
    "fp8": "pace with fp8 products over bf16",
    "experts": "exponent of parameters held per parameter used",
    "small": "how much faster chips lose on models of less than 20 billion active parameters: exponent of both",
    "peak": "exponent of the chip's peak over 600 TFLOP/s",
    "chip.tpu": "TPUs beside other chips of their peak",
    "chip.amd": "AMD accelerators beside other chips of their peak",
    "links.rack": "mixtures on chips linked through a whole rack (NVL72) beside servers of eight",
    "spread": "how far labs' speeds lie from the fitted one, as a factor",
}
_NAMES = {"tpu": "chip.tpu", "amd": "chip.amd", "rack": "links.rack"}
_EXPONENTS = ("experts", "small", "peak")
_ONLY_TAUGHT = ("early", "trial")
"""What explains rows and holds for no plan."""


def table() -> dict[str, tuple[float, float, float]]:
    """Every constant with the ends of its 90% interval, by its name below `utilisation`."""
    made = fit(points())
    found = {}
    for name, by, apart in zip(made.causes, made.by, np.diag(made.apart), strict=True):
        if name in _ONLY_TAUGHT:
            continue
        ends = (float(by + sign * NINETY * math.sqrt(apart)) for sign in (0, -1, 1))
        shown = ends if name in _EXPONENTS else (math.exp(end) for end in ends)
        value, low, high = (float(f"{end:.4g}") for end in shown)
        found[_NAMES.get(name, name)] = (value, low, high)
    most = float(f"{math.exp(NINETY * math.hypot(made.lab, made.figure)):.4g}")
    return found | {"spread": (1.0, float(f"{1.0 / most:.4g}"), most)}


def table_text() -> str:
    """The same as the rows of a table."""
    lines = []
    for name, (value, low, high) in table().items():
        spread = ', spread = "linear"' if name in _EXPONENTS else ""
        lines.append(
            f'utilisation.{name} = {{value = {value:g}, low = {low:g}, high = {high:g}, unit = "1"{spread}, '
            f'kind = "derived", source = "archipel-training-fit", about = "{ABOUT[name]}"}}'
        )
    return "\n".join(lines)
