"""The speeds of serving fitted to measured engines: the constants of `tables/serve`, and how far they hold.

A time is a sum of known amounts (bytes over bandwidth, FLOP over peak, layers), each times a constant of the machine's
group. Every constant is expected somewhere before a row is seen (`EXPECTED`), so that a group with few rows stays near
the usual; rows of one machine and source count as the root of their number. Nothing is drawn at random. `left_out`
predicts every row from rows of other machines alone; `asked_after` the rows that no constant has seen.
Law: `table` makes the constants that are kept; a test makes them again.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from archipel.planning.covering import Held
from archipel.planning.serving_rows import OTHER, Row, points

NOISE = 0.15
"""How far apart rows are that a good law cannot tell apart."""
OUTLIER = 0.35
"""A row farther away pulls no harder."""
EVENNESS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0, 8.0)
PADDING = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)
"""What is tried, one for all groups."""
FEW = 6.0
"""Machines' worth of the spread of all groups in the spread of each."""
NINETY = 0.9
THIN = {("prompt", "datacentre")}
"""Of many machines one was measured: as uncertain as decoding of other machines."""
EXPECTED: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "decode": {
        "share": (0.82, 0.1), "arithmetic_share": (0.3, 0.5), "layer_time": (0.05, 0.5),
        "mixture_layer_time": (0.1, 0.5),
    },
    "prompt": {
        "share": (0.82, 0.1), "mfu": (0.6, 0.5), "mixture_mfu": (0.6, 0.5), "mixture_most": (600.0, 1.0),
    },
}  # fmt: skip
"""By phase: value (shares, ms, TFLOP/s) and standard deviation of its logarithm."""
TIMES = frozenset(("layer_time", "mixture_layer_time"))
"""Constants that multiply; the others divide."""


def solve(rows: Sequence[Row], phase: str, tried: tuple[float, float]) -> tuple[np.ndarray, float]:
    """Logarithms of what the columns are multiplied by, and how unlikely they make the rows."""
    signs = [1.0 if name in TIMES else -1.0 for name in EXPECTED[phase]]
    start = np.array(
        [
            sign * math.log(each[0])
            for sign, each in zip(signs, EXPECTED[phase].values(), strict=True)
        ]
    )
    firm = np.array([each[1] ** -2 for each in EXPECTED[phase].values()])
    if not rows or rows[0].group == OTHER:
        return start, 0.0
    columns, weights = _columns(rows, tried), _weights(rows)
    measured = np.array([each.seconds for each in rows])
    at = start.copy()
    for _ in range(30):
        parts = columns * np.exp(at)
        time = parts.sum(axis=1)
        off = np.log(time / measured)
        pull = weights * OUTLIER / np.maximum(OUTLIER, np.abs(off)) / NOISE**2
        slope = parts / time[:, None]
        bend = (slope * pull[:, None]).T @ slope + np.diag(firm)
        at = at - np.linalg.solve(bend, (slope * pull[:, None]).T @ off + firm * (at - start))
    return at, float(pull @ off**2 + firm @ (at - start) ** 2)


def _columns(rows: Sequence[Row], tried: tuple[float, float]) -> np.ndarray:
    return np.array([each.columns(*tried) for each in rows])


def _weights(rows: Sequence[Row]) -> np.ndarray:
    many = Counter((each.chip, each.source) for each in rows)
    return np.array([many[each.chip, each.source] ** -0.5 for each in rows])


