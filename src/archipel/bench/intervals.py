"""Means of few seeds and rates of many trials, with honest intervals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

NOTHING_YET = "nothing was measured yet"
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
        if not self.num_seeds:
            return "not measured yet"
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


def mean_if_any(values: Sequence[float]) -> MeanOfSeeds:
    """The same; of no value NaN, as in a measurement that was stopped."""
    return mean_of_seeds(values) if values else MeanOfSeeds(math.nan, math.nan, math.nan, 0)


def mean_of_rates(values: Sequence[float]) -> MeanOfSeeds:
    """The same of what is never below 0, and so is its interval."""
    found = mean_of_seeds(values)
    return replace(found, low=max(found.low, 0.0)) if found.num_seeds > 1 else found


def exact_share(seen: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of a rate of which `seen` of `of` were seen (Clopper and Pearson, 1934).

    Raises:
        ValueError: `seen` is not of `of`.
    """
    if not 0 <= seen <= of or of == 0:
        raise ValueError(f"got {seen} of {of}, expected 0 to that many of at least one")
    tail = (1 - level) / 2
    low = 0.0 if seen == 0 else _where(lambda rate: 1 - _at_most(seen - 1, of, rate) >= tail)
    high = 1.0 if seen == of else _where(lambda rate: _at_most(seen, of, rate) <= tail)
    return low, high


def _at_most(seen: int, of: int, rate: float) -> float:
    """Chance of at most `seen` of `of`, each at `rate` within (0, 1)."""
    logs = (
        math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
        + k * math.log(rate) + (of - k) * math.log1p(-rate)
        for k in range(seen + 1)
    )  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, logs)))


def _where(holds: Callable[[float], bool]) -> float:
    """The rate from which on it holds."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
