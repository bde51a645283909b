"""A log in a PostgreSQL database (through psycopg 3): one log per database schema, one writer.

Law: the writer's session holds an advisory lock, so a lost connection is a lost lock; the log then
refuses to go on until it is opened again. A pooler that shares sessions would share the lock:
connect to the server itself.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from typing import Any

import psycopg
from psycopg import errors

from archipel.ledger import formats
from archipel.ledger.storage import (
    EntryRow,
    HeadRow,
    LedgerCorrupt,
    LedgerError,
    LedgerFull,
    LedgerInUse,
    LedgerMissing,
    LedgerUnavailable,
    only_bytes,
)

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S = 60

_WRITER_LOCK = 0x41524350  # "ARCP"; with the schema's object id it names one log
_ERRORS: tuple[tuple[tuple[type[Exception], ...], type[LedgerError], str], ...] = (
    ((errors.DiskFull,), LedgerFull, "make room on the database's disk and try again"),
    ((errors.DataCorrupted, errors.IndexCorrupted), LedgerCorrupt, "restore it from a copy"),
    ((errors.InsufficientPrivilege,), LedgerUnavailable, "grant this user the right"),
    ((errors.UniqueViolation,), LedgerInUse, "another program wrote to this log"),
)


class PostgresStorage:
    """Rows of one log in the database at `url`; a writer may create its tables when missing."""

    def __init__(self, url: str, *, writable: bool, create: bool = True) -> None:
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        try:
            with _reported():
                self._connection = _connect(url, writable)
                if writable:
                    _take_writer_lock(self._connection)
                _prepare(self._connection, writable, create)
        except LedgerError:
            self.close()
            raise

    def append(self, entries: Sequence[EntryRow], head: HeadRow) -> None:
        """See `Storage.append`."""
        with _reported(), self._open().transaction(), self._open().cursor() as cursor:
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
        if self._connection is not None:
            # The server notices a closed connection when it comes to it; the next writer may be here by then.
            with suppress(psycopg.Error):
                self._connection.execute("SELECT pg_advisory_unlock_all()")
            self._connection.close()
            self._connection = None

    def abandon(self) -> None:
        """See `Storage.abandon`."""
        self.close()

    def _rows(self, query: Any, *parameters: int) -> list[tuple[Any, ...]]:
        with _reported():
            return self._open().execute(query, parameters).fetchall()

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None:
            raise LedgerUnavailable("the log is closed")
        return self._connection


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        for kinds, kind, advice in _ERRORS:
            if isinstance(error, kinds):
                raise kind(f"ledger in PostgreSQL: {_first_line(error)}; {advice}") from None
        raise LedgerUnavailable(f"ledger in PostgreSQL: {_first_line(error)}") from None


def _first_line(error: psycopg.Error) -> str:
    """What the server said; psycopg's own text never repeats the password."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _connect(url: str, writable: bool) -> psycopg.Connection[tuple[Any, ...]]:
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.ProgrammingError:  # its text may repeat a part of the password
        raise LedgerUnavailable(
            "the ledger's URL is malformed; expected postgresql://user:password@host:port/database"
        ) from None
    settings = {
        "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
        "synchronous_commit": "on",  # a commit survives a power cut
        "default_transaction_read_only": "off" if writable else "on",
    }
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    return connection


def _take_writer_lock(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    row = connection.execute(
        "SELECT pg_try_advisory_lock(%s, current_schema()::regnamespace::oid::int)",
        (_WRITER_LOCK,),
    ).fetchone()
    if row == (None,):
        raise LedgerUnavailable("the database's search_path names no schema that exists; create it")
    if row != (True,):
        raise LedgerInUse(
            "another process is writing to this log in PostgreSQL; stop it first "
            "(a log has one writer)"
        )


def _prepare(connection: psycopg.Connection[tuple[Any, ...]], writable: bool, create: bool) -> None:
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
