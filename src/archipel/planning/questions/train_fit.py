"""The published loss laws as quantities: each fit's constants, loss, best size, and what it makes of a size.

Uncertain fits move alpha and beta; A and B follow so that both terms stay what they are at the centre of
the fitted models (`laws.scaling.anchored`). E keeps its own error.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from archipel.planning.laws import inference_aware, repeated_data, scaling
from archipel.planning.laws.scaling import Fit
from archipel.planning.quantity import Quantity, Stated, derive
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

Parents = list[tuple[Quantity, str]]


@dataclass(frozen=True)
class FitQ:
    """One fit's constants as quantities."""

    name: str
    title: str
    E: Quantity
    A: Quantity
    B: Quantity
    alpha: Quantity
    beta: Quantity

    @property
    def parents(self) -> Parents:
        """In the order of `Fit`'s fields."""
        return [
            (self.E, "nat/token"),
            (self.A, "1"),
            (self.B, "1"),
            (self.alpha, "1"),
            (self.beta, "1"),
        ]

    def central(self) -> Fit:
        """Its constants as published, as plain numbers."""
        draws = Draws(0, 1)
        return Fit(*(draws.centre(each) for each, _ in self.parents))

    def apply(
        self, name: str, unit: str, inputs: Parents, law: Callable[..., Any], words: tuple[str, str]
    ) -> Quantity:
        """A law of `inputs` and this fit, as a quantity; `words` are its formula and what it is."""
        count = len(inputs)

        def compute(*numbers: Any) -> Any:
            return law(*numbers[:count], Fit(*numbers[count:]))

        formula, about = words
        return derive(name, unit, [*inputs, *self.parents], compute, formula, about)


def fit_of(name: str, shelf: Shelf) -> FitQ:
    """A published fit by its key."""
    group = f"law.chinchilla.{name}"
    constants = [shelf[f"{group}.{letter}"] for letter in ("E", "A", "B", "alpha", "beta")]
    E, A, B, alpha, beta = constants
    if not _exact(alpha):
        A = _anchored(A, alpha, shelf["train.fitted.params_centre"], f"fit.{name}.A")
    if not _exact(beta):
        B = _anchored(B, beta, shelf["train.fitted.tokens_centre"], f"fit.{name}.B")
    return FitQ(name, shelf.fact(f"{group}.title", name), E, A, B, alpha, beta)


def _exact(quantity: Quantity) -> bool:
    return _figure(quantity).exact


def _anchored(coefficient: Quantity, exponent: Quantity, centre: Quantity, name: str) -> Quantity:
    """The coefficient that follows its exponent; its own interval would count the same doubt twice."""
    second, third = _figure(exponent), _figure(centre)
    exact = published(coefficient)
    return derive(
        name,
        "1",
        [(exact, "1"), (exponent, "1"), (centre, str(centre.unit))],
        lambda stated, moved, at: scaling.anchored(stated, second.value, at, moved),
        f"{coefficient.name} × {centre.name}^({exponent.name} − {second.value:g})",
        f"coefficient with its term held at {third.value:.3g} while the exponent moves",
    )


def published(constant: Quantity) -> Quantity:
    """A constant without its interval, where drawing it apart from its partner would mean nothing."""
    return replace(constant, origin=replace(_figure(constant), low=None, high=None))


def _figure(quantity: Quantity) -> Stated:
    """The figure of a constant from the shelf."""
    if not isinstance(quantity.origin, Stated):
        raise TypeError(f"{quantity.name} is derived, expected a stated figure")
    return quantity.origin


def loss(of: FitQ, params: Quantity, tokens: Quantity, name: str, about: str) -> Quantity:
    """E + A/N^alpha + B/D^beta."""
    words = (f"E + A/({_n(params)})^α + B/({_n(tokens)})^β, {of.name}", about)
    return of.apply(name, "nat/token", [(params, "param"), (tokens, "token")], scaling.loss, words)


def best_params(of: FitQ, flop: Quantity, name: str) -> Quantity:
    """N* for a compute."""
    words = (f"G·({_n(flop)}/6)^(β/(α+β)), {of.name}", "compute-optimal parameters")
    return of.apply(name, "param", [(flop, "FLOP")], scaling.optimal_params, words)


def best_tokens(of: FitQ, flop: Quantity, name: str) -> Quantity:
    """D* for a compute."""
    words = (f"({_n(flop)}/6)/N*, {of.name}", "compute-optimal tokens")
    return of.apply(name, "token", [(flop, "FLOP")], scaling.optimal_tokens, words)


def best_loss(of: FitQ, flop: Quantity, name: str) -> Quantity:
    """L* for a compute."""
    words = (f"E + K·({_n(flop)}/6)^(−αβ/(α+β)), {of.name}", "loss at the compute-optimal size")
    return of.apply(name, "nat/token", [(flop, "FLOP")], scaling.best_loss, words)


def revealed(of: FitQ, params: Quantity, tokens: Quantity, name: str) -> Quantity:
    """Lifetime inference for which a size would have been the best choice."""
    formula = f"3·D·((αA·N^−α)/(βB·D^−β) − 1), {of.name}"
    words = (formula, "lifetime inference tokens for which this size is the best choice")
    law = inference_aware.revealed_tokens
    return of.apply(name, "token", [(params, "param"), (tokens, "token")], law, words)


def balance(of: FitQ, params: Quantity, tokens: Quantity, name: str) -> Quantity:
    """Elasticity of loss to parameters over that to tokens."""
    words = (f"(αA·N^−α)/(βB·D^−β), {of.name}", "worth of 1% more parameters over 1% more tokens")
    return of.apply(
        name, "1", [(params, "param"), (tokens, "token")], inference_aware.balance, words
    )


@dataclass(frozen=True)
class Repeats:
    """Repeated data: how many tokens differ and how repetition decays."""

    unique: Quantity
    rd_star: Quantity
    rn_star: Quantity

    @property
    def parents(self) -> Parents:
        """Unique tokens, then the two decay constants."""
        return [(self.unique, "token"), (self.rd_star, "1"), (self.rn_star, "1")]


def repeated_loss(
    of: FitQ, params: Quantity, tokens: Quantity, data: Repeats, name: str
) -> Quantity:
    """Loss when tokens beyond the unique ones are seen again."""

    def law(n: Any, d: Any, unique: Any, rd: Any, rn: Any, fit: Fit) -> Any:
        return repeated_data.repeated_loss(n, d, unique, fit, repeated_data.Decay(rd, rn))

    words = (f"E + A/N'^α + B/D'^β with D' of repeated tokens, {of.name}", "expected loss")
    inputs = [(params, "param"), (tokens, "token"), *data.parents]
    return of.apply(name, "nat/token", inputs, law, words)


def best_params_repeated(of: FitQ, flop: Quantity, data: Repeats, name: str) -> Quantity:
    """The size of least loss when data repeat."""

    def law(c: Any, unique: Any, rd: Any, rn: Any, fit: Fit) -> Any:
        return repeated_data.best_params(c, unique, fit, repeated_data.Decay(rd, rn))

    words = (f"N of least loss with repeated tokens, {of.name}", "parameters")
    return of.apply(name, "param", [(flop, "FLOP"), *data.parents], law, words)


def _n(of: Quantity) -> str:
    return of.name or "C"
