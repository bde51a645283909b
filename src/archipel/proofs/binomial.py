"""Exact one-sided bounds on a rate of which so many of so many were seen (Clopper and Pearson, 1934)."""

import math

STEPS = 60
"""Halvings: more than a double has bits."""


def at_most(seen: int, of: int, chance: float) -> float:
    """P(X <= seen) where X counts `of` trials of this chance."""
    if chance <= 0 or seen >= of:
        return 1.0
    if chance >= 1:
        return 0.0
    yes, no = math.log(chance), math.log1p(-chance)
    logs = (
        math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * yes + (of - k) * no
        for k in range(seen + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def upper(seen: int, of: int, confidence: float) -> float:
    """The largest chance under which so few are still seen with 1 - confidence; 1 where nothing was tried."""
    if not 0 <= seen <= of or not 0 < confidence < 1:
        raise ValueError(
            f"{seen} of {of} at {confidence}; expected 0 <= seen <= of, 0 < confidence < 1"
        )
    if seen == of:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if at_most(seen, of, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def lower(seen: int, of: int, confidence: float) -> float:
    """The smallest chance under which so many are still seen with 1 - confidence; 0 where nothing was tried."""
    return 1.0 - upper(of - seen, of, confidence)
