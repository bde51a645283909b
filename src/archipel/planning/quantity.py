"""Numbers that know where they come from: a value, a unit, an interval, and either a source or parents.

A `Quantity` is a node of a graph. A stated one carries a figure that somebody measured, published or
assumed; a derived one carries a formula over other quantities and is never stored as a number: it is
computed from its parents, at their central values or at thousands of sampled ones (`sampling`).
Law: arithmetic keeps units, and mixing kinds raises `UnitMismatch`. No I/O, no chance here.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from archipel.planning.dimensions import Unit
from archipel.planning.units import factor, spell, unit

Numbers = Any
"""A float, or an array with one number per sample."""
Kind = Literal["measured", "published", "derived", "assumed"]
Spread = Literal["factor", "linear"]


@dataclass(frozen=True)
class Source:
    """Where a figure can be read."""

    key: str
    title: str
    authors: str = ""
    year: int = 0
    url: str = ""
    read: str = "primary"
    """primary: read there; secondary: quoted elsewhere; memory: widely known, not read again."""


@dataclass(frozen=True)
class Alternative:
    """What another source says of the same thing, in the same unit."""

    value: float
    source: Source
    note: str = ""


@dataclass(frozen=True)
class Stated:
    """A figure somebody stands for. `low` and `high` are the 5th and 95th percentile."""

    value: float
    kind: Kind
    source: Source
    low: float | None = None
    high: float | None = None
    spread: Spread = "factor"
    date: str = ""
    vintage: str = ""
    note: str = ""
    also: tuple[Alternative, ...] = ()

    @property
    def exact(self) -> bool:
        """Without an interval."""
        return self.low is None or self.high is None or self.low == self.high


@dataclass(frozen=True)
class Derived:
    """A formula over parents; `compute` takes their magnitudes, each in its own unit."""

    formula: str
    parents: tuple["Quantity", ...]
    compute: Callable[..., Numbers]


@dataclass(frozen=True, eq=False)
class Quantity:
    """One number of a plan. Two quantities are the same only if they are the same object."""

    name: str
    """Dotted, e.g. `power.average`; empty for a step inside a formula."""
    unit: Unit
    origin: Stated | Derived
    about: str = ""

    def named(self, name: str, about: str, unit_text: str = "") -> "Quantity":
        """The same quantity under a name, and in the unit it should be shown in."""
        shown = self if not unit_text else self.to(unit_text)
        if shown.name:
            origin: Stated | Derived = Derived(shown.name, (shown,), _same)
        else:
            origin = shown.origin
        return replace(shown, name=name, about=about, origin=origin)

    def to(self, unit_text: str) -> "Quantity":
        """The same amount in another unit of the same kind."""
        target = unit(unit_text)
        scale = factor(self.unit, target)
        if target == self.unit:
            return self
        if self.name or isinstance(self.origin, Stated):
            return Quantity("", target, Derived(_spoken(self), (self,), lambda x: x * scale))
        inner = self.origin.compute
        scaled = replace(self.origin, compute=lambda *given: inner(*given) * scale)
        return replace(self, unit=target, origin=scaled)

    def __mul__(self, other: "Quantity | float") -> "Quantity":
        return _product(self, other, "×", np.multiply)

    def __rmul__(self, other: float) -> "Quantity":
        return _product(pure(other), self, "×", np.multiply)

    def __truediv__(self, other: "Quantity | float") -> "Quantity":
        return _product(self, other, "/", np.divide)

    def __rtruediv__(self, other: float) -> "Quantity":
        return _product(pure(other), self, "/", np.divide)

    def __add__(self, other: "Quantity | float") -> "Quantity":
        return _sum(self, other, "+", np.add)

    def __radd__(self, other: float) -> "Quantity":
        return _sum(pure(other), self, "+", np.add)

    def __sub__(self, other: "Quantity | float") -> "Quantity":
        return _sum(self, other, "−", np.subtract)

    def __rsub__(self, other: float) -> "Quantity":
        return _sum(pure(other), self, "−", np.subtract)

    def __pow__(self, power: "Quantity | float") -> "Quantity":
        if isinstance(power, Quantity):
            base, exponent = self.to("1"), power.to("1")
            text = f"{_spoken(base)}^{_spoken(exponent)}"
            return Quantity("", base.unit, Derived(text, (base, exponent), np.power))
        made = Derived(f"{_spoken(self)}^{power:g}", (self,), lambda x: np.power(x, power))
        return Quantity("", unit("1") * self.unit**power, made)

    @property
    def parents(self) -> tuple["Quantity", ...]:
        """What it is computed from; nothing for a stated figure."""
        return self.origin.parents if isinstance(self.origin, Derived) else ()


def _same(x: Numbers) -> Numbers:
    return x


_ITSELF = Source("number", "a plain number in a formula")


def pure(number: float, unit_text: str = "1") -> Quantity:
    """A number inside a formula: exact, mostly without unit, never listed as an input."""
    return Quantity("", unit(unit_text), Stated(float(number), "derived", _ITSELF))


def stated(name: str, unit_text: str, figure: Stated, about: str = "") -> Quantity:
    """A figure with its source, as a node."""
    return Quantity(name, unit(unit_text), figure, about)


def given(name: str, value: float, unit_text: str, option: str, about: str = "") -> Quantity:
    """What the person asking has fixed: an assumption whose source is their own option."""
    source = Source("you", f"given by you ({option})")
    return stated(name, unit_text, Stated(float(value), "assumed", source), about)


def derive(
    name: str,
    unit_text: str,
    parents: Sequence[tuple[Quantity, str]],
    compute: Callable[..., Numbers],
    formula: str,
    about: str = "",
) -> Quantity:
    """A quantity whose formula is more than arithmetic: a scaling law, a root, a maximum.

    `parents` come each with the unit in which `compute` wants it; `compute` takes one magnitude per
    parent, floats or arrays of samples, and returns one in `unit_text`; `formula` says the same in
    words, with the parents' names.
    """
    scales = [factor(parent.unit, unit(wanted)) for parent, wanted in parents]

    def scaled(*magnitudes: Numbers) -> Numbers:
        return compute(*(m * s for m, s in zip(magnitudes, scales, strict=True)))

    made = Derived(formula, tuple(parent for parent, _ in parents), scaled)
    return Quantity(name, unit(unit_text), made, about)


def total(parts: Sequence[Quantity]) -> Quantity:
    """The sum of parts of one kind, in the unit of the first."""
    scales = [factor(part.unit, parts[0].unit) for part in parts]

    def summed(*magnitudes: Numbers) -> Numbers:
        return sum(m * s for m, s in zip(magnitudes, scales, strict=True))

    made = Derived(" + ".join(_spoken(part, "+") for part in parts), tuple(parts), summed)
    return Quantity("", parts[0].unit, made)


def ancestry(of: Sequence[Quantity], known: Container[int] = ()) -> Iterator[Quantity]:
    """Every quantity that these rest on, themselves included, parents before children, each once.

    Those with an id in `known`, and what only they rest on, are left out.
    """
    seen: set[int] = set()
    stack = [(quantity, False) for quantity in reversed(of)]
    while stack:
        quantity, ready = stack.pop()
        if ready:
            yield quantity
        elif id(quantity) not in seen and id(quantity) not in known:
            seen.add(id(quantity))
            stack.append((quantity, True))
            stack.extend((parent, False) for parent in reversed(quantity.parents))


def named_parents(of: Quantity) -> list[Quantity]:
    """The nearest named quantities below, through the unnamed steps of a formula."""
    found: list[Quantity] = []
    for parent in of.parents:
        found += [parent] if parent.name else named_parents(parent)
    return list({id(each): each for each in found}.values())


def spoken(of: Quantity) -> str:
    """Its name, or its formula if it has none, or its number."""
    if of.name:
        return of.name
    if isinstance(of.origin, Stated):
        return f"{of.origin.value:g} {spell(of.unit)}".rstrip()
    return of.origin.formula


def _spoken(of: Quantity, binding: str = "^") -> str:
    """As a part of a longer formula whose sign is `binding`: in brackets where it needs them."""
    text = spoken(of)
    if of.name or " " not in text or binding == "+":
        return text
    sums = " + " in text or " − " in text
    return f"({text})" if sums or binding != "×" else text


def _product(
    left: Quantity, right: "Quantity | float", sign: str, compute: Callable[..., Numbers]
) -> Quantity:
    other = right if isinstance(right, Quantity) else pure(right)
    combined = left.unit * other.unit if sign == "×" else left.unit / other.unit
    formula = f"{_spoken(left, '×')} {sign} {_spoken(other, sign)}"
    return Quantity("", combined, Derived(formula, (left, other), compute))


def _sum(
    left: Quantity, right: "Quantity | float", sign: str, compute: Callable[..., Numbers]
) -> Quantity:
    other = right if isinstance(right, Quantity) else pure(right)
    scale = factor(other.unit, left.unit)
    formula = f"{_spoken(left, '+')} {sign} {_spoken(other, sign)}"
    made = Derived(formula, (left, other), lambda a, b: compute(a, b * scale))
    return Quantity("", left.unit, made)


def scoped(roots: Sequence[Quantity], scope: str) -> list[Quantity]:
    """The same graph again under names ending in `@scope`, so that two variants can stand in one plan.

    Stated figures stay the same objects: both variants see the same draws.
    """
    made: dict[int, Quantity] = {}
    for quantity in ancestry(roots):
        if isinstance(quantity.origin, Stated):
            made[id(quantity)] = quantity
            continue
        parents = tuple(made[id(parent)] for parent in quantity.origin.parents)
        name = f"{quantity.name}@{scope}" if quantity.name else ""
        made[id(quantity)] = replace(
            quantity, name=name, origin=replace(quantity.origin, parents=parents)
        )
    return [made[id(root)] for root in roots]
