"""What a law computes, in signs: the law's own function is called once with names in place of numbers.

Law: nothing is computed here, and a function that does more than arithmetic raises `TypeError` instead of
being spelled wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_CHARS = 300
"""Of a law spelled out."""
SUM, PRODUCT, ATOM = range(3)
"""How strongly the last sign of a formula binds."""


@dataclass(frozen=True)
class Spelled:
    """A formula so far."""

    text: str
    binding: int = ATOM

    def __post_init__(self) -> None:
        """Refuse what nobody reads: a search by halving would double it with every step."""
        if len(self.text) > MOST_CHARS:
            raise TypeError(f"more than {MOST_CHARS} characters")

    def within(self, binding: int) -> str:
        """As a part of a formula whose sign binds so."""
        return self.text if self.binding >= binding else f"({self.text})"

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> "Spelled":
        """NumPy's functions, by their signs."""
        if method != "__call__" or options or ufunc not in _SIGNS:
            raise TypeError(f"{ufunc} has no sign")
        return _SIGNS[ufunc](*map(_spelled, inputs))

    def __array_function__(
        self, function: Any, _types: Any, inputs: Any, options: Any
    ) -> "Spelled":
        """The only other function that laws use."""
        if function is not np.where or options:
            raise TypeError(f"{function} has no sign")
        holds, yes, no = map(_spelled, inputs)
        return Spelled(f"{yes.within(SUM)} where {holds.text}, else {no.within(SUM)}", SUM)

    def __array__(self, *_: Any, **__: Any) -> Any:
        """Refuse to become an array of objects, which would be computed with."""
        raise TypeError("a name is no number")

    def __bool__(self) -> bool:
        """Refuse to decide a branch."""
        raise TypeError("a name is neither true nor false")

    def __add__(self, other: Any) -> "Spelled":
        return _SIGNS[np.add](self, _spelled(other))

    def __radd__(self, other: Any) -> "Spelled":
        return _SIGNS[np.add](_spelled(other), self)

    def __sub__(self, other: Any) -> "Spelled":
        return _SIGNS[np.subtract](self, _spelled(other))

    def __rsub__(self, other: Any) -> "Spelled":
        return _SIGNS[np.subtract](_spelled(other), self)

    def __mul__(self, other: Any) -> "Spelled":
        return _SIGNS[np.multiply](self, _spelled(other))

    def __rmul__(self, other: Any) -> "Spelled":
        return _SIGNS[np.multiply](_spelled(other), self)

    def __truediv__(self, other: Any) -> "Spelled":
        return _SIGNS[np.divide](self, _spelled(other))

    def __rtruediv__(self, other: Any) -> "Spelled":
        return _SIGNS[np.divide](_spelled(other), self)

    def __pow__(self, other: Any) -> "Spelled":
        return _SIGNS[np.power](self, _spelled(other))

    def __rpow__(self, other: Any) -> "Spelled":
        return _SIGNS[np.power](_spelled(other), self)

    def __neg__(self) -> "Spelled":
        return Spelled(f"−{self.within(ATOM)}", PRODUCT)

    def __lt__(self, other: Any) -> "Spelled":
        return Spelled(f"{self.text} < {_spelled(other).text}", SUM)

    def __gt__(self, other: Any) -> "Spelled":
        return Spelled(f"{self.text} > {_spelled(other).text}", SUM)


def spell_law(law: Callable[..., Any], names: list[Spelled]) -> str:
    """The formula of a law over these names.

    Raises:
        TypeError: it is more than arithmetic.
    """
    return _spelled(law(*names)).text


def _spelled(value: Any) -> Spelled:
    if isinstance(value, Spelled):
        return value
    if isinstance(value, int | float):
        return Spelled(f"{value:g}".replace("-", "−"))
    raise TypeError(f"{type(value).__name__} has no spelling")


def _between(sign: str, binding: int, right: int) -> Callable[..., Spelled]:
    """A sign between two parts; the right one is put in brackets unless it binds as `right`."""
    return lambda a, b: Spelled(f"{a.within(binding)}{sign}{b.within(right)}", binding)


def _called(name: str) -> Callable[..., Spelled]:
    return lambda *given: Spelled(f"{name}({', '.join(each.text for each in given)})")


_SIGNS: dict[Any, Callable[..., Spelled]] = {
    np.add: _between(" + ", SUM, SUM),
    np.subtract: _between(" − ", SUM, PRODUCT),
    np.multiply: _between(" × ", PRODUCT, PRODUCT),
    np.divide: _between(" / ", PRODUCT, ATOM),
    np.power: lambda a, b: Spelled(f"{a.within(ATOM)}^{b.within(ATOM)}"),
    np.sqrt: _called("√"),
    np.cbrt: _called("∛"),
    np.maximum: _called("max"),
    np.minimum: _called("min"),
    np.log: _called("ln"),
    np.exp: _called("exp"),
}
