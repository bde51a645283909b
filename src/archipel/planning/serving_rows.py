"""Measured speeds of engines of 2025 and 2026 as the fit of serving sees them, beside the law that stood before."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from archipel.planning.laws import roofline

ROWS = "serving@2026-11.toml"
CHUNK = 2048
SINGLE_BYTE = (0.9, 1.1)
"""Bytes per parameter of weights whose products data-centre engines compute in fp8."""
OTHER = "other"
"""Machines whose like was not measured: the constants are those expected, rows only say how far off."""
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

    def time(constants: Sequence[float]) -> float:
        share, started, batched, mfu = constants
        return max(memory / share, flop / batched) + layers * started if decode else flop / mfu

    batched = (0.22, 0.10, 0.45)
    middle = (share[0], started[0], batched[0], mfu[0])
    value, off = time(middle), [0.0, 0.0]
    for place, ends in enumerate((share[1:], started[1:], batched[1:], mfu[1:])):
        moved = (time([*middle[:place], end, *middle[place + 1 :]]) for end in ends)
        for way, by in enumerate(sorted(math.log(each / value) for each in moved)):
            off[way] = math.hypot(off[way], by)
    return value, value * math.exp(-off[0]), value * math.exp(off[1])
