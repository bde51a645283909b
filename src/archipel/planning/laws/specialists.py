"""One budget: k specialists on a shared base and a router, or one generalist of the best size.

All losses are L(N, D) = E + A/N^alpha + B/D^beta (`scaling`). What is added here is assumed, not published:
  data      a token of the own field is worth 1/(1/k + t (1 - 1/k)) tokens of the general mixture, where t is
            what a token of another field teaches (t = 1: all fields alike; t = 0: nothing in common)
  capacity  a specialist of N parameters does in its field what a generalist of N x min(k, f) does
  errors    a request in the wrong hands is answered as by the shared base
A base of N parameters takes the share b of the compute, each specialist (1 - b)/k of it. With k = 1 and an
errorless router all of it is the generalist again.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from archipel.planning.laws.scaling import Fit, loss

Numbers = Any

FLOP_PER_PARAM_AND_TOKEN = 6.0
SIZES = np.geomspace(1e-2, 3.0, 81)
"""Sizes tried, over the generalist's."""


@dataclass(frozen=True)
class Fields:
    """The traffic and what divides it; each a float or an array."""

    count: Numbers
    """k, how many fields."""
    transfer: Numbers
    """t, worth of another field's token."""
    size_factor: Numbers
    """f, most that specialising is worth in parameters."""
    base_share: Numbers
    """b, share of the budget in the base."""
    router_accuracy: Numbers
    """Requests inside the fields that reach the right specialist."""
    inside: Numbers
    """Requests that belong to one of the fields."""


def worth(count: Numbers, transfer: Numbers) -> Numbers:
    """What a token of the own field is worth in tokens of the general mixture."""
    return 1.0 / (1.0 / count + transfer * (1.0 - 1.0 / count))


def focus(count: Numbers, size_factor: Numbers) -> Numbers:
    """What specialising is worth in parameters."""
    return np.minimum(count, size_factor)


def base_share(count: Numbers, specialist_over_base: Numbers) -> Numbers:
    """Share of the budget in the base, when each specialist takes a given part of what the base took."""
    return 1.0 / (1.0 + count * specialist_over_base)


def together_loss(params: Numbers, flop: Numbers, fields: Fields, fit: Fit) -> Numbers:
    """Loss over all requests, nat per token, of specialists of `params` each and their base."""
    tokens = flop / (FLOP_PER_PARAM_AND_TOKEN * params)
    of_base = fields.base_share * tokens
    own = (1.0 - fields.base_share) * tokens / fields.count
    expert = loss(
        params * focus(fields.count, fields.size_factor),
        of_base + own * worth(fields.count, fields.transfer),
        fit,
    )
    well = fields.inside * np.where(fields.count > 1, fields.router_accuracy, 1.0)
    return well * expert + (1.0 - well) * loss(params, of_base, fit)


def best_params(generalist: Numbers, flop: Numbers, fields: Fields, fit: Fit) -> Numbers:
    """The size of specialist that gives the least loss, among those tried."""
    rank = np.ndim(together_loss(generalist, flop, fields, fit))
    tried = SIZES.reshape((-1,) + (1,) * rank)
    found = np.argmin(together_loss(tried * generalist, flop, fields, fit), axis=0)
    return SIZES[found] * generalist
