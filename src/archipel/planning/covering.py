"""How far what is fitted here holds: every measured figure beside what the others predict of it, by field.

Law: a figure is predicted by a fit that has not seen it, nor others of its lab or machine; what stood in its place
before is held against the same figures.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from statistics import median
from typing import Any

SEEN = {"whole runs": "asked"}
"""Fields whose figures the fit has seen: they are asked of the planner, not held out."""
CLOSE = 0.1
"""As near as a tenth."""
FIELDS: Mapping[str, tuple[str, str]] = {
    "training": ("archipel.planning.fitting", "held_out"),
    "whole runs": ("archipel.planning.documented", "asked"),
    "decoding": ("archipel.planning.serving_fit", "decoding"),
    "prompts": ("archipel.planning.serving_fit", "prompts"),
    "unseen": ("archipel.planning.serving_fit", "unseen"),
}
"""What is predicted, and the function that gives its held-out figures."""


@dataclass(frozen=True)
class Held:
    """One measured figure, and what a fit without it says."""

    name: str
    measured: float
    predicted: float
    low: float
    high: float
    before: tuple[float, float, float] | None = None
    """What was used before there was a fit: value and ends."""


@dataclass(frozen=True)
class Coverage:
    """How a field's predictions did."""

    field: str
    by: str
    figures: int
    median_apart: float
    """Half of the figures are nearer than this factor less one."""
    close: float
    """Share within a tenth."""
    covered: float
    """Share inside the 90% interval."""
    wide: float
    """High end over low end, of the middle figure."""


def apart(predicted: float, measured: float) -> float:
    """The factor between two figures, less one."""
    return math.exp(abs(math.log(predicted / measured))) - 1.0


def covered(field: str, by: str, rows: Sequence[tuple[float, float, float, float]]) -> Coverage:
    """Of rows of measured, predicted, low and high."""
    far = [apart(predicted, measured) for measured, predicted, _, _ in rows]
    near = [abs(predicted / measured - 1.0) <= CLOSE for measured, predicted, _, _ in rows]
    inside = [low <= measured <= high for measured, _, low, high in rows]
    wide = median(high / low for _, _, low, high in rows)
    share = len(rows)
    return Coverage(field, by, share, median(far), sum(near) / share, sum(inside) / share, wide)


def coverage(field: str) -> list[Coverage]:
    """Of one of `FIELDS`: the fit, and what stood there before."""
    held = held_out(field)
    rows = [(each.measured, each.predicted, each.low, each.high) for each in held]
    found = [covered(field, SEEN.get(field, "held out"), rows)]
    old = [(each.measured, *each.before) for each in held if each.before]
    return found + ([covered(field, "before", old)] if old else [])


def held_out(field: str) -> list[Held]:
    """The held-out figures of one field."""
    module, name = FIELDS[field]
    made: Callable[[], list[Held]] = getattr(import_module(module), name)
    return made()


def coverage_text(found: Sequence[Coverage]) -> str:
    """The comparison for a terminal."""
    lines = [
        "Measured figures beside predictions. Held out: by fits that have not seen them, nor others of their",
        "lab or machine; before: by what stood there earlier; asked: documented runs as one would plan them.",
        "",
        f"{'field':10} {'by':9} {'figures':>7} {'median apart':>13} {'within 10%':>11} "
        f"{'in 90% interval':>16} {'interval':>9}",
    ]
    lines += [
        f"{each.field:10} {each.by:9} {each.figures:>7} {each.median_apart:>13.0%} {each.close:>11.0%} "
        f"{each.covered:>16.0%} {'x' + format(each.wide, '.1f'):>9}"
        for each in found
    ]
    return "\n".join(lines)


def for_json(found: Sequence[Coverage]) -> list[dict[str, Any]]:
    """The same as data."""
    return [dict(vars(each)) for each in found]
