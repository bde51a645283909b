"""Two snapshots side by side: rows that came, went and changed, and what that did to every figure.

Law: rows are compared by table and id, whole; a figure that one of them cannot give is unknown there.
"""

from dataclasses import asdict, dataclass
from typing import Any

from archipel.observatory.headlines import headlines
from archipel.observatory.snapshot import Snapshot


@dataclass(frozen=True)
class TableDifference:
    """Ids of one table."""

    table: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True)
class FigureDifference:
    """One measure, before and after."""

    name: str
    unit: str
    before: float | None
    after: float | None
    says: str
    """After."""


@dataclass(frozen=True)
class Difference:
    """Of two snapshots."""

    before: str
    after: str
    """Digests."""
    before_day: str
    after_day: str
    tables: tuple[TableDifference, ...]
    figures: tuple[FigureDifference, ...]

    def data(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def difference(before: Snapshot, after: Snapshot) -> Difference:
    """What changed from one to the other."""
    tables = (_table(name, before, after) for name in before.tables)
    return Difference(
        before.digest,
        after.digest,
        before.manifest.day,
        after.manifest.day,
        tuple(each for each in tables if each.added or each.removed or each.changed),
        _figures(before, after),
    )


def _table(name: str, before: Snapshot, after: Snapshot) -> TableDifference:
    old = {row.id: row for row in before.tables[name]}
    new = {row.id: row for row in after.tables[name]}
    return TableDifference(
        name,
        tuple(each for each in new if each not in old),
        tuple(each for each in old if each not in new),
        tuple(each for each in new if each in old and new[each] != old[each]),
    )


def _figures(before: Snapshot, after: Snapshot) -> tuple[FigureDifference, ...]:
    old, new = headlines(before), headlines(after)
    found = []
    for name in dict.fromkeys((*old, *new)):
        first, last = old.get(name), new.get(name)
        shown = last or first
        if shown is None:
            continue
        found.append(
            FigureDifference(
                name,
                shown.definition.unit,
                None if first is None else first.value,
                None if last is None else last.value,
                "" if last is None else last.says,
            )
        )
    return tuple(found)
