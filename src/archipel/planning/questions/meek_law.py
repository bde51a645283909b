"""The loss laws of `plan meek`: the published one and the refitted ones, as reducible loss over compute.

Law: exponents of a fit are drawn, coefficients are not: each coefficient moves with its exponent so that the
term stays what it is in the middle of the fitted data (`fits`, `scaling.anchored`).
"""

from dataclasses import dataclass

from archipel.planning.laws import scaling
from archipel.planning.quantity import Quantity, derive, pure
from archipel.planning.questions.calling import held
from archipel.planning.questions.fits import constants_of
from archipel.planning.questions.lawbook import LAWS
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
    fit: dict[str, Quantity]
    """Constants of loss over parameters and tokens, by letter."""


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
            (held(shelf["frontier.meek.A"]), "1"),
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
    return Law(PUBLISHED, floor, coefficient, alpha, constants_of(BEHIND_PUBLISHED, shelf))


def _fitted(name: str, shelf: Shelf) -> Law:
    fit = constants_of(name, shelf)
    at_one = LAWS["best_loss"]([pure(1.0, "FLOP"), *fit.values()]) - fit["E"]
    exponent = fit["alpha"] * fit["beta"] / (fit["alpha"] + fit["beta"])
    return Law(
        name,
        fit["E"],
        at_one.named(f"meek.law.{name}.coefficient", f"reducible loss at one FLOP, {name}"),
        exponent.named(f"meek.law.{name}.exponent", f"compute exponent, {name}"),
        fit,
    )
