"""Centred clipping: a centre is moved by the mean of what contributions are away from it, each at most tau; n >= 2f + 1.

Three times v <- v + mean((g - v) min(1, tau / |g - v|)), weighted by tokens; tau is the lower median of the distances
|g - v| of that time, v begins with the aggregate of the step before, or 0. Lengths are of all tensors together. Dense
contributions alone. What is far pulls no more than what lies in the middle; it still pulls: by at most tau times its
share of the tokens, each time. Source: Karimireddy et al. 2021.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from archipel.training.exchange.codec import Tensors
from archipel.training.merging.aggregates.rule import Aggregated, Rule, by_stretches
from archipel.training.merging.clipping import lower_median
from archipel.training.merging.contributions import Opened
from archipel.training.merging.sums import squared_distance

TIMES = 3


def _combine(opened: Sequence[Opened], faulty: int, last: Tensors | None) -> Aggregated:
    values = [each.values for each in opened]
    weights = tuple(each.weight for each in opened)
    shares = [np.float64(weight / sum(weights)) for weight in weights]
    centre = last or {name: np.zeros_like(each) for name, each in values[0].items()}
    for _ in range(TIMES):
        distances = [math.sqrt(squared_distance(each, centre)) for each in values]
        tau = lower_median(distances)
        factors = [
            share if distance <= tau else share * np.float64(tau / distance)
            for share, distance in zip(shares, distances, strict=True)
        ]
        moved = partial(_moved, factors=factors)
        centre = {
            name: by_stretches([centre[name], *(each[name] for each in values)], moved)
            for name in sorted(values[0])
        }
    return Aggregated(centre, weights)


def _moved(parts: Sequence[np.ndarray], factors: Sequence[np.float64]) -> np.ndarray:
    """The centre, which comes first, by factors of what the others are away from it; float64 within."""
    centre = parts[0].astype(np.float64)
    moved, term = centre.copy(), np.empty_like(centre)
    for part, factor in zip(parts[1:], factors, strict=True):
        np.subtract(part, centre, out=term)
        np.multiply(term, factor, out=term)
        np.add(moved, term, out=moved)
    return moved


CENTRED_CLIP = Rule(
    "n >= 2f + 1", lambda faulty: 2 * faulty + 1, takes_sparse=False, combine=_combine
)
