"""The loss laws of `plan meek`: the published one and the refitted ones, as reducible loss over compute.

Law: exponents of a fit are drawn, coefficients are not: each coefficient moves with its exponent so that the
term stays what it is in the middle of the fitted data (`train_fit`, `scaling.anchored`).
"""

from dataclasses import dataclass, replace

from archipel.planning.laws import scaling
from archipel.planning.quantity import Quantity, derive
from archipel.planning.questions.train_fit import FitQ, fit_of, published
from archipel.planning.tables import Shelf

PUBLISHED = "meek"
BENCHMARK_LAW = "hoffmann-tex"
"""The law with whose losses the benchmark curve was drawn."""
BEHIND_PUBLISHED = "hoffmann"
"""The fit behind the published law, which has no parameters of its own."""
COMPARED = (PUBLISHED, "hoffmann", BENCHMARK_LAW, "besiroglu")
"""Shown side by side."""


@dataclass(frozen=True)
class Law:
    """Loss at the best split of compute: floor + coefficient · C^-exponent, C in FLOP."""

    name: str
    floor: Quantity
    coefficient: Quantity
    """Reducible loss at one FLOP, nat per token."""
    exponent: Quantity
    fit: FitQ
    """Loss over parameters and tokens."""


def laws(chosen: str, shelf: Shelf) -> dict[str, Law]:
    """The law asked for, first, and the compared ones, by name; each made once.

    Raises:
        UnknownName: none of them, with the nearest.
    """
    first = _law(chosen, shelf)
    return {first.name: first} | {
        name: _law(name, shelf) for name in COMPARED if name != first.name
    }


def _law(name: str, shelf: Shelf) -> Law:
    if name.casefold() == PUBLISHED:
        return _published(shelf)
    found = shelf.choose("law.chinchilla", name, f"loss law ({PUBLISHED!r} is one too)")
    return _fitted(found, shelf)


def _published(shelf: Shelf) -> Law:
    """A C^-alpha + L0 with the constants of the paper; A moves with alpha around the fitted data."""
    alpha = shelf["frontier.meek.alpha"]
    alpha0 = shelf.entry("frontier.meek.alpha").figure.value
    coefficient = derive(
        "meek.law.meek.coefficient",
        "nat/token",
        [
            (published(shelf["frontier.meek.A"]), "1"),
            (alpha, "1"),
            (shelf["law.flop.training"], "FLOP/(param*token)"),
            (shelf["train.fitted.params_centre"], "param"),
            (shelf["train.fitted.tokens_centre"], "token"),
        ],
        lambda a, x, each, n, d: scaling.anchored(a, alpha0, each * n * d, x),
        "A · centre^(alpha − published alpha): the loss at the middle of the fits is held",
        "reducible loss at one FLOP, as published",
    )
    floor = shelf["frontier.meek.L0"]
    return Law(PUBLISHED, floor, coefficient, alpha, fit_of(BEHIND_PUBLISHED, shelf))


def _fitted(name: str, shelf: Shelf) -> Law:
    fit = fit_of(name, shelf)
    coefficient = fit.apply(
        f"meek.law.{name}.coefficient",
        "nat/token",
        [],
        lambda constants: scaling.best_loss(1.0, replace(constants, E=0.0)),
        ("K · 6^γ of the best split", f"reducible loss at one FLOP, {name}"),
    )
    exponent = derive(
        f"meek.law.{name}.exponent",
        "1",
        [(fit.alpha, "1"), (fit.beta, "1")],
        lambda alpha, beta: alpha * beta / (alpha + beta),
        "αβ/(α+β)",
        f"compute exponent, {name}",
    )
    return Law(name, fit.E, coefficient, exponent, fit)
