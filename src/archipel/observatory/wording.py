"""Figures as words: values in their units, a measure for a terminal, a comparison, a difference.

Law: an unknown figure is the word "unknown", with what is lacking beside it.
"""

from collections.abc import Sequence
from typing import Final

from archipel.observatory.checking import RULE, Checked, summary
from archipel.observatory.differing import Difference
from archipel.observatory.measures.measure import Definition, Line, Measure
from archipel.observatory.rows import UNKNOWN
from archipel.observatory.snapshot import Snapshot
from archipel.planning.layout import indented, inside, lined_up, wrapped

MAX_LINES: Final = 20
"""Of one measure on a terminal; all are in the data."""
MAX_ROWS_NAMED: Final = 3


def value_text(value: float | None, unit: str) -> str:
    """`61.4%`, `16.3 months`, `1.15 G`, or unknown."""
    if value is None:
        return UNKNOWN
    if unit == "share":
        return f"{value:.1%}"
    if unit == "months":
        return f"{value:.1f}"
    if unit in ("ratio", "hhi"):
        return f"{value:.3g}"
    return f"{value:,.0f}"


def measure_text(measure: Measure, width: int | None = None, *, is_full: bool = True) -> list[str]:
    """A measure as lines; full: with definition, parts, flaws and rows."""
    definition = measure.definition
    head = f"{definition.id}  {definition.title}: {value_text(measure.value, definition.unit)}"
    said = [head, *indented(wrapped(measure.says, inside(width)))]
    if not is_full:
        return said
    asked = ", ".join(f"{name} {value}" for name, value in measure.asked if value)
    said += indented(wrapped(definition.words, inside(width)))
    said += indented([f"asked: {asked}"]) if asked else []
    said += indented(lined_up(("", definition.unit, "", "rows"), _parts(measure), inside(width)))
    said += [
        line
        for each in measure.left_out
        for line in indented(wrapped(f"left out: {each}", inside(width)))
    ]
    for flaw in definition.flaws:
        said += wrapped(flaw, width, "  flaw: ", "        ")
    said.append(f"  snapshot {measure.snapshot} of {measure.day}, {len(measure.rows)} rows")
    return said


def _parts(measure: Measure) -> list[tuple[str, ...]]:
    unit = measure.definition.unit
    rows: list[tuple[str, ...]] = [
        (each.label, value_text(each.value, unit), each.note, rows_text(each))
        for each in measure.lines[:MAX_LINES]
    ]
    if more := len(measure.lines) - MAX_LINES:
        rows += [(f"and {more} more", "", "--json has all", "")] if more > 0 else []
    return rows


def rows_text(line: Line) -> str:
    """The first few rows of a part."""
    named = ", ".join(line.rows[:MAX_ROWS_NAMED])
    more = len(line.rows) - MAX_ROWS_NAMED
    return f"{named} and {more} more" if more > 0 else named


def checked_text(found: Sequence[Checked], width: int | None = None) -> str:
    """The comparison for a terminal."""
    rows = [
        (
            each.published.name,
            value_text(each.published.value, each.published.unit),
            value_text(each.computed, each.published.unit),
            "" if each.apart is None else f"{each.apart:+.1%}",
            each.verdict,
            each.published.hand,
            each.why,
        )
        for each in found
    ]
    columns = ("figure", "published", "ours", "apart", "", "hand", "why")
    return "\n".join(
        [
            *wrapped(f"{len(found)} published figures: {summary(tuple(found))}", width),
            *wrapped(RULE, width),
            "",
            *lined_up(columns, rows, width),
        ]
    )


def listed_text(snapshot: Snapshot, where: str) -> list[str]:
    """What a snapshot holds."""
    manifest = snapshot.manifest
    tables = [(name, str(len(rows))) for name, rows in snapshot.tables.items() if rows]
    said = [f"{manifest.name} of {manifest.day}  {where}", f"  {snapshot.digest}"]
    said += indented(lined_up(("table", "rows"), tables))
    sources = [
        (each.id, each.hand, each.retrieved, each.licence, each.title) for each in manifest.sources
    ]
    return said + indented(lined_up(("source", "hand", "read", "licence", ""), sources))


def defined_text(known: Sequence[Definition], width: int | None = None) -> list[str]:
    """Every measure: its id, what it is, how it is computed, what it may be asked."""
    said: list[str] = []
    for each in known:
        options = " ".join(f"--{name}" for name in each.asks)
        said += [
            f"{each.id}  {each.title} ({each.unit})",
            *indented(wrapped(each.words, inside(width))),
        ]
        said += indented([f"options: {options}"]) if options else []
    return said


def difference_text(found: Difference, width: int | None = None) -> str:
    """What changed between two snapshots."""
    tables = [
        (each.table, str(len(each.added)), str(len(each.removed)), str(len(each.changed)))
        for each in found.tables
    ]
    figures = [
        (
            each.name,
            value_text(each.before, each.unit),
            value_text(each.after, each.unit),
            each.says,
        )
        for each in found.figures
        if each.before != each.after
    ]
    said = [f"{found.before_day} -> {found.after_day}", ""]
    said += lined_up(("table", "added", "removed", "changed"), tables, width)
    said += ["", *lined_up(("measure", "before", "after", ""), figures, width)]
    return "\n".join(said if figures else [*said[:-1], "no figure changed"])
