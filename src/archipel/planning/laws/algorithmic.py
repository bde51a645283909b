"""Algorithmic progress that depends on scale: large runs gained far more from new methods than small ones.

Gundlach et al., "On the Origin of Algorithmic Progress in AI" (2025), arXiv 2511.21622: most of the gain of
2012 to 2023 comes from changes of the scaling exponent (LSTM to transformer, Kaplan to Chinchilla), so the
compute-equivalent gain is a power of compute, which is a straight line between two scales in log-log. Here:
the yearly factor at two scales is given, and between them ln(factor) is linear in ln(compute); outside it is
held, since nothing was measured there. Compute in FLOP, time in years.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = Any


@dataclass(frozen=True)
class Scale:
    """Yearly algorithmic factor at two amounts of compute."""

    small_flop: Numbers
    small_factor: Numbers
    large_flop: Numbers
    large_factor: Numbers


def yearly_factor(flop: Numbers, scale: Scale) -> Numbers:
    """Algorithmic progress, factor per year, of runs of so much compute."""
    between = np.log(np.divide(scale.large_flop, scale.small_flop))
    place = np.divide(np.log(np.divide(flop, scale.small_flop)), between)
    share = np.clip(place, 0.0, 1.0)
    return np.power(scale.small_factor, 1.0 - share) * np.power(scale.large_factor, share)


def effective_compute(flop: Numbers, years: Numbers, bought: Numbers, scale: Scale) -> Numbers:
    """Compute in today's methods after some years: what is bought then, times what methods gained there.

    `flop` is today's compute, `bought` the yearly growth of what is bought (hardware, investment). The gain
    is taken at the compute of the later run, as the compute-equivalent gain is defined.
    """
    later = flop * np.power(bought, years)
    return later * np.power(yearly_factor(later, scale), years)


def falls_below(grid: Numbers, gap: Numbers, threshold: Numbers) -> Numbers:
    """The last point of `grid` at which a gap still reaches `threshold`, by straight lines between points.

    `gap` has one row per grid point, and any columns; 0 where it never reaches the threshold, infinity where
    it still does at the end.
    """
    above = gap >= threshold
    count = len(grid)
    last = count - 1 - np.argmax(above[::-1], axis=0)
    after = np.minimum(last + 1, count - 1)
    high = np.take_along_axis(gap, last[None], axis=0)[0]
    low = np.take_along_axis(gap, after[None], axis=0)[0]
    share = np.where(high > low, (high - threshold) / np.where(high > low, high - low, 1.0), 0.0)
    place = grid[last] + share * (grid[after] - grid[last])
    place = np.where(above.any(axis=0), place, 0.0)
    return np.where(above[-1], np.inf, place)


def where_widest(grid: Numbers, gap: Numbers) -> Numbers:
    """The point at which a gap is widest; an even `grid`, refined by the parabola through three points."""
    top = np.clip(np.argmax(gap, axis=0), 1, len(grid) - 2)
    before, at, after = (np.take_along_axis(gap, (top + k)[None], axis=0)[0] for k in (-1, 0, 1))
    bend = before - 2.0 * at + after
    shift = np.where(bend < 0.0, (before - after) / np.where(bend < 0.0, 2.0 * bend, 1.0), 0.0)
    return grid[top] + np.clip(shift, -1.0, 1.0) * (grid[1] - grid[0])
