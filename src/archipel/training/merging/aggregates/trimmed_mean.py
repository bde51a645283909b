"""Trimmed mean: of every coordinate the mean without the f smallest and the f largest values; n >= 2f + 1.

Whatever f contributions say, each coordinate stays between two honest values. Everybody counts the same, whatever
their tokens. Dense contributions alone. Source: Yin et al. 2018.
"""

from collections.abc import Sequence

import numpy as np

from archipel.training.exchange.codec import Tensors
from archipel.training.merging.aggregates.rule import Aggregated, Rule, coordinatewise, in_order
from archipel.training.merging.contributions import Opened


def _combine(opened: Sequence[Opened], faulty: int, last: Tensors | None) -> Aggregated:
    kept = len(opened) - 2 * faulty

    def trimmed(parts: Sequence[np.ndarray]) -> np.ndarray:
        total = np.zeros(parts[0].shape)
        for line in in_order(parts)[faulty : faulty + kept]:
            np.add(total, line, out=total)
        return total / kept

    return Aggregated(coordinatewise(opened, trimmed), (1,) * len(opened))


TRIMMED_MEAN = Rule(
    "n >= 2f + 1", lambda faulty: 2 * faulty + 1, takes_sparse=False, combine=_combine
)
