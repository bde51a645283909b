"""A published loss law with what it makes of a compute, for questions that are no sheets yet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from archipel.planning.laws import scaling
from archipel.planning.laws.scaling import Fit
from archipel.planning.quantity import Quantity, derive
from archipel.planning.questions.fits import constants_of
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
    title = shelf.fact(f"law.chinchilla.{name}.title", name)
    return FitQ(name, title, **constants_of(name, shelf))


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


def _n(of: Quantity) -> str:
    return of.name or "C"
