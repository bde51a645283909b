"""One row of a table as a constant: every key of the right type, every number finite, every source known.

Law: whatever a table holds, what comes out is an `Entry` or one sentence that names table, constant and fault.
"""

import math
import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from archipel.planning.mistakes import CannotPlan
from archipel.planning.quantity import Alternative, Source, Spread, Stated
from archipel.planning.units import amount, unit, with_number

KINDS = ("measured", "published", "derived", "assumed")
MAX_DEPTH = 8
"""Dots in a name, at most."""
_TEXTS = ("unit", "kind", "source", "about", "note", "spread")
_KEYS = frozenset((*_TEXTS, "value", "low", "high", "date", "also"))
_END = r"[-+]?[0-9.,]+(?:e[-+]?[0-9]+)?"
_PRINTED = re.compile(rf"(?P<amount>[^\[]*)\[\s*(?P<low>{_END})\s*[-–]\s*(?P<high>{_END})\s*\]\s*")
"""An amount and its interval in brackets."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True)
class Entry:
    """One constant as one table states it."""

    name: str
    unit: str
    figure: Stated
    about: str


def rows(
    table: Mapping[str, Any], where: str, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Every constant (a table with a value) and fact (a text) below, with its dotted name."""
    for key, value in table.items():
        here = (*path, key)
        name = ".".join(here)
        if isinstance(value, str):
            yield name, plain(value)
        elif not isinstance(value, dict) or len(here) > MAX_DEPTH:
            raise CannotPlan(
                f"{where}: {name[:80]}: got {type(value).__name__}, expected a text or a table with "
                f"value, unit, kind and source, at most {MAX_DEPTH} levels deep"
            )
        elif "value" in value:
            yield name, value
        else:
            yield from rows(value, where, here)


def entry(
    name: str, row: Mapping[str, Any], books: Mapping[str, Source], vintage: str, where: str
) -> Entry:
    """One row as an entry.

    Raises:
        CannotPlan: the sentence that says what is wrong with it.
    """
    at = f"{where}: {name}"
    unknown = sorted(set(row) - _KEYS)
    if unknown:
        raise CannotPlan(f"{at}: unknown key {unknown[0]!r}; keys are {', '.join(sorted(_KEYS))}")
    missing = [key for key in ("unit", "kind", "source") if key not in row]
    if missing:
        raise CannotPlan(f"{at}: {missing[0]!r} is missing (a text)")
    texts = {key: _text(row[key], f"{at}: {key}") for key in _TEXTS if key in row}
    if texts["kind"] not in KINDS:
        raise CannotPlan(f"{at}: kind {texts['kind']!r}, expected one of {', '.join(KINDS)}")
    unit(texts["unit"])
    figure = Stated(
        value=_number(row["value"], at),
        kind=texts["kind"],  # type: ignore[arg-type]  # checked above
        source=_source(texts["source"], books, vintage, at),
        low=None if "low" not in row else _number(row["low"], at),
        high=None if "high" not in row else _number(row["high"], at),
        spread=texts.get("spread", "factor"),  # type: ignore[arg-type]  # checked below
        date=_day(row.get("date", vintage), f"{at}: date"),
        vintage=vintage,
        note=texts.get("note", ""),
        also=_also(row.get("also", []), books, vintage, at),
    )
    _check_interval(figure, at)
    return Entry(name, texts["unit"], figure, texts.get("about", ""))


def fill_like(written: MutableMapping[str, Any], facts: MutableMapping[str, str]) -> None:
    """Give a row that is `like` another what it leaves out: a chip with less memory, nothing else changed."""
    below: dict[str, list[str]] = {}
    for name in (*written, *facts):
        below.setdefault(name.rpartition(".")[0], []).append(name)
    for here, names in below.items():
        if (like := f"{here}.like") not in names:
            continue
        there = f"{here.rpartition('.')[0]}.{facts.pop(like)}"
        for name in below[there]:
            own = here + name.removeprefix(there)
            if name in facts:
                facts.setdefault(own, facts[name])
            else:
                written.setdefault(own, written[name])


