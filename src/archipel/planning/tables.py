"""The shelf of constants: dated tables in the package, then the person's own table, then `--set`.

A file `topic@YYYY-MM.toml` holds what was true at its vintage and is never merged with another vintage:
the shelf answers with the newest figure not later than the date asked for, and can show the older ones.
Sources are keys into `bibliography/*.toml`. Law: a figure without unit, kind and known source is refused.
"""

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from archipel.planning.compiled import folder
from archipel.planning.entries import (
    Entry,
    check_range,
    entry,
    fill_like,
    rows,
    stated_as_printed,
)
from archipel.planning.mistakes import CannotPlan, nearest
from archipel.planning.quantity import Quantity, Source, Stated, stated
from archipel.planning.units import compatible, factor, unit

MAX_TABLE_BYTES = 1024 * 1024
"""A person's own table: some thousand constants."""
MAX_OVERRIDES = 500
"""Constants that `--set` may replace at once."""
OWN = "your table"
_DATE = re.compile(r"[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?")
_FILE = re.compile(r"[a-z0-9-]+@\d{4}-\d{2}")
_Written = tuple[dict[str, Any], str, str]
"""A row as it is written, its topic and its vintage."""


class Entries(Mapping[str, tuple[Entry, ...]]):
    """Every vintage of each constant, oldest first; a row of the package is read when it is asked for."""

    def __init__(
        self, written: Mapping[str, Sequence[_Written]], read: Mapping[str, tuple[Entry, ...]]
    ) -> None:
        """Over rows as they are written, and such as were read already."""
        self._written, self._read = written, dict(read)

    def __getitem__(self, name: str) -> tuple[Entry, ...]:
        if name not in self._read:
            rows = self._written[name]
            self._read[name] = tuple(
                entry(name, row, bibliography(), vintage, f"{topic}@{vintage}.toml")
                for row, topic, vintage in rows
            )
        return self._read[name]

    def __setitem__(self, name: str, vintages: tuple[Entry, ...]) -> None:
        self._read[name] = vintages

    def __contains__(self, name: object) -> bool:
        return name in self._written or name in self._read

    def __iter__(self) -> Iterator[str]:
        yield from self._written
        yield from (name for name in self._read if name not in self._written)

    def __len__(self) -> int:
        return len(self._written.keys() | self._read.keys())

    def newest(self) -> str:
        """The newest vintage of the package's tables."""
        return max(vintage for rows in self._written.values() for _, _, vintage in rows)

    def copy(self) -> "Entries":
        """The same, to be changed."""
        return Entries(self._written, self._read)


@dataclass
class Shelf:
    """Constants by name, as of a date; each is one `Quantity` object, whoever asks."""

    as_of: str = ""
    """YYYY-MM or longer; empty for the newest."""
    entries: Entries = field(default_factory=lambda: Entries({}, {}))
    """Every vintage of each constant, oldest first, the person's own last."""
    facts: dict[str, str] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    """Names that the package does not have."""
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
        return list(_groups(self.own).get(group, ()))

    def choose(self, group: str, word: str, what: str) -> str:
        """The member of `group` that `word` means: its name, title or alias, whatever the case.

        A size may stand behind a colon: `m4-max:64` is `m4-max-64`.

        Raises:
            UnknownName: none, with the nearest that exist.
        """
        word = word.replace(":", "-")
        known = self.members(group)
        folded = {name.casefold(): name for name in known}
        for fact, name in _titles(self.own):
            if name in known:
                folded.setdefault(self.facts[fact].casefold(), name)
        spelled = self.facts.get(f"alias.{word.casefold()}", word).casefold()
        if word.casefold() in folded or spelled not in folded:
            spelled = word.casefold()
        if spelled not in folded:
            raise nearest(word, known, what)
        return folded[spelled]

    def put(self, later: Entry) -> None:
        """Add a later word on a constant; it must be of the same kind as the one it overrides.

        Raises:
            CannotPlan: another kind of unit, a sign or share that cannot be, a group's name.
        """
        name = later.name
        before = self.entries.get(name, ())
        if not before and (any(other.startswith(f"{name}.") for other in self.entries)):
            raise CannotPlan(
                f"{name} is a group of constants; set one of them, such as {self._one(name)}"
            )
        each = f"({later.unit})/accelerator"  # people say USD/h of one
        if before and later.unit not in ("", "1") and compatible(unit(before[-1].unit), unit(each)):
            same = factor(unit(each), unit(before[-1].unit)) == 1.0
            later = replace(later, unit=before[-1].unit if same else each)
        if before and not compatible(unit(before[-1].unit), unit(later.unit)):
            raise CannotPlan(
                f"{name}: got {later.unit!r}, expected a unit like {before[-1].unit!r}"
            )
        if before:
            check_range(later, before[0])
        else:
            self.own += (name,)
        self.entries[name] = (*before, later)
        self._made.pop(name, None)

    def _one(self, group: str) -> str:
        return next(other for other in self.entries if other.startswith(f"{group}."))

    def override(self, text: str) -> None:
        """Apply `NAME=AMOUNT` from the command line.

        Raises:
            CannotPlan: not of that form, an unknown name, or another kind of amount.
        """
        name, sign, written = (part.strip() for part in text.partition("="))
        if not sign:
            raise CannotPlan(
                f"--set: got {text!r}, expected NAME=AMOUNT, e.g. power.pue.colocation=1.1"
            )
        old = self.entry(name)
        source = Source("you", f"given by you (--set {name})")
        figure = stated_as_printed(written, old.unit, f"--set {name}", source)
        self.put(Entry(name, old.unit, figure, old.about))

    def _in_time(self, entry: Entry) -> bool:
        return not self.ahead(entry.figure)


