"""How one result of one head of attention comes about (clause 6): a working, position after position.

Parts: `Attention`, `working_of`, and each step. Law: one definition of a step, over one number for a judge and
over all positions at once for a party.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from archipel.engine.exact.steps import Step, seen_parts
from archipel.engine.exact.tables import STEPS_PER_UNIT, tables
from archipel.engine.exact.variants import Variant
from archipel.engine.exact.workings import Numbers, Read, RowOf, ScoreProduct
from archipel.model.config import DecoderConfig

f32, f64 = np.float32, np.float64


@dataclass(frozen=True)
class Heads:
    """Where the numbers of one head stand in the rows `seen`, and how it is computed with."""

    rows: tuple[int, ...]
    """Leaves of the rows of all visible positions, the last of which asks."""
    query: int
    query_scale: int
    key: int
    key_scale: int
    value: int
    """Of the one result's column."""
    value_scale: int
    size: int
    """D."""
    weight_top: int
    """M."""

    @property
    def t(self) -> np.float32:
        """6.2."""
        return f32(1 / math.sqrt(self.size))


def working_of(
    config: DecoderConfig, variant: Variant, steps: tuple[Step, ...], leaf: int, element: int
) -> "Attention | None":
    """Of number `element` of row `leaf`; None where one step computes it.

    Raises:
        IndexError: that row has no such number.
    """
    position, number = divmod(leaf, len(steps))
    step = steps[number]
    if step.kind != "mixed":
        return None
    if not 0 <= element < step.width:
        raise IndexError("no such number")
    size = config.head_dim
    head, column = divmod(element, size)
    kept = head // (config.num_heads // config.num_kv_heads)
    (q, q_scales), (k, k_scales), (v, v_scales) = seen_parts(config)
    rows = tuple(at * len(steps) + step.inputs[0] for at in range(position + 1))
    return Attention(
        Heads(
            rows, q + head * size, q_scales + head, k + kept * size, k_scales + kept,
            v + kept * size + column, v_scales + kept, size, variant.attention_weight_top,
        )
    )  # fmt: skip


def score(t: np.float32, product: Any, s_q: Any, s_k: Any) -> Any:
    """`a` (6.2)."""
    return f32(product) * (f32(s_q) * t) * f32(s_k)


def exponential(a: Any, largest: Any) -> Any:
    """`e` (6.3)."""
    end = f32(len(tables().exp) - 1)
    places = np.fmin((f32(a) - f32(largest)) * f32(-STEPS_PER_UNIT), end)
    # Below 0 only if both parties agree on a largest that is none: any number serves.
    return tables().exp[np.rint(np.fmax(places, f32(0))).astype(np.int64)].astype(f64)


def weight(e: Any, s_v: Any) -> Any:
    """`w_j` (6.4)."""
    return f32(e) * f32(s_v)


def integer(top: int, w: Any, largest: Any) -> Any:
    """`g` (6.4)."""
    return np.rint(f32(w) * (f32(top) / f32(largest)))


def result(top: int, mixed: Any, largest: Any, total: Any) -> Any:
    """6.5."""
    return f32(mixed) * (f32(largest) / (f32(total) * f32(top)))


PHASES = (
    ("query scale",),
    ("product", "key scale", "score", "largest score"),
    ("exponential", "sum of exponentials", "value scale", "weight", "largest weight"),
    ("integer weight", "value", "sum of weighted values"),
    ("result",),
)
"""One after the other; the first and the last have one number, the others these at each position."""
NEEDS = {
    "score": ("product", "query scale", "key scale"),
    "largest score": ("score",),
    "exponential": ("score", "largest score"),
    "sum of exponentials": ("exponential",),
    "weight": ("exponential", "value scale"),
    "largest weight": ("weight",),
    "integer weight": ("weight", "largest weight"),
    "sum of weighted values": ("integer weight", "value"),
    "result": ("sum of weighted values", "largest weight", "sum of exponentials"),
}
"""What is computed from what: at the same position, but sums and largest ones of all positions."""
RUNNING = {name for name in NEEDS if name.startswith(("largest", "sum"))}
"""Over the positions so far: each is computed from the one before it, too."""


