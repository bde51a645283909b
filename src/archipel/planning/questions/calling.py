"""How a plain law becomes one that a sheet's formulas may call: units in and out, and how it is spelled."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from archipel.planning.quantity import Numbers, Quantity, Stated, derive, named_parents, spoken
from archipel.planning.spelling import ATOM, MOST_CHARS, SUM, Spelled, spell_law
from archipel.planning.units import spell

_SIGN = re.compile(" [-+×/−] ")
Law = Callable[[Sequence[Quantity]], Quantity]


def law(compute: Callable[..., Numbers], units: Sequence[str], result: str) -> Law:
    """A law whose inputs are wanted in `units`, the last ones perhaps left out, and whose result is in `result`."""

    def called(given: Sequence[Quantity]) -> Quantity:
        return derive(
            "", result, list(zip(given, units, strict=False)), compute, _said(compute, given)
        )

    return called


def alike(compute: Callable[..., Numbers], name: str, result: str | None = None) -> Law:
    """A law of amounts of one kind, taken in the unit of the first."""

    def called(given: Sequence[Quantity]) -> Quantity:
        first = spell(given[0].unit) or "1"
        inputs = [(each, first) for each in given]
        text = f"{name}({', '.join(map(spoken, given))})"
        return derive("", first if result is None else result, inputs, compute, text)

    return called


def _said(compute: Callable[..., Numbers], given: Sequence[Quantity]) -> str:
    """The law over its inputs as it computes them, or its name where that is no line of arithmetic."""
    texts = list(map(spoken, given))
    try:
        names = [Spelled(text, SUM if _SIGN.search(text) else ATOM) for text in texts]
        if text := spell_law(compute, names):
            return text
    except TypeError:
        pass
    text = f"{compute.__name__}({', '.join(texts)})"
    if len(text) > MOST_CHARS:
        below = (name for each in given for name in ([each] if each.name else named_parents(each)))
        text = f"{compute.__name__} of {', '.join(dict.fromkeys(each.name for each in below))}"
    return text


def held(constant: Quantity) -> Quantity:
    """A stated figure without its interval, where drawing it apart from its partner would mean nothing."""
    return replace(constant, origin=replace(figure_of(constant), low=None, high=None))


def figure_of(constant: Quantity) -> Stated:
    """The figure of a constant from the shelf."""
    if not isinstance(constant.origin, Stated):
        raise TypeError(f"{constant.name} is derived, expected a stated figure")
    return constant.origin
