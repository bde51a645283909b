"""Algorithmic progress that depends on scale: large runs gained far more from new methods than small ones.

Gundlach et al., "On the Origin of Algorithmic Progress in AI" (2025), arXiv 2511.21622: most of the gain of
2012 to 2023 comes from changes of the scaling exponent (LSTM to transformer, Kaplan to Chinchilla), so the
compute-equivalent gain is a power of compute, which is a straight line between two scales in log-log. Here:
the yearly factor at two scales is given, and between them ln(factor) is linear in ln(compute); outside it is
held, since nothing was measured there.
"""

from typing import Any

import numpy as np

Numbers = Any


def yearly_factor(
    flop: Numbers,
    small_flop: Numbers,
    small_factor: Numbers,
    large_flop: Numbers,
    large_factor: Numbers,
) -> Numbers:
    """Algorithmic progress, factor per year, of runs of so much compute."""
    place = np.log(flop / small_flop) / np.log(large_flop / small_flop)
    share = np.clip(place, 0.0, 1.0)
    return np.power(small_factor, 1.0 - share) * np.power(large_factor, share)


def effective_compute(flop: Numbers, years: Numbers, factor: Numbers) -> Numbers:
    """Compute that the methods of the start would need for the same result, in FLOP."""
    return flop * np.power(factor, years)
