"""A new snapshot of what was taken in, alone or added to an older one, which stays as it was."""

from dataclasses import dataclass

from archipel.observatory.importers.taking import Refused, Taking
from archipel.observatory.manifest import InvalidSnapshot
from archipel.observatory.rows import TABLES, Row
from archipel.observatory.snapshot import About, Snapshot, make


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a source, for people and programmes."""

    counted: dict[str, int]
    rows: dict[str, int]
    """Taken in, by table."""
    num_refused: int
    refused: tuple[Refused, ...]
    unused: tuple[str, ...]


def told(taking: Taking) -> Told:
    """What came of it."""
    return Told(
        counted=dict(taking.counted),
        rows={name: len(rows) for name, rows in taking.tables.items() if rows},
        num_refused=taking.num_refused,
        refused=tuple(taking.refused),
        unused=taking.unused,
    )


def added(
    taking: Taking,
    about: About,
    said: tuple[tuple[str, str, str], ...] = (),
) -> Snapshot:
    """The snapshot. about: its name, day and hour. said: aliases to keep beside the rows.

    Raises:
        InvalidSnapshot: the source's id is taken by other facts, or rows do not fit each other.
    """
    onto = taking.names.onto
    if onto is not None and taking.source.id in onto.sources:
        raise InvalidSnapshot(
            f"the snapshot has a source {taking.source.id!r:.80} already; name this one by --source-id"
        )
    for number, (kind, name, own) in enumerate(said, 1):
        if kind == "model":
            row_id = f"{taking.source.id}:alias:{number}"
            values = {"id": row_id, "model": own, "name": name, "used_by": taking.source.id}
            taking.row("aliases", f"aliases, line {number + 1}", values)
    tables: dict[str, list[Row]] = {
        name: [*(onto.tables[name] if onto is not None else ()), *taking.tables[name].values()]
        for name in TABLES
    }
    sources = (*(onto.manifest.sources if onto is not None else ()), taking.source)
    made_from = (onto.digest,) if onto is not None else ()
    whole = About(about.name, about.day, about.made_at_ms, sources, made_from)
    return make(whole, tables)
