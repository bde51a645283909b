"""The speeds of serving fitted to measured engines: the constants of `tables/serve`, and how far they hold.

A time is a sum of known amounts (bytes over bandwidth, FLOP over peak, layers), each times a constant of the machine's
group. Every constant is expected somewhere before a row is seen (`EXPECTED`), so that a group with few rows stays near
the usual; rows of one machine and source count as the root of their number. Nothing is drawn at random. `left_out`
predicts every row from rows of other machines alone; `asked_after` the rows that no constant has seen.
Law: `table` makes the constants that are kept; a test makes them again.
"""

import math
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from archipel.planning.laws import roofline

ROWS = "serving@2026-11.toml"
CHUNK = 2048
SINGLE_BYTE = (0.9, 1.1)
"""Bytes per parameter of weights whose products data-centre engines compute in fp8."""
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
OTHER = "other"
"""Machines whose like was not measured: the constants are those expected, rows only say how far off."""
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
BEFORE = {
    "consumer": ((0.96, 0.90, 0.99), (0.085, 0.035, 0.125), (0.78, 0.35, 1.05)),
    "apple": ((0.93, 0.85, 0.985), (0.18, 0.12, 0.21), (0.65, 0.5, 0.75)),
    "datacentre": ((0.80, 0.65, 0.95), (0.12, 0.03, 0.18), (0.45, 0.13, 0.7)),
}
"""Share, layer time and prompts' share of the law of 2024, by class; 0.22 of peak [0.10 - 0.45] in batches."""


@dataclass(frozen=True)
class Row:
    """One measured speed, and the amounts that its time is made of."""

    name: str
    chip: str
    source: str
    phase: str
    group: str
    held: bool
    seconds: float
    """Of a step, or of one token of a prompt."""
    bytes_per_s: float
    flop_per_s: float
    active: float
    """Without the input embedding."""
    experts: float
    picked: float
    """Of the experts' parameters, those of one token."""
    layers: float
    always_bytes: float
    expert_bytes: float
    stored: float
    """Keys and values of all streams."""
    attended: float
    streams: float
    tokens: float
    chunk: float
    before: tuple[float, float, float]
    """Seconds by the law of 2024, and the ends of its interval."""

    def columns(self, evenness: float, padding: float) -> list[float]:
        """Amounts whose sum, each by its constant, is the time; in the order of `EXPECTED`."""
        decode = self.phase == "decode"
        read = self.always_bytes
        if self.experts:
            together = self.streams if decode else self.chunk
            touched = roofline.touched_share(self.picked, self.experts, together, evenness)
            read += self.expert_bytes * touched
        if decode:
            memory = roofline.memory_seconds(read + self.stored, self.bytes_per_s, 1.0)
            flop = roofline.compute_seconds(self.active, self.streams, self.flop_per_s, 1.0)
            layers = self.layers * 1e-3
            return [memory, flop, *((0.0, layers) if self.experts else (layers, 0.0))]
        memory = roofline.memory_seconds(read, self.bytes_per_s, 1.0) / self.chunk
        used = self.active + roofline.padding_params(self.experts, self.chunk, padding)
        flop = roofline.prompt_seconds_per_token(used, self.attended, self.tokens, 1.0, 1.0)
        time = flop / self.flop_per_s
        return [memory, *((0.0, time, flop / 1e12) if self.experts else (time, 0.0, 0.0))]


@dataclass(frozen=True)
class Guess:
    """One measured figure, and what a law says of it; speeds in token/s of all streams."""

    name: str
    measured: float
    predicted: float
    low: float
    high: float
    before: tuple[float, float, float] | None = None
    """The same of the law that stood there earlier."""


@cache
def points() -> tuple[Row, ...]:
    """Every row of the table of measured speeds."""
    text = resources.files("archipel.planning").joinpath("measured", ROWS).read_text("utf-8")
    found = tomllib.loads(text)
    return tuple(_row(part, row, found) for part in found["measured"] for row in part["row"])


