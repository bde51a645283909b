"""The shelf of constants: dated tables in the package, then the person's own table, then `--set`.

A file `topic@YYYY-MM.toml` holds what was true at its vintage and is never merged with another vintage:
the shelf answers with the newest figure not later than the date asked for, and can show the older ones.
Sources are keys into `bibliography/*.toml`. Law: a figure without unit, kind and known source is refused.
"""

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from archipel.planning.mistakes import CannotPlan, nearest
from archipel.planning.quantity import Alternative, Quantity, Source, Stated, stated
from archipel.planning.units import amount, compatible, unit

MAX_TABLE_BYTES = 1024 * 1024
"""A person's own table: some thousand constants."""
KINDS = ("measured", "published", "derived", "assumed")
_KEYS = frozenset(
    ("value", "low", "high", "unit", "kind", "source", "date", "about", "note", "spread", "also")
)
_FILE = re.compile(r"^(?P<topic>[a-z0-9-]+)@(?P<vintage>\d{4}-\d{2})\.toml$")


@dataclass(frozen=True)
class Entry:
    """One constant as one table states it."""

    name: str
    unit: str
    figure: Stated
    about: str


@dataclass
class Shelf:
    """Constants by name, as of a date; each is one `Quantity` object, whoever asks."""

    as_of: str = ""
    """YYYY-MM or longer; empty for the newest."""
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    """Every vintage of each constant, oldest first, the person's own last."""
    facts: dict[str, str] = field(default_factory=dict)
    _made: dict[str, Quantity] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Quantity:
        """The constant of this name.

        Raises:
            UnknownName: no table has it, with the nearest names that one has.
        """
        if name not in self._made:
            entry = self.entry(name)
            self._made[name] = stated(name, entry.unit, entry.figure, entry.about)
        return self._made[name]

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def entry(self, name: str) -> Entry:
        """The newest vintage of a constant that is not later than `as_of`; its first, if all are later.

        A figure used before its own date is listed by `ahead`, so that nobody takes it for history.
        """
        if name not in self.entries:
            raise nearest(name, self.entries, "constant")
        fitting = [entry for entry in self.entries[name] if self._in_time(entry)]
        return fitting[-1] if fitting else self.entries[name][0]

    def ahead(self, figure: Stated) -> bool:
        """Whether a figure is of a later vintage than the date asked for."""
        return bool(self.as_of) and figure.vintage[: len(self.as_of)] > self.as_of

    def vintages(self, name: str) -> list[Entry]:
        """Every vintage of a constant, oldest first."""
        return list(self.entries.get(name, ()))

    def fact(self, name: str, otherwise: str = "") -> str:
        """A text beside the constants, such as `accelerator.h100.title`."""
        return self.facts.get(name, otherwise)

    def members(self, group: str) -> list[str]:
        """The names one level below `group`: the accelerators, the countries, the fits."""
        depth = group.count(".") + 1
        names = [*self.entries, *self.facts]
        inside = (name.split(".")[depth] for name in names if name.startswith(group + "."))
        return list(dict.fromkeys(inside))

    def choose(self, group: str, word: str, what: str) -> str:
        """The member of `group` that `word` means: its name, title or alias, whatever the case.

        Raises:
            UnknownName: none, with the nearest that exist.
        """
        known = self.members(group)
        folded = {name.casefold(): name for name in known}
        for fact, title in self.facts.items():
            name = fact.removesuffix(".title").rpartition(".")[2]
            if fact.endswith(".title") and name in known:
                folded.setdefault(title.casefold(), name)
        spelled = self.facts.get(f"alias.{word.casefold()}", word).casefold()
        if word.casefold() in folded or spelled not in folded:
            spelled = word.casefold()
        if spelled not in folded:
            raise nearest(word, known, what)
        return folded[spelled]

    def put(self, entry: Entry) -> None:
        """Add a later word on a constant; its unit must fit the one it overrides."""
        before = self.entries.setdefault(entry.name, [])
        if before and not compatible(unit(before[-1].unit), unit(entry.unit)):
            raise CannotPlan(
                f"{entry.name}: got {entry.unit!r}, expected a unit like {before[-1].unit!r}"
            )
        before.append(entry)
        self._made.pop(entry.name, None)

    def override(self, text: str) -> None:
        """Apply `NAME=AMOUNT` from the command line.

        Raises:
            CannotPlan: not of that form, an unknown name, or another kind of amount.
        """
        name, sign, written = (part.strip() for part in text.partition("="))
        if not sign:
            raise CannotPlan(f"--set: got {text!r}, expected NAME=AMOUNT, e.g. pue.default=1.1")
        old = self.entry(name)
        value = amount(written, old.unit, f"--set {name}")
        source = Source("you", f"given by you (--set {name})")
        self.put(Entry(name, old.unit, Stated(value, "assumed", source), old.about))

    def _in_time(self, entry: Entry) -> bool:
        return not self.ahead(entry.figure)


def shelf(as_of: str = "", own: Mapping[str, Any] | None = None) -> Shelf:
    """The package's tables, as of a date, with a person's own table on top.

    Raises:
        CannotPlan: the date or the own table is not of the form described in its message.
    """
    if as_of and not re.fullmatch(r"\d{4}(-\d{2}){0,2}", as_of):
        raise CannotPlan(f"--as-of: got {as_of!r}, expected a date such as 2025-03")
    entries, facts = _packaged()
    made = Shelf(as_of, {name: list(found) for name, found in entries.items()}, dict(facts))
    for name, found in _walk(own or {}, ()):
        if isinstance(found, str):
            made.facts[name] = found
        else:
            made.put(_entry(name, found, bibliography(), "", "your table"))
    return made