def grouped(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows by phase and group."""
    found: dict[tuple[str, str], list[Row]] = {}
    for each in sorted(rows, key=lambda row: (row.phase, row.group)):
        found.setdefault((each.phase, each.group), []).append(each)
    return found


@cache
def tried() -> tuple[float, float]:
    """Evenness and padding under which decoding, then prompts, are likeliest."""
    every = grouped([each for each in points() if not each.held])

    def badly(phase: str, pair: tuple[float, float]) -> float:
        return sum(solve(rows, key[0], pair)[1] for key, rows in every.items() if key[0] == phase)

    evenness = min(EVENNESS, key=lambda each: badly("decode", (each, PADDING[0])))
    return evenness, min(PADDING, key=lambda each: badly("prompt", (evenness, each)))


def _off(rows: Sequence[Row], at: np.ndarray) -> np.ndarray:
    """Logarithm of predicted over measured time."""
    time = (_columns(rows, tried()) * np.exp(at)).sum(axis=1)
    return np.asarray(np.log(time / [each.seconds for each in rows]))


@cache
def _crossed() -> dict[tuple[str, str], tuple[list[Row], np.ndarray]]:
    """Every fitted row with how far off it is when its machine is left out."""
    found = {}
    for key, rows in grouped([each for each in points() if not each.held]).items():
        off = np.zeros(len(rows))
        for chip in sorted({each.chip for each in rows}):
            out = np.array([each.chip == chip for each in rows])
            rest = [each for each in rows if each.chip != chip]
            off[out] = _off(
                [each for each in rows if each.chip == chip], solve(rest, key[0], tried())[0]
            )
        found[key] = rows, off
    return found


def spreads(phase: str, without: tuple[str, str] | None = None) -> dict[str, float]:
    """Half the 90% interval of each group, as a logarithm. without: a group and a chip of it that are not looked at."""
    spread: dict[str, float] = {}
    kept: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for (which, group), (rows, off) in _crossed().items():
        stays = np.array([(group, each.chip) != without for each in rows])
        if which == phase and stays.any():
            kept[group] = off[stays], _weights(rows)[stays]
    usual = [pair for group, pair in kept.items() if group != OTHER]
    weight, square = sum(w.sum() for _, w in usual), sum(w @ off**2 for off, w in usual)
    for group in {key[1] for key in _crossed() if key[0] == phase}:
        off, w = kept.get(group, (np.zeros(0), np.zeros(0)))
        spread[group] = math.sqrt((w @ off**2 + FEW * square / weight) / (w.sum() + FEW))
    ratios = np.concatenate([np.abs(off) / spread[group] for group, (off, _) in kept.items()])
    factor = float(np.quantile(ratios, NINETY))
    return {group: factor * each for group, each in spread.items()}


def left_out(phase: str) -> list[Held]:
    """Every fitted row predicted without its machine; the interval has not seen it either."""
    found = []
    for (which, group), (rows, off) in _crossed().items():
        wide = (
            {chip: spreads(phase, (group, chip))[group] for chip in {each.chip for each in rows}}
            if which == phase
            else {}
        )
        found += [
            _guess(row, by, wide[row.chip]) for row, by in zip(rows, off, strict=True) if wide
        ]
    return found


def asked_after(phase: str) -> list[Held]:
    """Rows that no constant has seen, predicted by those that are kept."""
    fitted = grouped([each for each in points() if not each.held])
    found = []
    for (which, group), rows in grouped([each for each in points() if each.held]).items():
        if which == phase:
            off = _off(rows, solve(fitted.get((which, group), []), which, tried())[0])
            found += [
                _guess(row, by, spreads(which)[group]) for row, by in zip(rows, off, strict=True)
            ]
    return found


def _guess(row: Row, off: float, wide: float) -> Held:
    """As speeds: of the measured time and of the guessed ones."""
    many = row.streams if row.phase == "decode" else 1.0
    speed = many / row.seconds / math.exp(off)
    value, short, long = (many / each for each in row.before)
    ends = speed * math.exp(-wide), speed * math.exp(wide)
    return Held(row.name, many / row.seconds, speed, *ends, (value, long, short))


def decoding() -> list[Held]:
    """What `covering` asks for."""
    return left_out("decode")


def prompts() -> list[Held]:
    """What `covering` asks for."""
    return left_out("prompt")


def unseen() -> list[Held]:
    """What `covering` asks for: speeds that no constant has seen, of both phases."""
    return asked_after("decode") + asked_after("prompt")


ABOUT = {
    "share": "share of memory bandwidth while weights are read",
    "arithmetic_share": "share of peak arithmetic in decoding",
    "layer_time": "time per layer and step that neither memory nor arithmetic explains",
    "mixture_layer_time": "time per layer and step of a mixture, whose experts are chosen and gathered",
    "mfu": "share of peak arithmetic in prompts, attention included",
    "mixture_mfu": "share of peak arithmetic in a mixture's prompts, on a slow machine",
    "mixture_most": "arithmetic that a mixture's prompts do not exceed, however fast the machine",
    "unexplained": "how far a machine not measured here lies from the fitted speed, as a factor",
}
GROUPS = {
    "amd": "AMD cards", "apple": "Apple", "consumer": "GeForce cards", "datacentre": "data-centre cards",
    OTHER: "other machines", "unified": "small machines of one memory",
}  # fmt: skip
UNITS = {"layer_time": "ms", "mixture_layer_time": "ms", "mixture_most": "TFLOP/(s*accelerator)"}


def table() -> dict[str, float]:
    """Every constant by its name below `serve`; of `unexplained` the high end, the low one is its inverse."""
    evenness, padding = tried()
    found = {"decode.evenness": evenness, "prompt.padding": padding}
    seen = grouped([each for each in points() if not each.held])
    for phase, group in sorted({*seen, *((each, OTHER) for each in EXPECTED)}):
        at, _ = solve(seen.get((phase, group), []), phase, tried())
        for name, by in zip(EXPECTED[phase], at, strict=True):
            if (phase, name) != ("prompt", "share"):
                found[f"{phase}.{group}.{name}"] = _rounded(by if name in TIMES else -by)
        known = (phase, group) in seen and (phase, group) not in THIN
        spread = spreads(phase)[group] if known else spreads("decode")[OTHER]
        found[f"{phase}.{group}.unexplained"] = _rounded(spread)
    return found


def table_text() -> str:
    """The same of every group as the rows of a table."""
    lines = []
    for name, value in table().items():
        _, group, *last = name.split(".")
        if not last:
            continue
        wide = (
            f"value = 1, low = {1 / value:.3g}, high = {value:g}"
            if last == ["unexplained"]
            else f"value = {value:g}"
        )
        kind = "assumed" if group == OTHER else "derived"
        if group == OTHER and last != ["unexplained"]:
            by = math.exp(EXPECTED[name.partition(".")[0]][last[0]][1])
            wide += f", low = {value / by:.3g}, high = {value * by:.3g}"
        lines.append(
            f'{name} = {{{wide}, unit = "{UNITS.get(last[0], "1")}", kind = "{kind}", '
            f'source = "archipel-serving-fit", about = "{ABOUT[last[0]]}, {GROUPS[group]}"}}'
        )
    return "\n".join(lines)


def _rounded(logarithm: float) -> float:
    return float(f"{math.exp(logarithm):.3g}")
