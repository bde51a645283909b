"""Small merges that are the same wherever they run; as a program, `python merge_case.py` prints their digest."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy._core import _multiarray_umath

from archipel.training.exchange import CodecTerms, codec_of
from archipel.training.exchange.codec import Tensors
from archipel.training.merging.aggregates import AGGREGATES, AggregateName
from archipel.training.merging.contributions import Contribution, Opened
from archipel.training.merging.loss_gate import GateTerms, Judge
from archipel.training.merging.merge import Merged, merge
from archipel.training.merging.outer import OuterTerms
from archipel.training.merging.terms import MergeTerms

SHAPES = {"a.weight": (24, 10), "b.bias": (7,), "c.weight": (3, 5)}
DENSE = CodecTerms("float32")
SPARSE = CodecTerms("top_k")
TERMS = MergeTerms(DENSE, OuterTerms("nesterov", 0.7, 0.9))
UNITS = 1 << 20


LARGE = {"a.weight": (301, 257), "b.bias": (66_000,), "c.weight": (3, 5)}
"""Longer than a stretch of a sum, and no multiple of a register."""


def tensors(
    seed: int, scale: float = 1.0, shapes: Mapping[str, tuple[int, ...]] = SHAPES
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) * scale).astype(np.float32)
        for name, shape in shapes.items()
    }


def contribution(index: int, values: Tensors, **fields: object) -> Contribution:
    given: dict[str, object] = {"member": f"m{index}", "tokens": 100 + index, "steps": 4}
    payload = codec_of(DENSE).encode(values)
    return Contribution(index=index, payload=payload, **{**given, **fields})  # type: ignore[arg-type]


def opened(index: int, values: Tensors, **fields: object) -> Opened:
    """As if its payload had been read."""
    given: dict[str, object] = {"member": f"m{index}", "tokens": 1, "steps": 1}
    about = Contribution(index=index, payload=b"", **{**given, **fields})  # type: ignore[arg-type]
    return Opened(about, dict(values))


def likes(wanted: Tensors) -> Judge:
    """Loss is the squared distance from some weights: elementwise operations, then a sum of integers."""

    def loss(weights: Tensors) -> int:
        total = 0
        for name in sorted(weights):
            difference = weights[name].astype(np.float64) - wanted[name]
            total += int(np.rint(difference * difference * UNITS).astype(np.int64).sum())
        return total

    return Judge(loss)


def members(base: Tensors, wanted: Tensors, count: int) -> list[dict[str, np.ndarray]]:
    """What honest ones send: part of the way from `base` to `wanted`, each with noise of its own."""
    made = []
    for index in range(count):
        shapes = {name: each.shape for name, each in base.items()}
        noise = tensors(100 + index, 0.05, shapes)
        made.append(
            {name: (base[name] - wanted[name]) * np.float32(0.3) + noise[name] for name in base}
        )
    return made


def several(
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
) -> tuple[Tensors, list[Contribution], Judge]:
    """Base, eight contributions of which the last two point backwards, and who judges."""
    base, wanted = tensors(1, shapes=shapes), tensors(2, shapes=shapes)
    sent = members(base, wanted, 8)
    sent[-2:] = [{name: -each for name, each in one.items()} for one in sent[-2:]]
    return base, [contribution(at, each) for at, each in enumerate(sent)], likes(wanted)


def digest(merged: Merged) -> str:
    made = hashlib.sha256(repr(merged.verdicts).encode())
    for part in (merged.weights, merged.memory):
        for name in sorted(part):
            made.update(name.encode() + part[name].tobytes())
    return made.hexdigest()


def all_merges(
    contributions: Sequence[Contribution] | None = None,
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
) -> dict[AggregateName, str]:
    """Two steps by every rule, the second with the first's memory."""
    base, sent, judge = several(shapes)
    made = dict[AggregateName, str]()
    for name in AGGREGATES:
        terms = replace(TERMS, aggregate=name, faulty=1, gate=GateTerms())
        first = merge(base, {}, contributions or sent, terms, judge)
        second = merge(first.weights, first.memory, contributions or sent, terms, judge)
        made[name] = digest(second)
    return made


if __name__ == "__main__":
    features = _multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    print(features.get("X86_V3", False))
    print(all_merges(shapes=LARGE))
