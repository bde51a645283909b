"""The algebra of units: products of named units with powers, what they measure, and how much of it.

A unit remembers the names it was made of: kW times h stays that, and is a kWh only when asked for one. Two
units can be converted into each other if they measure the same dimensions; the names of all stand in
`units.txt`. Law: nothing is evaluated but products, quotients and powers of known names.
"""

import functools
import re
from dataclasses import dataclass
from importlib import resources

Powers = tuple[tuple[str, float], ...]
"""Names and their powers, by name, none of them zero."""
MOST_DEEP = 20
"""Brackets within each other: more than anyone writes."""
_TOKEN = re.compile(r"\s*([A-Za-z%][A-Za-z0-9_%]*|\*\*|[-^*/()·]|[0-9])\s*")


class UnknownUnit(ValueError):
    """No such name, or no product of names."""


@dataclass(frozen=True)
class _Named:
    """A unit with a name of its own, or one with a prefix."""

    symbol: str
    size: float
    """In the base units of its dimensions."""
    dimensions: Powers


_NAMED: dict[str, _Named] = {}
"""By full name; those with a prefix are added as they are met."""
_FULL: dict[str, str] = {}
"""Full names by every name."""
_PREFIXES: dict[str, tuple[str, str, float]] = {}
"""Full name, short form and multiple, by both names."""


@dataclass(frozen=True)
class Unit:
    """A product of named units, each to a power."""

    powers: Powers = ()

    def __str__(self) -> str:
        return self.spelled

    def __mul__(self, other: "Unit") -> "Unit":
        return _times(self, other, 1)

    def __truediv__(self, other: "Unit") -> "Unit":
        return _times(self, other, -1)

    def __pow__(self, power: float) -> "Unit":
        return Unit(_raised(self.powers, power))

    @functools.cached_property
    def dimensions(self) -> Powers:
        """What it measures; nothing for plain numbers."""
        parts = (_raised(_NAMED[name].dimensions, power) for name, power in self.powers)
        return functools.reduce(_merged, parts, ())

    @functools.cached_property
    def size(self) -> float:
        """One of it in base units."""
        found = 1.0
        for name, power in self.powers:
            found *= _NAMED[name].size ** power
        return found

    @functools.cached_property
    def spelled(self) -> str:
        """Short names, e.g. `USD/h`; empty for plain numbers."""
        above = [_spell(name, power) for name, power in self.powers if power > 0]
        below = [_spell(name, -power) for name, power in self.powers if power < 0]
        return "/".join(["·".join(above) or ("1" if below else ""), *below])


def parsed(text: str) -> Unit:
    """The unit of names, products, quotients, brackets and powers; a space multiplies too.

    Raises:
        UnknownUnit: anything else.
    """
    if not _NAMED:
        _load()
    tokens = [match[1] for match in _TOKEN.finditer(text)]
    if "".join(tokens) != re.sub(r"\s", "", text):
        raise UnknownUnit(f"{text!r} is no unit")
    reader = _Reader(tokens[::-1])
    found = reader.product(0) if tokens else Unit()
    if reader.tokens:
        raise UnknownUnit(f"{text!r} has a bracket too many")
    return found


@dataclass
class _Reader:
    """The tokens that are left, the next one last."""

    tokens: list[str]

    def product(self, depth: int) -> Unit:
        if depth > MOST_DEEP:
            raise UnknownUnit(f"more than {MOST_DEEP} brackets within each other")
        found = self.power(depth)
        while self.tokens and self.tokens[-1] != ")":
            divided = self.take("/")
            if not divided:
                self.take("*", "·")
            other = self.power(depth)
            found = found / other if divided else found * other
        return found

    def power(self, depth: int) -> Unit:
        found = self.value(depth)
        if not self.take("^", "**"):
            return found
        sign = -1.0 if self.take("-") else 1.0
        digit = self.tokens.pop() if self.tokens else ""
        if not digit.isdigit():
            raise UnknownUnit(f"a power is a number, not {digit!r}")
        return found ** (sign * int(digit))

    def value(self, depth: int) -> Unit:
        word = self.tokens.pop() if self.tokens else "nothing"
        if word == "(":
            found = self.product(depth + 1)
            if not self.take(")"):
                raise UnknownUnit("a closing bracket is missing")
            return found
        return Unit() if word == "1" else Unit(((_full_name(word), 1.0),))

    def take(self, *signs: str) -> bool:
        """Whether the next token is one of these, which is then gone."""
        found = bool(self.tokens) and self.tokens[-1] in signs
        if found:
            self.tokens.pop()
        return found


def _load() -> None:
    """Read `units.txt`."""
    text = resources.files("archipel.planning").joinpath("units.txt").read_text("utf-8")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, many, meant, symbol, *also = line.split()
        if name.endswith("-"):
            prefix = (name[:-1], symbol, float(many))
            _PREFIXES.update({name[:-1]: prefix, symbol: prefix})
            continue
        is_base = meant.startswith("[")
        of = Unit() if is_base else _Reader(re.findall(r"\w+|[*/^]", meant)[::-1]).product(0)
        dimensions = ((meant, 1.0),) if is_base else of.dimensions
        _NAMED[name] = _Named(symbol, float(many) * of.size, dimensions)
        _FULL.update(dict.fromkeys((name, symbol, *also), name))


@functools.lru_cache(maxsize=4096)
def _full_name(word: str) -> str:
    """The full name of a unit by any of its names, with a prefix or as a plural.

    Raises:
        UnknownUnit: there is none.
    """
    for spelled in (word, word.removesuffix("s")):
        if spelled in _FULL:
            return _FULL[spelled]
        for length in range(1, len(spelled)):
            prefix, rest = _PREFIXES.get(spelled[:length]), _FULL.get(spelled[length:])
            if prefix and rest:
                full, symbol, many = prefix
                own = _NAMED[rest]
                _NAMED[full + rest] = _Named(symbol + own.symbol, many * own.size, own.dimensions)
                return full + rest
    raise UnknownUnit(f"{word!r} is not defined")


@functools.lru_cache(maxsize=4096)
def _times(first: Unit, second: Unit, sign: int) -> Unit:
    return Unit(_merged(first.powers, _raised(second.powers, sign)))


def _merged(first: Powers, second: Powers) -> Powers:
    found = dict(first)
    for name, power in second:
        found[name] = found.get(name, 0.0) + power
    return tuple(sorted((name, power) for name, power in found.items() if power))


def _raised(powers: Powers, by: float) -> Powers:
    return tuple((name, power * by) for name, power in powers if by)


def _spell(name: str, power: float) -> str:
    symbol = _NAMED[name].symbol
    return symbol if power == 1 else f"{symbol}^{power:g}"
