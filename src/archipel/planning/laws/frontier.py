"""A fixed budget against the frontier: how the gap in loss opens, when it is widest, how it closes.

Everyone's effective compute grows by `shared` a year (hardware × algorithms); the frontier's also by
`own` (investment). With L(C) = A C^-α + L0 and a common start at C0 the gap after t years is
A C0^-α [shared^(-αt) − (shared·own)^(-αt)]: it opens, is widest at t*, and closes. Source: Gundlach, Lynch,
Thompson, "Meek Models Shall Inherit the Earth" (2025), arXiv 2507.07931, training inequality. Compute in
FLOP, loss in nat per token, time in years, growth as a factor per year.
"""

from typing import Any

import numpy as np

Numbers = Any
SEARCH_YEARS = 400.0
"""Beyond this a gap counts as never closing."""
_HALVINGS = 60
"""Of the search interval: below rounding."""


def reducible_loss(flop: Numbers, coefficient: Numbers, exponent: Numbers) -> Numbers:
    """A C^-α: what more compute can still remove, in nat per token."""
    return coefficient * np.power(flop, -exponent)


def loss_gap(
    years: Numbers,
    start: Numbers,
    exponent: Numbers,
    shared: Numbers,
    own: Numbers,
    lead: Numbers = 1.0,
) -> Numbers:
    """Loss of the fixed budget minus the frontier's, `years` after the start.

    `start` is the reducible loss of the fixed budget at the start; `lead` how many times its compute the
    frontier has then (1 in the published model, where both start alike).
    """
    slow = np.power(shared, -exponent * years)
    fast = np.power(lead, -exponent) * np.power(shared * own, -exponent * years)
    return start * (slow - fast)


def widest_after(exponent: Numbers, shared: Numbers, own: Numbers, lead: Numbers = 1.0) -> Numbers:
    """t*: years after the start at which the gap is widest; A and C0 drop out. Negative: it has been."""
    slow, fast = np.log(shared), np.log(shared * own)
    from_equal = np.log(fast / slow) / (exponent * np.log(own))
    return from_equal - np.log(lead) / np.log(own)


def spending_ratio_when_widest(exponent: Numbers, shared: Numbers, own: Numbers) -> Numbers:
    """How many times the fixed budget the frontier spends at t*: own^t*."""
    return np.power(own, widest_after(exponent, shared, own))


def halving_years(exponent: Numbers, shared: Numbers) -> Numbers:
    """Years in which the gap halves once the frontier's own term has died out."""
    return np.log(2.0) / (exponent * np.log(shared))


def closed_after(
    threshold: Numbers,
    start: Numbers,
    exponent: Numbers,
    shared: Numbers,
    own: Numbers,
    lead: Numbers = 1.0,
) -> Numbers:
    """Years after the start at which the gap falls below `threshold` for good; 0 if it is below already.

    Bisection on the falling side of the peak; infinity beyond `SEARCH_YEARS`.
    """
    early = np.maximum(widest_after(exponent, shared, own, lead), 0.0) + 0.0 * start
    widest = loss_gap(early, start, exponent, shared, own, lead)
    late = early + SEARCH_YEARS
    still_open = loss_gap(late, start, exponent, shared, own, lead) > threshold
    for _ in range(_HALVINGS):
        middle = (early + late) / 2.0
        above = loss_gap(middle, start, exponent, shared, own, lead) > threshold
        early, late = np.where(above, middle, early), np.where(above, late, middle)
    closed = np.where(still_open, np.inf, late)
    return np.where(widest <= threshold, 0.0, closed)


def catch_up_years(behind: Numbers, chaser: Numbers, leader: Numbers) -> Numbers:
    """Years until a size `behind` times smaller, growing by `chaser` a year, meets one growing by `leader`.

    Infinity if the leader grows as fast; 0 if nothing is behind. Source: the inference inequality of
    arXiv 2507.07931, where the size that a fixed price runs grows faster than the frontier's.
    """
    speed = np.log(chaser / leader)
    distance = np.maximum(np.log(behind), 0.0)
    safe = np.where(speed > 0.0, speed, 1.0)
    return np.where(speed > 0.0, distance / safe, np.where(distance > 0.0, np.inf, 0.0))