@dataclass(frozen=True)
class Attention:
    """Of one result of one head."""

    heads: Heads

    @cached_property
    def _starts(self) -> Mapping[str, tuple[int, int]]:
        """Of each kind of number: its index at position 0, and how far it is to the next position's."""
        starts: dict[str, tuple[int, int]] = {}
        start = 0
        for phase in PHASES:
            starts |= {kind: (start + at, len(phase)) for at, kind in enumerate(phase)}
            start += len(phase) * self._positions(phase)
        return starts

    def _positions(self, phase: tuple[str, ...]) -> int:
        return 1 if len(phase) == 1 else len(self.heads.rows)

    @property
    def num(self) -> int:
        """See `Working`."""
        return self._starts["result"][0] + 1

    def index(self, kind: str, position: int) -> int:
        """Where a number stands."""
        start, stride = self._starts[kind]
        return start if kind in ("query scale", "result") else start + position * stride

    def at(self, index: int) -> tuple[str, int]:
        """Kind and position of a number.

        Raises:
            IndexError: there is none.
        """
        for phase in PHASES if index >= 0 else ():
            num = len(phase) * self._positions(phase)
            if index < num:
                position, at = divmod(index, len(phase))
                return phase[at], position
            index -= num
        raise IndexError("no such number")

    def name(self, index: int) -> str:
        """See `Working`."""
        kind, position = self.at(index)
        return kind if kind in ("query scale", "result") else f"{kind} of position {position}"

    def source(self, index: int) -> Read | tuple[int, ...]:
        """See `Working`."""
        (kind, position), heads = self.at(index), self.heads
        match kind:
            case "query scale":
                return Read(heads.rows[-1], heads.query_scale)
            case "key scale":
                return Read(heads.rows[position], heads.key_scale)
            case "value scale":
                return Read(heads.rows[position], heads.value_scale)
            case "value":
                return Read(heads.rows[position], heads.value)
        last = len(heads.rows) - 1
        needs = [
            self.index(need, last if need in RUNNING else position) for need in NEEDS.get(kind, ())
        ]
        if kind in RUNNING and position:
            needs.append(self.index(kind, position - 1))
        return tuple(needs)

    def deeper(self, index: int) -> ScoreProduct | None:
        """See `Working`."""
        (kind, position), heads = self.at(index), self.heads
        if kind != "product":
            return None
        asking, asked = heads.rows[-1], heads.rows[position]
        return ScoreProduct(Read(asking, heads.query), Read(asked, heads.key), heads.size)

    @np.errstate(all="ignore")
    def value(self, index: int, numbers: list[np.float64]) -> np.float64:
        """See `Working`."""
        kind, top = self.at(index)[0], self.heads.weight_top
        match kind:
            case "score":
                return f64(score(self.heads.t, *numbers))
            case "exponential":
                return f64(exponential(*numbers))
            case "weight":
                return f64(weight(*numbers))
            case "integer weight":
                return f64(integer(top, *numbers))
            case "sum of exponentials":
                return f64(sum(numbers))
            case "sum of weighted values":
                return f64(numbers[0] * numbers[1] + sum(numbers[2:]))
            case "result":
                return f64(result(top, *numbers))
        return f64(np.max(numbers))

    @np.errstate(all="ignore")
    def numbers(self, row: RowOf) -> Numbers:
        """See `Working`."""
        heads, found = self.heads, np.empty(self.num)
        seen = np.stack([row(leaf) for leaf in heads.rows]).astype(f64)
        query = slice(heads.query, heads.query + heads.size)
        key = slice(heads.key, heads.key + heads.size)
        s_q, s_k, s_v = (
            seen[-1, heads.query_scale],
            seen[:, heads.key_scale],
            seen[:, heads.value_scale],
        )
        product, v = seen[:, key] @ seen[-1, query], seen[:, heads.value]
        a = score(heads.t, product, s_q, s_k)
        e = exponential(a, a.max())
        w = weight(e, s_v)
        g = integer(heads.weight_top, w, w.max())
        total, mixed = np.cumsum(e), np.cumsum(g * v)
        columns = {
            "query scale": s_q, "product": product, "key scale": s_k, "score": a,
            "largest score": np.maximum.accumulate(a), "exponential": e, "sum of exponentials": total,
            "value scale": s_v, "weight": w, "largest weight": np.maximum.accumulate(w),
            "integer weight": g, "value": v, "sum of weighted values": mixed,
            "result": result(heads.weight_top, mixed[-1], w.max(), total[-1]),
        }  # fmt: skip
        for kind, column in columns.items():
            start, stride = self._starts[kind]
            end = start + stride * np.size(column)
            found[start:end:stride] = column
        return found
