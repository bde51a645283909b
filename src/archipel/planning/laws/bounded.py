"""The same race on other scales: scores with a ceiling, and twins without one.

A score is A / (1 + e^(−k (L − x0))) + b of the loss, with k < 0 (Gundlach, Lynch, Thompson 2025, arXiv
2507.07931, benchmark mapping). Fogelson et al. (2026), arXiv 2607.00913, prove that every bounded measure
lets the slower side catch up, while unbounded ones need not: there the lead is a ratio of effective
compute raised to some power, and grows as long as investment does.
"""

from typing import Any

import numpy as np

Numbers = Any


def score(
    loss: Numbers, floor: Numbers, span: Numbers, steepness: Numbers, middle: Numbers
) -> Numbers:
    """Share of the benchmark solved; `steepness` k in token per nat is negative."""
    return floor + span / (1.0 + np.exp(-steepness * (loss - middle)))


def compute_lead(years: Numbers, own: Numbers) -> Numbers:
    """Effective compute of the frontier over the fixed budget's, when progress is shared: own^t."""
    return np.power(own, years)


def power_lead(lead: Numbers, elasticity: Numbers) -> Numbers:
    """Ratio on a measure that grows like effective compute to a power (task length, 1 / error)."""
    return np.power(lead, elasticity)


def nines_lead(lead: Numbers, exponent: Numbers) -> Numbers:
    """Extra nines of reliability, if errors fall as reducible loss does: α log10(lead)."""
    return exponent * np.log10(lead)


def elasticity_of_doubling(doubling_years: Numbers, growth: Numbers) -> Numbers:
    """The power that links a measure doubling every so many years to compute growing by `growth` a year."""
    return np.log(2.0) / (doubling_years * np.log(growth))
