"""Which parameters and tokens a run has: from a budget, from a quality, or as given.

A mixture of experts costs FLOP by its active parameters and learns like a dense model of
active^(1−x)·total^x parameters (`law.moe.total_share_exponent`).
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from archipel.planning.laws import inference_aware, scaling
from archipel.planning.laws.scaling import Fit
from archipel.planning.mistakes import Impossible
from archipel.planning.quantity import Quantity, derive
from archipel.planning.questions import train_fit, train_refused
from archipel.planning.questions.train_asked import Asked
from archipel.planning.questions.train_fit import FitQ, Repeats
from archipel.planning.questions.train_fleet import centre
from archipel.planning.tables import Shelf
from archipel.planning.units import spell
from archipel.planning.wording import amount_text

Model = tuple[Quantity, Quantity]
"""Active parameters, and the dense parameters that learn as much."""


@dataclass(frozen=True)
class Size:
    """A run's model and data."""

    params: Quantity
    active: Quantity
    """Used per token; the same object as `params` for a dense model."""
    learner: Quantity
    """Dense parameters that learn as much."""
    tokens: Quantity
    flop: Quantity
    loss: Quantity
    data: Repeats | None
    target: Quantity | None
    """The loss that was to be reached."""
    counted: Quantity | None = None
    """Compute with attention's arithmetic, where it is asked to count; `flop` is 6ND all the same."""

    @property
    def mixture(self) -> bool:
        """Whether only a part of the parameters works on each token."""
        return self.active is not self.params


def size_of(asked: Asked, fit: FitQ, flop: Quantity | None, shelf: Shelf) -> Size:
    """The size for what was asked; `flop` is the pre-training compute if a budget was given.

    Raises:
        Impossible: the loss cannot be reached, or the budget buys no model.
    """
    data = _repeats(asked, shelf)
    target = _target(asked, fit)
    params = asked.params or _params(asked, fit, flop, target, data)
    active = asked.active or params
    learner = params if active is params else _learner(active, params, shelf)
    tokens = asked.tokens or _tokens(asked, fit, flop, target, (active, learner))
    _check((params, tokens), asked, (fit, flop), shelf)
    flop = (shelf["law.flop.training"] * active * tokens).named(
        "train.flop", "training compute, 6ND", "FLOP"
    )
    if data is None:
        loss = train_fit.loss(fit, learner, tokens, "train.loss", "expected loss")
    else:
        loss = train_fit.repeated_loss(fit, learner, tokens, data, "train.loss")
    return Size(params, active, learner, tokens, flop, loss, data, target)


def counting(size: Size, attention: Quantity | None) -> Size:
    """The same size, whose compute holds attention's arithmetic too."""
    if attention is None:
        return size
    words = "training compute, attention's arithmetic included"
    counted = (size.flop * attention).named("train.flop", words, "FLOP")
    return replace(size, flop=replace(size.flop, name="train.flop_6nd"), counted=counted)


def _repeats(asked: Asked, shelf: Shelf) -> Repeats | None:
    if asked.unique is None:
        return None
    stars = shelf["law.muennighoff.rd_star"], shelf["law.muennighoff.rn_star"]
    return Repeats(asked.unique, *stars)


def _target(asked: Asked, fit: FitQ) -> Quantity | None:
    """The loss to reach, as given or as that of the compute-optimal model of a size."""
    if asked.loss is not None:
        least = centre(fit.E)
        if centre(asked.loss) <= least:
            raise Impossible(
                f"--loss {centre(asked.loss):g}: no size reaches it under {fit.name}; "
                f"its irreducible loss is {least:g} nat per token"
            )
        return asked.loss
    if asked.like is None:
        return None

    def law(params: Any, of: Fit) -> Any:
        return scaling.best_loss(scaling.flop_where_optimal(params, of), of)

    words = (f"loss of the compute-optimal model of asked.like, {fit.name}", "loss to reach")
    return fit.apply("train.target_loss", "nat/token", [(asked.like, "param")], law, words)


