"""GDPO: several rewards, each on its own scale before they are added.

Liu et al. 2026 (arXiv 2601.05242). Rewards that are summed first hide each other: where one part of a reward has a
wide range, groups that differ in another part alone get advantages near zero, and different mixtures of parts
get the same one. So each part is centred and scaled within its group, the weighted sum of that is
the advantage, and the whole batch is brought to one scale.
"""

import math
from collections.abc import Sequence

from archipel.training.algorithms import grpo
from archipel.training.algorithms.reinforce import scaled

Parts = Sequence[tuple[float, ...]]
"""Of one group: for each part of the reward, its value for each rollout."""


def advantages(groups: Sequence[Parts], weights: Sequence[float]) -> list[tuple[float, ...]]:
    """Weighted sum of each part's (value - mean) / std within its group, over the batch's standard deviation.

    weights: one for each part. A group in which no part differs gets exactly 0.

    Raises:
        ValueError: a group has another number of parts than there are weights.
    """
    return scaled([_summed(parts, weights) for parts in groups])


def _summed(parts: Parts, weights: Sequence[float]) -> tuple[float, ...]:
    if len(parts) != len(weights):
        raise ValueError(f"got {len(parts)} reward parts, expected {len(weights)}, one per weight")
    normalised = [grpo.scaled_advantages(values) for values in parts]
    return tuple(
        math.fsum(weight * value for weight, value in zip(weights, column, strict=True))
        for column in zip(*normalised, strict=True)
    )
