"""Weighted mean over contributors: every coordinate over those who sent it, by their tokens.

With f faulty it holds for f = 0 alone: one contribution moves it anywhere, which is why gate and clipping come before.
A coordinate that nobody sent is 0. Source: SparseLoCo's merge; dividing by all members instead shrinks what few sent.
"""

from collections.abc import Sequence

import numpy as np

from archipel.training.exchange.codec import Tensors
from archipel.training.merging.aggregates.rule import Aggregated, Rule, by_stretches
from archipel.training.merging.contributions import Opened


def contributor_mean(opened: Sequence[Opened]) -> dict[str, np.ndarray]:
    """float32 of sum(w v) / sum(w), products and sums in float64, one contribution after the other."""
    weights = [np.float64(each.weight) for each in opened]
    return {name: _mean(opened, name, weights) for name in sorted(opened[0].values)}


def _mean(opened: Sequence[Opened], name: str, weights: Sequence[np.float64]) -> np.ndarray:
    values = [each.values[name] for each in opened]
    if all(each.sent is None for each in opened):
        together = np.float64(0)
        for weight in weights:
            together = together + weight
        return by_stretches(values, lambda parts: _weighted(parts, weights) / together)
    masks = [
        np.ones(value.shape, bool) if each.sent is None else each.sent[name]
        for each, value in zip(opened, values, strict=True)
    ]
    count = len(values)

    def combine(parts: Sequence[np.ndarray]) -> np.ndarray:
        above = _weighted(parts[:count], weights)
        below = _weighted(parts[count:], weights)
        return np.divide(above, below, out=np.zeros_like(above), where=below > 0)

    return by_stretches([*values, *masks], combine)


def _weighted(parts: Sequence[np.ndarray], weights: Sequence[np.float64]) -> np.ndarray:
    total = np.zeros(parts[0].shape)
    term = np.empty_like(total)
    for part, weight in zip(parts, weights, strict=True):
        np.multiply(part, weight, out=term)
        np.add(total, term, out=total)
    return total


def _combine(opened: Sequence[Opened], faulty: int, last: Tensors | None) -> Aggregated:
    return Aggregated(contributor_mean(opened), tuple(each.weight for each in opened))


MEAN = Rule("n >= 1", lambda faulty: 1, takes_sparse=True, combine=_combine)