def _learner(active: Quantity, params: Quantity, shelf: Shelf) -> Quantity:
    return derive(
        "train.dense_equivalent",
        "param",
        [(active, "param"), (params, "param"), (shelf["law.moe.total_share_exponent"], "1")],
        scaling.dense_equivalent,
        "active^(1−x) × total^x, x = law.moe.total_share_exponent",
        "dense parameters that would learn as much",
    )


def _params(
    asked: Asked, fit: FitQ, flop: Quantity | None, target: Quantity | None, data: Repeats | None
) -> Quantity:
    """The parameters, when they were not given."""
    if target is not None:
        return _params_for_loss(asked, fit, target)
    if flop is None:
        return _params_for_tokens(asked, fit)
    if asked.tokens is not None:
        return _params_of_budget(asked, flop)
    if asked.served is not None:
        words = (f"N of least loss with 6·N·D + 2·N·T = budget, {fit.name}", "parameters")
        inputs = [(flop, "FLOP"), (asked.served, "token")]
        law = inference_aware.params_for_budget_and_use
        return fit.apply("train.params", "param", inputs, law, words)
    if data is not None:
        return train_fit.best_params_repeated(fit, flop, data, "train.params")
    best = train_fit.best_params(fit, flop, "train.params")
    return replace(best, about="parameters")


def _params_of_budget(asked: Asked, flop: Quantity) -> Quantity:
    """The parameters that a budget trains on the given tokens, and serves."""
    inputs = [(flop, "FLOP"), (_needed(asked.tokens), "token")]
    if asked.served is None:
        law, formula = (lambda c, d: c / (6.0 * d)), "budget / (6 × train.tokens)"
        return derive("train.params", "param", inputs, law, formula, "parameters")
    inputs.append((asked.served, "token"))
    return derive(
        "train.params",
        "param",
        inputs,
        lambda c, d, t: c / inference_aware.lifetime_flop(1.0, d, t),
        "budget / (6 × train.tokens + 2 × asked.served)",
        "parameters",
    )


def _needed(tokens: Quantity | None) -> Quantity:
    if tokens is None:
        raise Impossible("give a budget, a size or a loss to plan for")
    return tokens


def _params_for_tokens(asked: Asked, fit: FitQ) -> Quantity:
    """The size for which the given tokens are the best number."""
    inputs = [(_needed(asked.tokens), "token")]
    if asked.served is not None:
        inputs.append((asked.served, "token"))
        law = inference_aware.params_for_tokens_and_use
        words = (
            f"size for which train.tokens are best with asked.served, {fit.name}",
            "parameters",
        )
        return fit.apply("train.params", "param", inputs, law, words)

    def plain(tokens: Any, of: Fit) -> Any:
        return scaling.optimal_params(scaling.flop_where_tokens_optimal(tokens, of), of)

    words = (f"size for which train.tokens are compute-optimal, {fit.name}", "parameters")
    return fit.apply("train.params", "param", inputs, plain, words)


def _params_for_loss(asked: Asked, fit: FitQ, target: Quantity) -> Quantity:
    """The parameters that reach a loss at least compute, with or without lifetime inference."""
    goal = (target, "nat/token")
    if asked.tokens is not None:
        words = (f"N whose loss on train.tokens is the target, {fit.name}", "parameters")
        inputs = [goal, (asked.tokens, "token")]
        return fit.apply("train.params", "param", inputs, scaling.params_for_loss, words)
    if asked.served is not None:
        words = (f"N of least 6·N·D + 2·N·T at the target loss, {fit.name}", "parameters")
        inputs = [goal, (asked.served, "token")]
        law = inference_aware.params_for_loss_and_use
        return fit.apply("train.params", "param", inputs, law, words)

    def cheapest(loss: Any, of: Fit) -> Any:
        return scaling.optimal_params(scaling.flop_for_loss(loss, of), of)

    words = (f"size that reaches the loss at least compute, {fit.name}", "parameters")
    return fit.apply("train.params", "param", [goal], cheapest, words)


