"""Published loss laws as constants: uncertain fits move alpha and beta, and A and B follow.

Both terms stay what they are at the centre of the fitted models (`scaling.anchored`); E keeps its own error.
"""

from archipel.planning.laws.scaling import Fit
from archipel.planning.quantity import Quantity
from archipel.planning.questions.calling import figure_of
from archipel.planning.questions.lawbook import LAWS
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

LETTERS = ("E", "A", "B", "alpha", "beta")
"""In the order of `Fit`'s fields, as laws take them."""
_FOLLOWS = (("A", "alpha", "params"), ("B", "beta", "tokens"))


def constants_of(fit: str, shelf: Shelf) -> dict[str, Quantity]:
    """The constants of a published fit by letter."""
    found = {letter: shelf[f"law.chinchilla.{fit}.{letter}"] for letter in LETTERS}
    for letter, exponent, of in _FOLLOWS:
        if figure_of(found[exponent]).exact:
            continue
        centre = shelf[f"train.fitted.{of}_centre"]
        held_at = f"{figure_of(centre).value:.3g}"
        found[letter] = LAWS["anchored"]([found[letter], found[exponent], centre]).named(
            f"fit.{fit}.{letter}",
            f"coefficient with its term held at {held_at} while the exponent moves",
        )
    return found


def central(constants: dict[str, Quantity]) -> Fit:
    """A fit as published, as plain numbers."""
    return Fit(*(Draws(0, 1).centre(constants[letter]) for letter in LETTERS))
