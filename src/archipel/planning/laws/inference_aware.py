"""The size to train when the model will also be used: training and lifetime inference paid together.

Sardana and Frankle 2024 (arXiv 2401.00448), equations 1 to 4: lifetime compute is 6·N·D + 2·N·T for T tokens
of lifetime inference. Along a fixed loss or a fixed budget the best size is where
    (alpha A N^-alpha) / (beta B D^-beta) = 1 + T/(3 D),
which read backwards says for how much inference a published size would have been the best choice.
N in parameters, D and T in tokens, compute in FLOP. The paper's other objective, money, is the same with T
multiplied by how much dearer a FLOP of inference is than one of training.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from archipel.planning.laws.scaling import (
    Fit,
    flop_for_loss,
    flop_where_optimal,
    optimal_params,
    optimal_tokens,
    params_term,
    tokens_for_loss,
    tokens_term,
)

Numbers = Any
TRAINING, INFERENCE = 6.0, 2.0
"""FLOP per parameter and token: forward and backward pass, and forward pass alone."""
_HALVINGS = 56
_REACH = 16.0
"""How far below the training-only optimum a best size is looked for: a factor e^16, about nine million."""


def lifetime_flop(params: Numbers, tokens: Numbers, served: Numbers) -> Numbers:
    """Training and inference together: 6·N·D + 2·N·T."""
    return TRAINING * params * tokens + INFERENCE * params * served


def balance(params: Numbers, tokens: Numbers, fit: Fit) -> Numbers:
    """What a percent more parameters removes, over what a percent more tokens removes; 1 at D*(N)."""
    return fit.alpha * params_term(params, fit) / (fit.beta * tokens_term(tokens, fit))


def revealed_tokens(params: Numbers, tokens: Numbers, fit: Fit) -> Numbers:
    """T for which training `params` on `tokens` was the best choice; negative if it is under-trained."""
    return 3.0 * tokens * (balance(params, tokens, fit) - 1.0)


def params_for_loss_and_use(target: Numbers, served: Numbers, fit: Fit) -> Numbers:
    """N of the least lifetime compute among all models of one loss; nan if the loss cannot be reached."""
    most = optimal_params(flop_for_loss(target, fit), fit)

    def excess(log_params: Numbers) -> Numbers:
        params = np.exp(log_params)
        tokens = tokens_for_loss(target, params, fit)
        return _excess(params, tokens, served, fit)

    return _highest(excess, most)


def params_for_budget_and_use(flop: Numbers, served: Numbers, fit: Fit) -> Numbers:
    """N of the least loss when `flop` has to pay for training and for `served` tokens of inference."""
    most = optimal_params(flop, fit)

    def excess(log_params: Numbers) -> Numbers:
        params = np.exp(log_params)
        return _excess(params, tokens_for_budget_and_use(flop, params, served), served, fit)

    return _highest(excess, most)


def tokens_for_budget_and_use(flop: Numbers, params: Numbers, served: Numbers) -> Numbers:
    """D that is left once `served` tokens of inference are set aside; at least a millionth of a token."""
    return np.maximum((flop / params - INFERENCE * served) / TRAINING, 1e-6)


def tokens_for_params_and_use(params: Numbers, served: Numbers, fit: Fit) -> Numbers:
    """D for which a size is the best choice when it will serve T: `revealed_tokens` read forwards."""
    least = optimal_tokens(flop_where_optimal(params, fit), fit)

    def lacking(log_tokens: Numbers) -> Numbers:
        tokens = np.exp(log_tokens)
        return 1.0 + served / (3.0 * tokens) - balance(params, tokens, fit)

    return _highest(lacking, least * np.exp(_REACH))


def params_for_tokens_and_use(tokens: Numbers, served: Numbers, fit: Fit) -> Numbers:
    """N for which a number of tokens is the best choice when it will serve T; in closed form."""
    wanted = fit.beta * tokens_term(tokens, fit) * (1.0 + served / (3.0 * tokens))
    return np.power(fit.alpha * fit.A / wanted, 1.0 / fit.alpha)


def _excess(params: Numbers, tokens: Numbers, served: Numbers, fit: Fit) -> Numbers:
    """Positive while the model should still grow; falls with `params` along a loss or a budget."""
    with np.errstate(all="ignore"):
        found = balance(params, tokens, fit) - 1.0 - served / (3.0 * tokens)
    return np.where(np.isfinite(tokens), found, np.inf)


def _highest(excess: Callable[[Numbers], Numbers], most: Numbers) -> Numbers:
    """Where `excess` of a logarithm falls through zero, by halving; `most` is known to be enough."""
    high = np.log(most)
    low = high - _REACH
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        grow = excess(middle) > 0
        low, high = np.where(grow, middle, low), np.where(grow, high, middle)
    return np.exp((low + high) / 2.0)
