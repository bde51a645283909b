"""Pre-training loss from parameters and tokens, and the size that a compute budget is best spent on.

L(N, D) = E + A/N^alpha + B/D^beta with C = kappa·N·D (Hoffmann et al. 2022, arXiv 2203.15556, equation 2 and
appendix D.3; kappa = 6 FLOP per parameter and token). Minimising L at fixed C gives
    N* = G (C/kappa)^(beta/(alpha+beta)),  D* = (C/kappa)/N*,  G = (alpha A / beta B)^(1/(alpha+beta))
    L* = E + K (C/kappa)^-gamma,           gamma = alpha beta/(alpha+beta),
    K = (alpha+beta) (A/beta)^(beta/(alpha+beta)) (B/alpha)^(alpha/(alpha+beta))
N in parameters, D in tokens, C in FLOP, L in nat per token; each a float or an array.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = Any


@dataclass(frozen=True)
class Fit:
    """The five constants of one published fit; each a float or an array of samples."""

    E: Numbers
    """Loss that neither parameters nor tokens remove, nat per token."""
    A: Numbers
    B: Numbers
    alpha: Numbers
    beta: Numbers

    @property
    def total(self) -> Numbers:
        """The sum of both exponents."""
        return self.alpha + self.beta


def anchored(coefficient: float, exponent: float, centre: float, moved: Numbers) -> Numbers:
    """The coefficient that keeps `coefficient/centre^exponent` while the exponent becomes `moved`.

    Published errors of A and alpha (B and beta) are strongly correlated: what the data fix is the term at
    the centre of the fitted sizes. So A = A0·centre^(alpha - alpha0), and never A and alpha apart.
    """
    return coefficient * np.power(centre, moved - exponent)


def loss(params: Numbers, tokens: Numbers, fit: Fit) -> Numbers:
    """Nat per token after training `params` on `tokens` unique tokens."""
    return fit.E + params_term(params, fit) + tokens_term(tokens, fit)


def params_term(params: Numbers, fit: Fit) -> Numbers:
    """A/N^alpha: what more parameters could still remove, nat per token."""
    return fit.A * np.power(params, -fit.alpha)


def tokens_term(tokens: Numbers, fit: Fit) -> Numbers:
    """B/D^beta: what more tokens could still remove, nat per token."""
    return fit.B * np.power(tokens, -fit.beta)


def optimal_params(flop: Numbers, fit: Fit, kappa: Numbers = 6.0) -> Numbers:
    """N*: the parameters that `flop` is best spent on."""
    return _g(fit) * np.power(flop / kappa, fit.beta / fit.total)


def optimal_tokens(flop: Numbers, fit: Fit, kappa: Numbers = 6.0) -> Numbers:
    """D*: the tokens that go with N*."""
    return flop / kappa / optimal_params(flop, fit, kappa)


def flop_where_optimal(params: Numbers, fit: Fit, kappa: Numbers = 6.0) -> Numbers:
    """The compute for which `params` is the best size; the inverse of `optimal_params`."""
    return kappa * np.power(params / _g(fit), fit.total / fit.beta)


def flop_where_tokens_optimal(tokens: Numbers, fit: Fit, kappa: Numbers = 6.0) -> Numbers:
    """The compute for which `tokens` are the best number of tokens."""
    return kappa * np.power(tokens * _g(fit), fit.total / fit.alpha)


def gamma(fit: Fit) -> Numbers:
    """Exponent with which compute removes loss when it is spent best."""
    return fit.alpha * fit.beta / fit.total


def best_loss(flop: Numbers, fit: Fit, kappa: Numbers = 6.0) -> Numbers:
    """L*: the loss of the best size for `flop`, in closed form."""
    return fit.E + _k(fit) * np.power(flop / kappa, -gamma(fit))


def flop_for_loss(target: Numbers, fit: Fit, kappa: Numbers = 6.0) -> Numbers:
    """The least training compute that reaches a loss; infinite at or below E."""
    above = np.maximum(target - fit.E, 0.0)
    with np.errstate(divide="ignore"):
        return kappa * np.power(above / _k(fit), -1.0 / gamma(fit))


def tokens_for_loss(target: Numbers, params: Numbers, fit: Fit) -> Numbers:
    """The tokens after which `params` reach a loss; infinite if they never do."""
    left = np.maximum(target - fit.E - params_term(params, fit), 0.0)
    with np.errstate(divide="ignore"):
        return np.power(left / fit.B, -1.0 / fit.beta)


def params_for_loss(target: Numbers, tokens: Numbers, fit: Fit) -> Numbers:
    """The parameters that reach a loss on `tokens`; infinite if none do."""
    left = np.maximum(target - fit.E - tokens_term(tokens, fit), 0.0)
    with np.errstate(divide="ignore"):
        return np.power(left / fit.A, -1.0 / fit.alpha)


def tokens_at_ratio(flop: Numbers, ratio: Numbers, kappa: Numbers = 6.0) -> Numbers:
    """The tokens that go with `flop` at so many tokens per parameter."""
    return np.sqrt(flop * ratio / kappa)


def dense_equivalent(active: Numbers, total: Numbers, share: Numbers) -> Numbers:
    """Parameters of the dense model that learns like a mixture of experts: active^(1-share)·total^share.

    share = 0.5 is the geometric mean of common use; with total = active it is the dense model itself.
    """
    return active * np.power(total / active, share)


def _g(fit: Fit) -> Numbers:
    return np.power(fit.alpha * fit.A / (fit.beta * fit.B), 1.0 / fit.total)


def _k(fit: Fit) -> Numbers:
    data, size = fit.alpha / fit.total, fit.beta / fit.total
    return fit.total * np.power(fit.A / fit.beta, size) * np.power(fit.B / fit.alpha, data)
