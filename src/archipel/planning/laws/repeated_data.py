"""What tokens seen again are worth, and the best size when unique tokens run out.

Muennighoff et al. 2023 (arXiv 2305.16264), equations 5 to 7: with U unique tokens seen R + 1 times,
    D' = U + U·R_D*·(1 - exp(-R/R_D*)),
and the same form for parameters beyond U_N, the best size for U unique tokens; then L = E + A/N'^alpha + B/D'^beta.
Parameters, tokens; `repeats` counts passes after the first. The fit behind R_D* trained with dropout and
weight decay 0.1 on C4 and OSCAR; other regularisation moves it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from archipel.planning.laws.scaling import Fit, flop_where_tokens_optimal, loss, optimal_params

Numbers = Any
_GOLDEN = (5.0**0.5 - 1.0) / 2.0
_SHRINKS = 34
_REACH = 5.0
"""How far below and above the unconstrained best size is looked for: a factor e^5, about 150."""


@dataclass(frozen=True)
class Decay:
    """After how many repetitions the worth of repeated tokens, and of excess parameters, is 1 - 1/e spent."""

    tokens: Numbers
    """R_D*."""
    params: Numbers
    """R_N*."""


def effective(unique: Numbers, repeats: Numbers, star: Numbers) -> Numbers:
    """What `unique`, used 1 + `repeats` times, is worth in unique ones; at most unique·(1 + star)."""
    return unique + unique * star * -np.expm1(-repeats / star)


def effective_tokens(tokens: Numbers, unique: Numbers, decay: Decay) -> Numbers:
    """D': the worth of `tokens` drawn from `unique` ones."""
    used = np.minimum(tokens, unique)
    return effective(used, tokens / used - 1.0, decay.tokens)


def params_of_unique(unique: Numbers, fit: Fit) -> Numbers:
    """U_N: the size for which `unique` tokens, each seen once, are the best number of tokens."""
    return optimal_params(flop_where_tokens_optimal(unique, fit), fit)


def effective_params(params: Numbers, unique: Numbers, fit: Fit, decay: Decay) -> Numbers:
    """N': the worth of `params` when there are `unique` tokens to learn from."""
    used = np.minimum(params, params_of_unique(unique, fit))
    return effective(used, params / used - 1.0, decay.params)


def repeated_loss(
    params: Numbers, tokens: Numbers, unique: Numbers, fit: Fit, decay: Decay
) -> Numbers:
    """Nat per token after `tokens` tokens, of which at most `unique` differ.

    As published, parameters beyond U_N count less even in a single pass; up to there one pass is `loss`.
    """
    size = effective_params(params, np.minimum(tokens, unique), fit, decay)
    return loss(size, effective_tokens(tokens, unique, decay), fit)


def best_params(
    flop: Numbers, unique: Numbers, fit: Fit, decay: Decay, kappa: Numbers = 6.0
) -> Numbers:
    """The size of least loss for `flop` when only `unique` tokens exist; golden section over its logarithm."""
    middle = np.log(optimal_params(flop, fit, kappa))
    low, high = middle - _REACH, middle + _REACH

    def cost(log_params: Numbers) -> Numbers:
        params = np.exp(log_params)
        return repeated_loss(params, flop / kappa / params, unique, fit, decay)

    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = cost(left), cost(right)
    for _ in range(_SHRINKS):
        down = at_left < at_right
        low, high = np.where(down, low, left), np.where(down, right, high)
        probe = np.where(down, high - _GOLDEN * (high - low), low + _GOLDEN * (high - low))
        at_probe = cost(probe)
        left, right = np.where(down, probe, right), np.where(down, left, probe)
        at_left, at_right = (
            np.where(down, at_probe, at_right),
            np.where(down, at_left, at_probe),
        )
    return np.exp((low + high) / 2.0)
