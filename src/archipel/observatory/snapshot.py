"""A snapshot: dated facts about open models in tables, whose rows fit each other.

Parts: `Snapshot` (tables, and views of them by type), `make` (a new one from rows). On the disk it is a folder
(`folder`), whose manifest's SHA-256 is the snapshot's digest. Law: every row's source, model and organisation has a
row of its own; ids are said once; nothing here reads or writes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, cast

from pydantic import ValidationError

from archipel.observatory.manifest import (
    MAX_ROWS,
    InvalidSnapshot,
    Manifest,
    Source,
    TableEntry,
    file_of,
    first_fault,
    listed,
)
from archipel.observatory.rows import (
    TABLES,
    AliasRow,
    CountRow,
    DisclosureRow,
    ModelRow,
    OpennessRow,
    OrganisationRow,
    Row,
    ScoreRow,
    ShareRow,
    StandingRow,
    WithdrawalRow,
)
from archipel.records.canonical import canonical_json, sha256_digest

MAX_LINE_BYTES = 16 * 1024
"""Of one row."""

AnyRow = TypeVar("AnyRow", bound=Row)


@dataclass(frozen=True)
class Snapshot:
    """A snapshot in memory: checked, whichever way it came here."""

    manifest: Manifest
    tables: Mapping[str, tuple[Row, ...]]
    """Every table of `TABLES`, ascending ids."""

    @cached_property
    def digest(self) -> str:
        """Of the manifest, and so of all."""
        return sha256_digest(self.manifest.to_bytes())

    @cached_property
    def models(self) -> dict[str, ModelRow]:
        """By id."""
        return {each.id: each for each in self._rows("models", ModelRow)}

    @cached_property
    def organisations(self) -> dict[str, OrganisationRow]:
        """By id."""
        return {each.id: each for each in self._rows("organisations", OrganisationRow)}

    @cached_property
    def sources(self) -> dict[str, Source]:
        """By id."""
        return {each.id: each for each in self.manifest.sources}

    @property
    def aliases(self) -> tuple[AliasRow, ...]:
        """Names of models in sources."""
        return self._rows("aliases", AliasRow)

    @property
    def counts(self) -> tuple[CountRow, ...]:
        """Downloads, likes, derivatives."""
        return self._rows("counts", CountRow)

    @property
    def standings(self) -> tuple[StandingRow, ...]:
        """Places on leaderboards."""
        return self._rows("standings", StandingRow)

    @property
    def scores(self) -> tuple[ScoreRow, ...]:
        """Of benchmarks."""
        return self._rows("scores", ScoreRow)

    @property
    def openness(self) -> tuple[OpennessRow, ...]:
        """Grades by schemes."""
        return self._rows("openness", OpennessRow)

    @property
    def disclosures(self) -> tuple[DisclosureRow, ...]:
        """What makers say of data and method."""
        return self._rows("disclosures", DisclosureRow)

    @property
    def withdrawals(self) -> tuple[WithdrawalRow, ...]:
        """Openness taken back."""
        return self._rows("withdrawals", WithdrawalRow)

    @property
    def shares(self) -> tuple[ShareRow, ...]:
        """Published totals."""
        return self._rows("shares", ShareRow)

    def _rows(self, table: str, kind: type[AnyRow]) -> tuple[AnyRow, ...]:
        return cast("tuple[AnyRow, ...]", self.tables[table])


@dataclass(frozen=True)
class About:
    """What a new snapshot says of itself."""

    name: str
    day: str
    made_at_ms: int
    sources: tuple[Source, ...]
    made_from: tuple[str, ...] = ()


def make(about: About, tables: Mapping[str, Iterable[Row]]) -> Snapshot:
    """A snapshot of these rows, in whatever order they come.

    Raises:
        InvalidSnapshot: an unknown table, two rows of one id, a row whose source, model or organisation is missing,
            more rows than a table holds, or a name or day of another form.
    """
    if strange := sorted(set(tables) - set(TABLES)):
        raise InvalidSnapshot(f"no table is called {strange[0]!r:.40}; there are {listed(TABLES)}")
    whole = {
        name: tuple(sorted(tables.get(name, ()), key=lambda row: row.id.encode()))
        for name in TABLES
    }
    try:
        manifest = Manifest(
            name=about.name,
            day=about.day,
            made_at_ms=about.made_at_ms,
            made_from=about.made_from,
            sources=tuple(sorted(about.sources, key=lambda source: source.id)),
            tables={name: _entry(name, rows) for name, rows in whole.items() if rows},
        )
    except ValidationError as error:
        raise InvalidSnapshot(f"snapshot {about.name!r:.80}: {first_fault(error)}") from None
    return checked(Snapshot(manifest, whole))


def checked(snapshot: Snapshot) -> Snapshot:
    """It, if its rows fit each other.

    Raises:
        InvalidSnapshot: they do not.
    """
    sources = snapshot.sources
    for name, rows in snapshot.tables.items():
        before: Row | None = None
        for row in rows:
            if before is not None and before.id == row.id:
                raise InvalidSnapshot(f"{name}: two rows have the id {row.id!r:.80}")
            if row.source not in sources:
                raise InvalidSnapshot(f"{name}, {row.id:.80}: no source {row.source!r:.80}")
            before = row
    for name, row_id, known, wanted in _references(snapshot):
        if wanted not in known:
            raise InvalidSnapshot(
                f"{name}, {row_id:.80}: {wanted!r:.80} has no row of its own; add one, "
                'with "unknown" where nothing is known'
            )
    return snapshot


def _references(
    snapshot: Snapshot,
) -> Iterator[tuple[str, str, Mapping[str, object], str]]:
    """Table, row, where to look, and which id must be there."""
    models, makers = snapshot.models, snapshot.organisations
    for model in models.values():
        for maker in model.organisations:
            yield "models", model.id, makers, maker
    for name in ("aliases", "counts", "standings", "scores", "openness", "disclosures"):
        for row in cast("tuple[CountRow, ...]", snapshot.tables[name]):
            yield name, row.id, models, row.model
    either = {**models, **makers}
    for each in snapshot.withdrawals:
        yield "withdrawals", each.id, either, each.subject
    for alias in snapshot.aliases:
        yield "aliases", alias.id, snapshot.sources, alias.used_by


def _entry(name: str, rows: tuple[Row, ...]) -> TableEntry:
    if len(rows) > MAX_ROWS:
        raise InvalidSnapshot(f"{name}: {len(rows)} rows; at most {MAX_ROWS}")
    return TableEntry(
        file=file_of(name), sha256=sha256_digest(b"".join(lines_of(rows))), rows=len(rows)
    )


def lines_of(rows: tuple[Row, ...]) -> Iterator[bytes]:
    """Of a table's file.

    Raises:
        InvalidSnapshot: a row is longer than a line may be.
    """
    for row in rows:
        line = canonical_json(row.model_dump(mode="json"))
        if len(line) > MAX_LINE_BYTES:
            raise InvalidSnapshot(
                f"row {row.id:.80} has {len(line)} bytes; at most {MAX_LINE_BYTES}"
            )
        yield line + b"\n"
