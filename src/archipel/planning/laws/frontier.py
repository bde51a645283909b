"""A fixed budget against the frontier: how the gap in loss opens, when it is widest, how it closes.

Everyone's effective compute grows by `shared` a year (hardware × algorithms); the frontier's also by
`own` (investment). With L(C) = A C^-α + L0 and a common start at C0 the gap after t years is
A C0^-α [shared^(-αt) − (shared·own)^(-αt)]: it opens, is widest at t*, and closes. Source: Gundlach, Lynch,
Thompson, "Meek Models Shall Inherit the Earth" (2025), arXiv 2507.07931, training inequality; the optimum
over parameters and tokens is Hoffmann et al. (2022), arXiv 2203.15556, equation 4. Compute in FLOP, loss in
nat per token, time in years, growth as a factor per year.
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


def optimal_law(
    a: Numbers, b: Numbers, alpha: Numbers, beta: Numbers, per_token: float = 6.0
) -> tuple[Numbers, Numbers]:
    """Coefficient and exponent of the loss at the best split of C = per_token·N·D.

    With L = E + a N^-alpha + b D^-beta the optimum is E + K (C/per_token)^-γ, where
    γ = αβ/(α+β) and K = (α+β) (a/β)^(β/(α+β)) (b/α)^(α/(α+β)); returned are K·per_token^γ and γ.
    """
    both = alpha + beta
    exponent = alpha * beta / both
    scale = both * np.power(a / beta, beta / both) * np.power(b / alpha, alpha / both)
    return scale * np.power(per_token, exponent), exponent


def optimal_params(
    flop: Numbers, a: Numbers, b: Numbers, alpha: Numbers, beta: Numbers, per_token: float = 6.0
) -> Numbers:
    """Parameters at the same optimum: G (C/per_token)^(β/(α+β)), G = (αa/βb)^(1/(α+β))."""
    both = alpha + beta
    shape = np.power(alpha * a / (beta * b), 1.0 / both)
    return shape * np.power(flop / per_token, beta / both)


def loss_gap(
    years: Numbers, start: Numbers, exponent: Numbers, shared: Numbers, own: Numbers
) -> Numbers:
    """Loss of the fixed budget minus the frontier's; `start` is the reducible loss both begin with."""
    slow = np.power(shared, -exponent * years)
    fast = np.power(shared * own, -exponent * years)
    return start * (slow - fast)


def widest_after(exponent: Numbers, shared: Numbers, own: Numbers) -> Numbers:
    """t*: years after the common start at which the gap is widest; A and C0 drop out."""
    slow, fast = np.log(shared), np.log(shared * own)
    return np.log(fast / slow) / (exponent * np.log(own))


def spending_ratio_when_widest(exponent: Numbers, shared: Numbers, own: Numbers) -> Numbers:
    """How many times the fixed budget the frontier spends at t*: own^t*."""
    return np.power(own, widest_after(exponent, shared, own))


def halving_years(exponent: Numbers, shared: Numbers) -> Numbers:
    """Years in which the gap halves once the frontier's own term has died out."""
    return np.log(2.0) / (exponent * np.log(shared))


def closed_after(
    threshold: Numbers, start: Numbers, exponent: Numbers, shared: Numbers, own: Numbers
) -> Numbers:
    """Years after the start at which the gap falls below `threshold` for good; 0 if it never exceeds it.

    Bisection on the falling side of the peak; infinity beyond `SEARCH_YEARS`.
    """
    early = widest_after(exponent, shared, own) + 0.0 * start
    peak = loss_gap(early, start, exponent, shared, own)
    late = early + SEARCH_YEARS
    open_at_end = loss_gap(late, start, exponent, shared, own) > threshold
    for _ in range(_HALVINGS):
        middle = (early + late) / 2.0
        above = loss_gap(middle, start, exponent, shared, own) > threshold
        early, late = np.where(above, middle, early), np.where(above, late, middle)
    closed = np.where(open_at_end, np.inf, late)
    return np.where(peak <= threshold, 0.0, closed)


def catch_up_years(behind: Numbers, chaser: Numbers, leader: Numbers) -> Numbers:
    """Years until a size `behind` times smaller, growing by `chaser` a year, meets one growing by `leader`.

    Infinity if the leader grows as fast; 0 if nothing is behind. Source: the inference inequality of
    arXiv 2507.07931, where the size that a fixed price runs grows faster than the frontier's.
    """
    speed = np.log(chaser / leader)
    distance = np.maximum(np.log(behind), 0.0)
    safe = np.where(speed > 0.0, speed, 1.0)
    return np.where(speed > 0.0, distance / safe, np.where(distance > 0.0, np.inf, 0.0))