def _tokens(
    asked: Asked, fit: FitQ, flop: Quantity | None, target: Quantity | None, size: Model
) -> Quantity:
    """The tokens, when they were not given; `size` is the active and the learning parameters."""
    active, learner = size
    if target is not None:
        words = (f"tokens after which the size reaches the loss, {fit.name}", "training tokens")
        inputs = [(target, "nat/token"), (learner, "param")]
        return fit.apply("train.tokens", "token", inputs, scaling.tokens_for_loss, words)
    if flop is None:
        return _tokens_for_params(asked, fit, learner)
    law, about = inference_aware.tokens_for_budget_and_use, "training tokens"
    inputs = [(flop, "FLOP"), (active, "param")]
    if asked.served is None:
        formula = "budget / (6 × parameters)"
        return derive("train.tokens", "token", inputs, lambda c, n: law(c, n, 0.0), formula, about)
    formula = "(budget / parameters − 2 × asked.served) / 6"
    inputs.append((asked.served, "token"))
    return derive("train.tokens", "token", inputs, law, formula, about)


def _tokens_for_params(asked: Asked, fit: FitQ, learner: Quantity) -> Quantity:
    """The tokens for which the given size is the best choice."""
    inputs = [(learner, "param")]
    if asked.served is not None:
        inputs.append((asked.served, "token"))
        law = inference_aware.tokens_for_params_and_use
        words = (
            f"tokens for which the size is best with asked.served, {fit.name}",
            "training tokens",
        )
        return fit.apply("train.tokens", "token", inputs, law, words)

    def plain(params: Any, of: Fit) -> Any:
        return scaling.optimal_tokens(scaling.flop_where_optimal(params, of), of)

    words = (f"tokens for which the size is compute-optimal, {fit.name}", "training tokens")
    return fit.apply("train.tokens", "token", inputs, plain, words)


def _check(
    size: tuple[Quantity, Quantity],
    asked: Asked,
    means: tuple[FitQ, Quantity | None],
    shelf: Shelf,
) -> None:
    """Refuse what no run can meet, and say what could be met.

    Raises:
        Impossible: a loss out of reach of the size or the data given, or a budget too small.
    """
    fit, flop = means
    params, tokens = (centre(each) for each in size)
    plain, least = fit.central(), centre(shelf["train.least_params"])
    if not (math.isfinite(params) and math.isfinite(tokens)):
        raise train_refused.out_of_reach(asked, fit, _target(asked, fit))
    if asked.params is None and params < least:
        if asked.budget is None:
            raise train_refused.too_small(asked, fit, (params, least))
        smallest = scaling.flop_where_optimal(least, plain)
        if asked.served is not None:
            smallest += inference_aware.INFERENCE * least * centre(asked.served)
        raise Impossible(
            f"the budget buys a model of {params:,.0f} parameters, fewer than {least:,.0f}; "
            f"the smallest that works is about {_as_budget(smallest, asked, flop)}"
        )
    if tokens < 1 and asked.served is not None:
        serving = inference_aware.INFERENCE * params * centre(asked.served)
        raise Impossible(
            f"--inference-tokens: serving alone takes {amount_text(serving, 'FLOP')}, more than the budget; "
            "raise --budget, or lower --params or --inference-tokens"
        )


def _as_budget(smallest: float, asked: Asked, flop: Quantity | None) -> str:
    """A compute in the words of the budget that was given."""
    if flop is None or asked.budget is None or asked.budget_kind == "flop":
        return amount_text(smallest, "FLOP", 2)
    amount = smallest / centre(flop) * centre(asked.budget)
    return amount_text(amount, spell(asked.budget.unit), 2)
