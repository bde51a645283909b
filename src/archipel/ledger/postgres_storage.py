"""A log in a PostgreSQL database (through psycopg 3): one log per database schema, one writer.

Law: every append reads, in its transaction, that no other writer has begun (`postgres_leading`); a writer whose session is
lost, or that another one followed, refuses to go on until the log is opened again. A pooler that shares sessions would share
the lock: connect to the server itself.
"""

from collections.abc import Sequence
from importlib import resources
from typing import Any

from archipel.ledger import formats
from archipel.ledger.postgres_leading import Leading
from archipel.ledger.postgres_session import Session, open_session, reported
from archipel.ledger.storage import (
    EntryRow,
    HeadRow,
    LeaderLost,
    LedgerError,
    LedgerMissing,
    LedgerUnavailable,
    Term,
    only_bytes,
)


class PostgresStorage:
    """Rows of one log in the database at `url`; a writer may create its tables when missing."""

    def __init__(self, url: str, *, writable: bool, create: bool = True, place: str = "") -> None:
        """place: where a writer's lab answers, told to those that wait for it to end."""
        self._connection: Session | None = None
        self._leading: Leading | None = None
        try:
            with reported():
                if writable:
                    self._leading = Leading(url, place)
                self._connection = open_session(url, writable=writable)
                _prepare(self._connection, writable, create)
                if self._leading is not None:
                    self._leading.begin(self._connection)
        except LedgerError:
            self.close()
            raise

    def append(self, entries: Sequence[EntryRow], head: HeadRow) -> None:
        """See `Storage.append`."""
        with reported(), self._open().transaction(), self._open().cursor() as cursor:
            self._check_leads()
            cursor.executemany(
                "INSERT INTO archipel_entry (position, leaf_hash, data) VALUES (%s, %s, %s)",
                [(row.position, row.leaf_hash, row.data) for row in entries],
            )
            cursor.execute(
                "INSERT INTO archipel_tree_head (size, note) VALUES (%s, %s)",
                (head.size, head.note),
            )

    def checkpoint(self) -> None:
        """See `Storage.checkpoint`: the server sees to it."""

    def entries(self, start: int, limit: int) -> list[EntryRow]:
        """See `Storage.entries`."""
        query = (
            "SELECT position, leaf_hash, data FROM archipel_entry "
            "WHERE position >= %s ORDER BY position LIMIT %s"
        )
        return [EntryRow(*row) for row in self._rows(query, start, limit)]

    def leaf_hashes(self, start: int, limit: int) -> list[bytes]:
        """See `Storage.leaf_hashes`."""
        query = (
            "SELECT leaf_hash FROM archipel_entry WHERE position >= %s ORDER BY position LIMIT %s"
        )
        return only_bytes([row[0] for row in self._rows(query, start, limit)])

    def latest_head(self) -> HeadRow | None:
        """See `Storage.latest_head`."""
        rows = self._rows("SELECT size, note FROM archipel_tree_head ORDER BY size DESC LIMIT 1")
        return HeadRow(*rows[0]) if rows else None

    def heads(self, above: int, limit: int) -> list[HeadRow]:
        """See `Storage.heads`."""
        query = "SELECT size, note FROM archipel_tree_head WHERE size > %s ORDER BY size LIMIT %s"
        return [HeadRow(*row) for row in self._rows(query, above, limit)]

    def num_entries(self) -> int:
        """See `Storage.num_entries`."""
        return int(self._rows("SELECT coalesce(max(position) + 1, 0) FROM archipel_entry")[0][0])

    def close(self) -> None:
        """See `Storage.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._leading is not None:
            self._leading.close()  # last: nothing is written any more

    def abandon(self) -> None:
        """See `Storage.abandon`."""
        self.close()

    def check_writer(self) -> None:
        """See `Storage.check_writer`."""
        with reported(), self._open().transaction():
            self._check_leads()

    @property
    def term(self) -> Term | None:
        """See `Storage.term`."""
        return None if self._leading is None else self._leading.term

    @property
    def lost(self) -> LeaderLost | None:
        """See `Storage.lost`."""
        return None if self._leading is None else self._leading.lost

    def _check_leads(self) -> None:
        if self._leading is None:
            raise LedgerUnavailable("this log was opened for reading only")
        self._leading.check(self._open())

    def _rows(self, query: Any, *parameters: int) -> list[tuple[Any, ...]]:
        with reported():
            return self._open().execute(query, parameters).fetchall()

    def _open(self) -> Session:
        if self._connection is None:
            raise LedgerUnavailable("the log is closed")
        return self._connection


def _prepare(connection: Session, writable: bool, create: bool) -> None:
    row = connection.execute("SELECT to_regclass('archipel_ledger_format')").fetchone()
    if row == (None,):
        if not (writable and create):
            raise LedgerMissing("there is no ledger in this PostgreSQL database")
        schema = resources.files("archipel.ledger").joinpath("postgres.sql").read_text()
        with connection.transaction():
            connection.execute(schema.encode())
    found = connection.execute("SELECT version FROM archipel_ledger_format").fetchone()
    version = found[0] if found else 0
    steps = formats.steps_from(version, formats.POSTGRES_STEPS, writable=writable)
    for number, script in steps:
        with connection.transaction():
            connection.execute(script.encode())
            connection.execute("UPDATE archipel_ledger_format SET version = %s", (number,))