def read_own(text: str, where: str) -> dict[str, Any]:
    """A person's own table, from TOML text, checked as a whole.

    Raises:
        CannotPlan: too large, not TOML, or an entry that is not a constant.
    """
    if len(text) > MAX_TABLE_BYTES:
        raise CannotPlan(f"{where}: {len(text)} bytes, expected at most {MAX_TABLE_BYTES}")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CannotPlan(f"{where}: not TOML: {error}") from None
    shelf(own=table)
    return table


@functools.cache
def bibliography() -> dict[str, Source]:
    """Every source that the package's tables cite."""
    found: dict[str, Source] = {}
    for path in _files("bibliography"):
        for key, row in tomllib.loads(path.read_text("utf-8")).items():
            if key in found:
                raise CannotPlan(f"bibliography: {key} is described twice")
            found[key] = Source(key, **row)
    return found


@functools.cache
def _packaged() -> tuple[dict[str, list[Entry]], dict[str, str]]:
    """Every constant of the package, oldest vintage first, and the facts beside them."""
    entries: dict[str, list[Entry]] = {}
    facts: dict[str, str] = {}
    for path in sorted(_files("tables"), key=lambda file: file.name.partition("@")[2]):
        found = _FILE.match(path.name)
        if found is None:
            raise CannotPlan(f"table {path.name}: expected a name such as rental@2025-03.toml")
        for name, row in _walk(tomllib.loads(path.read_text("utf-8")), ()):
            if isinstance(row, str):
                facts[name] = row
            else:
                made = _entry(name, row, bibliography(), found["vintage"], path.name)
                entries.setdefault(name, []).append(made)
    return entries, facts


def _files(folder: str) -> list[Path]:
    root = resources.files("archipel.planning").joinpath(folder)
    return [Path(str(path)) for path in root.iterdir() if path.name.endswith(".toml")]


def _walk(
    table: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Every constant (a table with a value) and fact (a text) below, with its dotted name."""
    for key, value in table.items():
        here = (*path, key)
        if isinstance(value, str):
            yield ".".join(here), value
        elif not isinstance(value, dict):
            raise CannotPlan(
                f"{'.'.join(here)}: got {value!r}, expected a table with value, unit, kind, source"
            )
        elif "value" in value:
            yield ".".join(here), value
        else:
            yield from _walk(value, here)


def _entry(
    name: str, row: dict[str, Any], books: Mapping[str, Source], vintage: str, where: str
) -> Entry:
    """One row as an entry, or the sentence that says what is wrong with it."""
    unknown = sorted(set(row) - _KEYS)
    if unknown:
        raise CannotPlan(f"{where}: {name}: unknown key {unknown[0]!r}; keys are {sorted(_KEYS)}")
    missing = [key for key in ("unit", "kind", "source") if not isinstance(row.get(key), str)]
    if missing:
        raise CannotPlan(f"{where}: {name}: {missing[0]!r} is missing (a text)")
    if row["kind"] not in KINDS:
        raise CannotPlan(f"{where}: {name}: kind {row['kind']!r}, expected one of {KINDS}")
    unit(row["unit"])
    also = tuple(
        Alternative(
            float(other["value"]),
            _source(other["source"], books, vintage, where),
            other.get("note", ""),
        )
        for other in row.get("also", ())
    )
    figure = Stated(
        value=_number(row["value"], name, where),
        kind=row["kind"],
        source=_source(row["source"], books, vintage, f"{where}: {name}"),
        low=None if "low" not in row else _number(row["low"], name, where),
        high=None if "high" not in row else _number(row["high"], name, where),
        spread=row.get("spread", "factor"),
        date=str(row.get("date", vintage)),
        vintage=vintage,
        note=row.get("note", ""),
        also=also,
    )
    _check_interval(name, figure, where)
    return Entry(name, row["unit"], figure, row.get("about", ""))


def _source(key: str, books: Mapping[str, Source], vintage: str, where: str) -> Source:
    """The source of this key; in a person's own table, any text will do as a citation."""
    if key in books:
        return books[key]
    if vintage:
        raise CannotPlan(f"{where}: source {key!r} is not in the bibliography")
    return Source("own", key)


def _number(value: object, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CannotPlan(f"{where}: {name}: got {value!r}, expected a number")
    return float(value)


def _check_interval(name: str, figure: Stated, where: str) -> None:
    if (figure.low is None) != (figure.high is None):
        raise CannotPlan(f"{where}: {name}: low and high come together")
    if figure.low is None or figure.high is None:
        return
    if not figure.low <= figure.value <= figure.high:
        raise CannotPlan(
            f"{where}: {name}: expected low <= value <= high, "
            f"got {figure.low:g}, {figure.value:g}, {figure.high:g}"
        )
    if figure.spread not in ("factor", "linear"):
        raise CannotPlan(f"{where}: {name}: spread {figure.spread!r}, expected factor or linear")
    if figure.spread == "factor" and figure.low <= 0:
        raise CannotPlan(f"{where}: {name}: an interval that reaches zero needs spread = 'linear'")
