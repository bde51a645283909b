"""Means of few seeds, with honest intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t, two-sided 95 percent, for 1 to 10 degrees of freedom."""


@dataclass(frozen=True)
class MeanOfSeeds:
    """A mean over seeds and its two-sided 95 percent interval (NaN bounds for a single seed)."""

    mean: float
    low: float
    high: float
    num_seeds: int

    @property
    def half_width(self) -> float:
        """Half of the interval; NaN for a single seed."""
        return self.high - self.mean

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.3f} (one seed)"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_of_seeds(values: Sequence[float]) -> MeanOfSeeds:
    """Student's interval of the mean of one value per seed.

    Raises:
        ValueError: no value.
    """
    num = len(values)
    if num == 0:
        raise ValueError("got no value, expected one per seed")
    mean = math.fsum(values) / num
    if num == 1:
        return MeanOfSeeds(mean, math.nan, math.nan, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (num - 1)
    half = T_95[min(num - 1, len(T_95)) - 1] * math.sqrt(variance / num)
    return MeanOfSeeds(mean, mean - half, mean + half, num)
