"""Lists of constants: what the tables know under a name, in every vintage, with its source."""

from typing import Any

from archipel.planning.entries import Entry
from archipel.planning.layout import indented, inside, lined_up, wrapped
from archipel.planning.mistakes import nearest
from archipel.planning.tables import Shelf
from archipel.planning.wording import range_text

MOST_LINES = 400


def constants(of: Shelf, prefix: str) -> list[dict[str, Any]]:
    """Every vintage of every constant whose name is or begins with `prefix`, or contains it.

    Raises:
        UnknownName: none does; names the nearest.
    """
    begins = [name for name in of.entries if name == prefix or name.startswith(f"{prefix}.")]
    names = begins or [name for name in of.entries if prefix in name]
    if not names:
        raise nearest(prefix, {*of.entries, *groups(of)}, "constant or group")
    return [_row(entry) for name in sorted(names) for entry in of.vintages(name)]


def groups(of: Shelf) -> dict[str, int]:
    """The first words of the constants' names, and how many constants each holds."""
    counted: dict[str, int] = {}
    for name in of.entries:
        first = name.partition(".")[0]
        counted[first] = counted.get(first, 0) + 1
    return counted


def groups_text(of: Shelf, width: int | None = None) -> str:
    """What can be listed. width: of a line."""
    rows = [(name, str(count)) for name, count in sorted(groups(of).items())]
    body = indented(lined_up(("group", "constants"), rows, inside(width)))
    how = "archipel plan constants GROUP lists one, with every vintage and its source"
    return "\n".join([*body, "", *wrapped(how, width)])


def constants_text(rows: list[dict[str, Any]], width: int | None = None) -> str:
    """The list for a terminal. width: of a line."""
    shown = [
        (row["name"], row["vintage"], range_text(row), row["kind"], row["source"])
        for row in rows[:MOST_LINES]
    ]
    lines = lined_up(("constant", "vintage", "value", "grade", "source"), shown, width)
    more = [f"... and {len(rows) - MOST_LINES} more"] if len(rows) > MOST_LINES else []
    return "\n".join([*lines, *more])


def _row(entry: Entry) -> dict[str, Any]:
    figure = entry.figure
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    source = figure.source
    second = "" if source.read == "primary" else f" [{source.read}]"
    return {
        "name": entry.name,
        "value": figure.value,
        "low": low,
        "high": high,
        "unit": "" if entry.unit == "1" else entry.unit,
        "kind": figure.kind,
        "vintage": figure.vintage or "yours",
        "about": entry.about,
        "source": f"{source.key}{second}",
        "title": source.title,
        "url": source.url,
        "note": figure.note,
    }
