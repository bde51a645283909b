"""What a measure is: a definition with a number, what was asked of it, and a figure that names its rows.

Laws: a measure is a pure function of a snapshot and of what is asked; a figure that a snapshot does not hold is None,
with a sentence about what is lacking, never a guess; the known flaws of a way of counting stand in its definition.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from archipel.observatory.measures.sizes import size_class
from archipel.observatory.rows import UNKNOWN, ModelRow, Row
from archipel.observatory.snapshot import Snapshot
from archipel.plurals import counted

SEVERAL: Final = "several"
"""Country of a model whose makers have their seats in more than one."""
DAYS_PER_MONTH: Final = 30.4375
"""A year of 365.25 days, over twelve."""


class CannotAsk(ValueError):
    """What was asked of a measure does not exist in this snapshot, or not at all; says what does."""


@dataclass(frozen=True)
class Definition:
    """One way of measuring; another way has another number after the stroke, and the old one stays."""

    id: str
    title: str
    words: str
    """How it is computed, completely."""
    unit: str
    """`share`, `months`, `models`, `labs`, `downloads`, `ratio`, `hhi`."""
    asks: tuple[str, ...]
    """Which fields of `Asked` it reads."""
    flaws: tuple[str, ...]
    """What is known to be wrong with what it counts."""


@dataclass(frozen=True)
class Asked:
    """What a measure may be asked; empty: the measure's own choice."""

    by: str = "country"
    """`country`, `organisation`, `access`, `size` or `openness`."""
    metric: str = "downloads_all"
    leaderboard: str = ""
    benchmark: str = ""
    model: str = ""
    country: str = "US"
    scheme: str = "mof"
    top: int = 15
    age: int = 30
    """Days."""


@dataclass(frozen=True)
class Line:
    """A part of a figure: a country's share, one model's lag."""

    label: str
    value: float | None
    note: str = ""
    rows: tuple[str, ...] = ()
    """`table:id` of every row that it comes from."""


@dataclass(frozen=True)
class Measure:
    """A figure, and all that it takes to compute it again."""

    definition: Definition
    snapshot: str
    """Digest."""
    day: str
    asked: tuple[tuple[str, str], ...]
    value: float | None
    """None: unknown."""
    says: str
    """The figure in words; of an unknown one, what is lacking."""
    lines: tuple[Line, ...] = ()
    rows: tuple[str, ...] = ()
    """All rows, those of the lines too."""
    left_out: tuple[str, ...] = ()
    """What was not counted because it is unknown, with how much it is."""

    def data(self) -> dict[str, Any]:
        """For machines."""
        return {
            "measure": self.definition.id,
            "title": self.definition.title,
            "definition": self.definition.words,
            "unit": self.definition.unit,
            "flaws": list(self.definition.flaws),
            "snapshot": self.snapshot,
            "day": self.day,
            "asked": dict(self.asked),
            "value": UNKNOWN if self.value is None else self.value,
            "says": self.says,
            "lines": [
                {
                    "label": each.label,
                    "value": UNKNOWN if each.value is None else each.value,
                    "note": each.note,
                    "rows": list(each.rows),
                }
                for each in self.lines
            ],
            "rows": list(self.rows),
            "left_out": list(self.left_out),
        }

    def line(self, label: str) -> Line | None:
        """The part of this name."""
        return next((each for each in self.lines if each.label == label), None)


@dataclass(frozen=True)
class Found:
    """What a measure's own file computes; `finish` makes a `Measure` of it."""

    value: float | None
    says: str
    lines: tuple[Line, ...] = ()
    rows: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def lacking(says: str) -> Found:
    """An unknown figure: what the snapshot lacks."""
    return Found(None, says)


def finish(definition: Definition, snapshot: Snapshot, asked: Asked, found: Found) -> Measure:
    """The figure with its definition, snapshot and rows."""
    rows = {row: None for line in found.lines for row in line.rows}
    rows |= dict.fromkeys(found.rows)
    return Measure(
        definition=definition,
        snapshot=snapshot.digest,
        day=snapshot.manifest.day,
        asked=tuple((name, str(getattr(asked, name))) for name in definition.asks),
        value=found.value,
        says=found.says,
        lines=found.lines,
        rows=tuple(rows),
        left_out=found.left_out,
    )


def named(table: str, *rows: Row) -> tuple[str, ...]:
    """`table:id` of each."""
    return tuple(f"{table}:{row.id}" for row in rows)


def country_of(snapshot: Snapshot, model: ModelRow) -> str:
    """Of its makers; `several` where they differ, `unknown` where one is."""
    found = {snapshot.organisations[each].country for each in model.organisations}
    if not found or UNKNOWN in found:
        return UNKNOWN
    return found.pop() if len(found) == 1 else SEVERAL


def maker_of(snapshot: Snapshot, model: ModelRow) -> str:
    """Its makers' names, joined."""
    names = [snapshot.organisations[each].name for each in model.organisations]
    return " + ".join(names) or UNKNOWN


def grades(snapshot: Snapshot, scheme: str) -> dict[str, tuple[str, str]]:
    """Model -> its newest grade by a scheme, and the row."""
    found: dict[str, tuple[str, str]] = {}
    for row in sorted(snapshot.openness, key=lambda row: (row.at, row.id)):
        if row.scheme == scheme:
            found[row.model] = (row.grade, f"openness:{row.id}")
    return found


def group_of(snapshot: Snapshot, model: ModelRow, asked: Asked) -> str:
    """Which group a model belongs to.

    Raises:
        CannotAsk: there is no such grouping.
    """
    if asked.by == "country":
        return country_of(snapshot, model)
    if asked.by == "organisation":
        return maker_of(snapshot, model)
    if asked.by == "access":
        return model.access
    if asked.by == "size":
        return size_class(model.params) or (
            "below 1B" if isinstance(model.params, int) else UNKNOWN
        )
    if asked.by == "openness":
        return grades(snapshot, asked.scheme).get(model.id, (UNKNOWN, ""))[0]
    raise CannotAsk(
        f"--by {asked.by!r:.40}: expected country, organisation, access, size or openness"
    )


def one_of(word: str, known: Iterable[str], what: str) -> str:
    """`word`, or the only one there is, or the first in order if nothing was asked.

    Raises:
        CannotAsk: this snapshot has no such word.
    """
    there = sorted(set(known))
    if word and word not in there:
        raise CannotAsk(
            f"no {what} {word!r:.60} in this snapshot; there are {', '.join(there)[:300]}"
        )
    return word or (there[0] if there else "")


def shares(parts: dict[str, list[tuple[float, tuple[str, ...]]]]) -> tuple[Line, ...]:
    """Group -> its amounts with their rows; lines of shares of the whole, largest first, unknown last."""
    whole = sum(amount for members in parts.values() for amount, _ in members)
    lines = [
        Line(
            label,
            sum(amount for amount, _ in members) / whole if whole else None,
            counted(len(members), "model"),
            tuple(row for _, rows in members for row in rows),
        )
        for label, members in parts.items()
    ]
    return tuple(
        sorted(lines, key=lambda line: (line.label == UNKNOWN, -(line.value or 0.0), line.label))
    )