def _row(part: Mapping[str, Any], row: Sequence[Any], found: Mapping[str, Any]) -> Row:
    model, form, phase, streams, held, tokens, speed = row
    line, peak, narrow, *groups = found["chip"][part["chip"]]
    params, active, always, embedding, _, layers, attended, cached = found["model"][model]
    each, kept = found["format"][form]
    dense, decode = params == active, phase == "decode"
    experts = 0.0 if dense else params - always - embedding
    first = (params - embedding) * each if dense else always * kept
    one_byte = narrow and SINGLE_BYTE[0] <= each <= SINGLE_BYTE[1]
    stored = cached * 1e3 * (held + 0.5 * tokens) * streams
    # the law of 2024: independent picks of all weights, and of known mixtures in mxfp4 of the experts
    picks = (
        (active - always, experts, 2e9 * always)
        if form.startswith("mxfp4")
        else (active, params, 0.0)
    )
    touched = roofline.touched_share(picks[0], picks[1], streams)
    read = picks[1] * 1e9 * each * touched + picks[2] + stored
    flop = active * 2e9 * streams if decode else active * 2e9 + 2e3 * attended * tokens
    amounts = (read / line / 1e9, flop / peak / 1e12, layers * 1e-3)
    return Row(
        name=" ".join(str(each) for each in (part["chip"], part["engine"], *row[:-1])),
        chip=part["chip"], source=part["source"], phase=phase,
        group=groups[0] if decode else groups[-1], held=part.get("held", False),
        seconds=(streams if decode else 1.0) / speed, bytes_per_s=line * 1e9,
        flop_per_s=(narrow if one_byte else peak) * 1e12,
        active=(active - embedding if dense else active) * 1e9, experts=experts * 1e9,
        picked=(active - always) * 1e9, layers=layers, always_bytes=first * 1e9,
        expert_bytes=experts * 1e9 * each, stored=stored * part.get("kv", 1.0),
        attended=attended * 1e3, streams=streams, tokens=tokens,
        chunk=min(tokens, part.get("chunk", CHUNK)), before=_before(groups[0], decode, amounts),
    )  # fmt: skip


def _before(
    group: str, decode: bool, amounts: tuple[float, float, float]
) -> tuple[float, float, float]:
    """The law of 2024: the slower of memory and arithmetic, and a time per layer; its ends in quadrature."""
    memory, flop, layers = amounts
    kind = {"unified": "consumer", "amd": "consumer", OTHER: "datacentre"}.get(group, group)
    share, started, mfu = BEFORE[kind]

    def time(share: float, started: float, batched: float, mfu: float) -> float:
        return max(memory / share, flop / batched) + layers * started if decode else flop / mfu

    middle = (share[0], started[0], 0.22, mfu[0])
    value, off = time(*middle), [0.0, 0.0]
    for place, ends in enumerate((share[1:], started[1:], (0.10, 0.45), mfu[1:])):
        moved = (time(*middle[:place], end, *middle[place + 1 :]) for end in ends)
        for way, by in enumerate(sorted(math.log(each / value) for each in moved)):
            off[way] = math.hypot(off[way], by)
    return value, value * math.exp(-off[0]), value * math.exp(off[1])


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


def left_out(phase: str) -> list[Guess]:
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


def asked_after(phase: str) -> list[Guess]:
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


def _guess(row: Row, off: float, wide: float) -> Guess:
    """As speeds: of the measured time and of the guessed ones."""
    many = row.streams if row.phase == "decode" else 1.0
    speed = many / row.seconds / math.exp(off)
    value, short, long = (many / each for each in row.before)
    ends = speed * math.exp(-wide), speed * math.exp(wide)
    return Guess(row.name, many / row.seconds, speed, *ends, (value, long, short))


def decoding() -> list[Guess]:
    """What `covering` asks for."""
    return left_out("decode")


def prompts() -> list[Guess]:
    """What `covering` asks for."""
    return left_out("prompt")


ABOUT = {
    "share": "share of memory bandwidth while weights are read",
    "arithmetic_share": "share of peak arithmetic in decoding",
    "layer_time": "time per layer and step that neither memory nor arithmetic explains",
    "mixture_layer_time": "time per layer and step of a mixture, whose experts are chosen and gathered",
    "mfu": "share of peak arithmetic in prompts, attention included",
    "mixture_mfu": "share of peak arithmetic in a mixture's prompts, on a slow machine",
    "mixture_most": "arithmetic that a mixture's prompts do not exceed, however fast the machine",
    "unexplained": "what the law leaves unexplained of a machine not measured",
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