def check_range(later: Entry, first: Entry) -> None:
    """What overrides a constant keeps its sign, and a share stays one.

    Raises:
        CannotPlan: a price below zero, a utilisation of two.
    """
    known, given = first.figure, later.figure
    ends = [given.value, *(end for end in (given.low, given.high) if end is not None)]
    least = known.value if known.low is None else known.low
    most = known.value if known.high is None else known.high
    if first.unit == "1" and 0 <= least <= most <= 1:
        if not 0 <= min(ends) <= max(ends) <= 1:
            raise CannotPlan(f"{later.name}: got {given.value:g}, expected a share of 0 to 1")
    elif least > 0 and min(ends) <= 0:
        raise CannotPlan(f"{later.name}: got {min(ends):g}, expected more than 0 {later.unit}")
    elif least == 0 and min(ends) < 0:
        raise CannotPlan(f"{later.name}: got {min(ends):g}, expected 0 or more {later.unit}")


def stated_as_printed(text: str, expected: str, what: str, source: Source) -> Stated:
    """The figure that a person wrote as plans print it: an amount, perhaps with its interval.

    `$2.95/accelerator-hour [1.99 – 5]`; the ends are in the scale and unit of the amount.

    Raises:
        CannotPlan: not an amount of that kind, or ends that do not enclose it.
    """
    found = _PRINTED.fullmatch(text)
    if found is None:
        return Stated(amount(text, expected, what), "assumed", source)
    written = found["amount"]
    value = amount(written, expected, what)
    low, high = (
        amount(with_number(written, found[end]), expected, what) for end in ("low", "high")
    )
    spread: Spread = "factor" if low > 0 else "linear"
    figure = Stated(value, "assumed", source, low, high, spread)
    _check_interval(figure, what)
    return figure


def plain(text: str) -> str:
    """A text without control characters, which terminals obey and pages choke on."""
    return _CONTROL.sub(" ", text)


def _also(
    found: object, books: Mapping[str, Source], vintage: str, at: str
) -> tuple[Alternative, ...]:
    """What other sources say of the same constant."""
    expected = f"{at}: also: expected a list of tables with value, source and perhaps note"
    if not isinstance(found, list):
        raise CannotPlan(expected)
    made = []
    for other in found:
        if not isinstance(other, dict) or not {"value", "source"} <= set(other):
            raise CannotPlan(expected)
        source = _source(_text(other["source"], f"{at}: also"), books, vintage, at)
        note = _text(other.get("note", ""), f"{at}: also")
        made.append(Alternative(_number(other["value"], at), source, note))
    return tuple(made)


def _source(key: str, books: Mapping[str, Source], vintage: str, at: str) -> Source:
    """The source of this key; in a person's own table, any text will do as a citation."""
    if key in books:
        return books[key]
    if vintage:
        raise CannotPlan(f"{at}: source {key!r} is not in the bibliography")
    return Source("own", key)


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise CannotPlan(f"{at}: got {value!r:.60}, expected a text")
    return plain(value)


def _day(value: object, at: str) -> str:
    """A date as text, or as TOML writes dates."""
    return value.isoformat() if isinstance(value, date) else _text(value, at)


def _number(value: object, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CannotPlan(f"{at}: got {value!r:.60}, expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CannotPlan(f"{at}: got {number}, expected a finite number")
    return number


def _check_interval(figure: Stated, at: str) -> None:
    if (figure.low is None) != (figure.high is None):
        raise CannotPlan(f"{at}: low and high come together")
    if figure.spread not in ("factor", "linear"):
        raise CannotPlan(f"{at}: spread {figure.spread!r}, expected factor or linear")
    if figure.low is None or figure.high is None:
        return
    if not figure.low <= figure.value <= figure.high:
        raise CannotPlan(
            f"{at}: expected low <= value <= high, "
            f"got {figure.low:g}, {figure.value:g}, {figure.high:g}"
        )
    if figure.spread == "factor" and figure.low <= 0:
        raise CannotPlan(f"{at}: an interval that reaches zero needs spread = 'linear'")
