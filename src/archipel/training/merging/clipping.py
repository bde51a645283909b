"""Every contribution's tensors, no longer than the median of their kind.

Source: median-norm clipping of sparse pseudo-gradients (the training of Covenant-72B). It bounds how far one member
moves a tensor to what the middle member does; it does not turn a wrong direction.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from archipel.training.merging.contributions import Opened
from archipel.training.merging.sums import norm


def clipped(opened: Sequence[Opened]) -> list[Opened]:
    """Each tensor times min(1, median length / its length), the factor rounded once to float32.

    The median is the lower of the two in the middle: with an even count no half can raise it.
    """
    names = sorted(opened[0].values)
    made: list[dict[str, np.ndarray]] = [{} for _ in opened]
    for name in names:
        lengths = [norm(each.values[name]) for each in opened]
        limit = lower_median(lengths)
        for each, length, into in zip(opened, lengths, made, strict=True):
            values = each.values[name]
            into[name] = values if length <= limit else values * np.float32(limit / length)
    return [replace(each, values=values) for each, values in zip(opened, made, strict=True)]


def lower_median(values: Sequence[float]) -> float:
    """Of at least one number: the middle one, of two the smaller."""
    return sorted(values)[(len(values) - 1) // 2]
