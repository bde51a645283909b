"""Coordinate median: of every coordinate the middle value, of two their mean; n >= 2f + 1.

Whatever f contributions say, each coordinate stays between two honest values. Everybody counts the same, whatever
their tokens. Dense contributions alone. Source: Yin et al. 2018.
"""

from collections.abc import Sequence

import numpy as np

from archipel.training.exchange.codec import Tensors
from archipel.training.merging.aggregates.rule import Aggregated, Rule, coordinatewise, in_order
from archipel.training.merging.contributions import Opened


def _middle(parts: Sequence[np.ndarray]) -> np.ndarray:
    ordered, count = in_order(parts), len(parts)
    low, high = ordered[(count - 1) // 2], ordered[count // 2]
    return low if count % 2 else np.add(low, high, dtype=np.float64) * 0.5


def _combine(opened: Sequence[Opened], faulty: int, last: Tensors | None) -> Aggregated:
    return Aggregated(coordinatewise(opened, _middle), (1,) * len(opened))


MEDIAN = Rule("n >= 2f + 1", lambda faulty: 2 * faulty + 1, takes_sparse=False, combine=_combine)
