"""The laws that a sheet's formulas may call, by the names of their functions; each gives units in and out."""

from collections.abc import Callable, Sequence

import numpy as np

from archipel.planning.formula import Laws
from archipel.planning.laws import reliability
from archipel.planning.quantity import Numbers, Quantity, derive, spoken
from archipel.planning.spelling import ATOM, SUM, Spelled, spell_law
from archipel.planning.units import spell

MOST_CHARS = 300
"""Of a law spelled out; a longer one is named."""
Law = Callable[[Sequence[Quantity]], Quantity]


def _law(compute: Callable[..., Numbers], units: Sequence[str], result: str) -> Law:
    """A law whose inputs are wanted in `units` and whose result is in `result`."""

    def called(given: Sequence[Quantity]) -> Quantity:
        return derive(
            "", result, list(zip(given, units, strict=True)), compute, _said(compute, given)
        )

    return called


def _alike(compute: Callable[..., Numbers], name: str, result: str | None = None) -> Law:
    """A law of amounts of one kind, taken in the unit of the first."""

    def called(given: Sequence[Quantity]) -> Quantity:
        first = spell(given[0].unit) or "1"
        inputs = [(each, first) for each in given]
        text = f"{name}({', '.join(map(spoken, given))})"
        return derive("", first if result is None else result, inputs, compute, text)

    return called


def _said(compute: Callable[..., Numbers], given: Sequence[Quantity]) -> str:
    """The law over its inputs as it computes them, or its name where that is no line of arithmetic."""
    names = [Spelled(spoken(each), SUM if " " in spoken(each) else ATOM) for each in given]
    try:
        text = spell_law(compute, names)
    except TypeError:
        text = ""
    if text and len(text) <= MOST_CHARS:
        return text
    return f"{compute.__name__}({', '.join(map(spoken, given))})"


LAWS: Laws = {
    "max": _alike(np.maximum, "max"),
    "above": _alike(lambda a, b: 1.0 * (np.asarray(a) > b), "above", "1"),
    "young_interval_h": _law(reliability.young_interval_h, ["h", "h"], "h"),
    "daly_interval_h": _law(reliability.daly_interval_h, ["h", "h"], "h"),
    "goodput": _law(reliability.goodput, ["h", "h", "h", "h"], "1"),
}
"""`above` is 1 where its first amount is more than its second, else 0."""