@functools.lru_cache(maxsize=4)
def _groups(own: tuple[str, ...]) -> dict[str, dict[str, None]]:
    """Group -> the names one level below it, in their order: the package's, then `own`."""
    entries, facts = _packaged()
    found: dict[str, dict[str, None]] = {}
    for name in (*entries, *facts, *own):
        group, _, rest = name.partition(".")
        while rest:
            member, _, below = rest.partition(".")
            found.setdefault(group, {})[member] = None
            group, rest = f"{group}.{member}", below
    return found


@functools.lru_cache(maxsize=4)
def _titles(own: tuple[str, ...]) -> list[tuple[str, str]]:
    """The facts that title something, each with its name."""
    facts = dict.fromkeys((*_packaged()[1], *own))
    return [(fact, fact.split(".")[-2]) for fact in facts if fact.endswith(".title")]


def shelf(as_of: str = "", own: Mapping[str, Any] | None = None, where: str = OWN) -> Shelf:
    """The package's tables, as of a date, with a person's own table on top.

    Raises:
        CannotPlan: the date or the own table is not of the form described in its message.
    """
    if as_of and not (_DATE.fullmatch(as_of) and _is_day(as_of)):
        raise CannotPlan(f"--as-of: got {as_of[:40]!r}, expected a date such as 2025-03")
    entries, facts = _packaged()
    made = Shelf(as_of, entries.copy(), dict(facts))
    for name, found in rows(own or {}, where):
        if isinstance(found, str):
            made.facts[name] = found
            made.own += (name,)
        else:
            made.put(entry(name, found, bibliography(), "", where))
    return made


def _is_day(text: str) -> bool:
    """Whether a calendar has it; a year or a month stands for its first day."""
    try:
        return bool(date.fromisoformat(text + "-01-01"[len(text) - 4 :]))
    except ValueError:
        return False


def read_own(text: str, where: str) -> dict[str, Any]:
    """A person's own table, from TOML text, checked as a whole.

    Raises:
        CannotPlan: too large, not TOML, or an entry that is not a constant.
    """
    if len(text) > MAX_TABLE_BYTES:
        raise CannotPlan(f"{where}: {len(text)} bytes, expected at most {MAX_TABLE_BYTES}")
    try:
        table = tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise CannotPlan(f"{where}: not TOML: {error!s:.200}") from None
    shelf(own=table, where=where)
    return table


@functools.cache
def bibliography() -> dict[str, Source]:
    """Every source that the package's tables cite."""
    found: dict[str, Source] = {}
    for books in folder("bibliography").values():
        for key, row in books.items():
            if key in found:
                raise CannotPlan(f"bibliography: {key} is described twice")
            found[key] = Source(key, **row)
    return found


@functools.cache
def _packaged() -> tuple[Entries, dict[str, str]]:
    """Every constant of the package, oldest vintage first, and the facts beside them."""
    written: dict[str, list[_Written]] = {}
    facts: dict[str, str] = {}
    for file, table in sorted(folder("tables").items(), key=lambda item: item[0].partition("@")[2]):
        topic, _, vintage = file.partition("@")
        if not _FILE.fullmatch(file):
            raise CannotPlan(f"table {file}: expected a name such as rental@2025-03.toml")
        for name, row in rows(table, f"{file}.toml"):
            if isinstance(row, str):
                facts[name] = row
            else:
                written.setdefault(name, []).append((row, topic, vintage))
    fill_like(written, facts)
    return Entries(written, {}), facts
