"""A log in one SQLite file: write-ahead log, full synchronisation, one writer.

Law: readers never block the writer. The writer holds an advisory lock on `<file>.lock`, which the
operating system lets go when the process dies, however it dies.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from archipel.ledger.storage import (
    EntryRow,
    HeadRow,
    LedgerCorrupt,
    LedgerError,
    LedgerFull,
    LedgerInUse,
    LedgerUnavailable,
)

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
"""How long to wait for a reader's checkpoint or a backup before reporting."""

_APPLICATION_ID = 0x41524350
_ERRORS: dict[int, tuple[type[LedgerError], str]] = {
    sqlite3.SQLITE_FULL: (LedgerFull, "make room on the disk and try again"),
    sqlite3.SQLITE_BUSY: (LedgerUnavailable, "another program holds the file; try again"),
    sqlite3.SQLITE_LOCKED: (LedgerUnavailable, "another program holds the file; try again"),
    sqlite3.SQLITE_CORRUPT: (LedgerCorrupt, "restore it from a copy"),
    sqlite3.SQLITE_NOTADB: (LedgerCorrupt, "this file is no SQLite database"),
    sqlite3.SQLITE_READONLY: (LedgerUnavailable, "make the file and its folder writable"),
    sqlite3.SQLITE_CANTOPEN: (LedgerUnavailable, "check that the folder exists and is writable"),
}


class SqliteStorage:
    """Rows of one log in the file at `path`; `writable` creates it when missing."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self._path = path
        self._lock_descriptor = _take_writer_lock(path) if writable else None
        self._connection: sqlite3.Connection | None = None
        try:
            with self._reported():
                self._connection = _connect(path, writable)
                _prepare(self._connection, path, writable)
        except LedgerError:
            self.close()
            raise

    def append(self, entries: Sequence[EntryRow], head: HeadRow) -> None:
        """See `Storage.append`."""
        with self._reported():
            connection = self._open()
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    "INSERT INTO entry (position, leaf_hash, data) VALUES (?, ?, ?)",
                    ((row.position, row.leaf_hash, row.data) for row in entries),
                )
                connection.execute(
                    "INSERT INTO tree_head (size, note) VALUES (?, ?)", (head.size, head.note)
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def entries(self, start: int, limit: int) -> list[EntryRow]:
        """See `Storage.entries`."""
        query = "SELECT position, leaf_hash, data FROM entry WHERE position >= ? ORDER BY position LIMIT ?"
        return [EntryRow(*row) for row in self._rows(query, start, limit)]

    def leaf_hashes(self, start: int, limit: int) -> list[bytes]:
        """See `Storage.leaf_hashes`."""
        query = "SELECT leaf_hash FROM entry WHERE position >= ? ORDER BY position LIMIT ?"
        return [row[0] for row in self._rows(query, start, limit)]

    def latest_head(self) -> HeadRow | None:
        """See `Storage.latest_head`."""
        rows = self._rows("SELECT size, note FROM tree_head ORDER BY size DESC LIMIT 1")
        return HeadRow(*rows[0]) if rows else None

    def heads(self, above: int, limit: int) -> list[HeadRow]:
        """See `Storage.heads`."""
        query = "SELECT size, note FROM tree_head WHERE size > ? ORDER BY size LIMIT ?"
        return [HeadRow(*row) for row in self._rows(query, above, limit)]

    def num_entries(self) -> int:
        """See `Storage.num_entries`."""
        return int(self._rows("SELECT count(*) FROM entry")[0][0])

    def close(self) -> None:
        """See `Storage.close`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    def _rows(self, query: str, *parameters: int) -> list[tuple[Any, ...]]:
        with self._reported():
            return self._open().execute(query, parameters).fetchall()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LedgerUnavailable(f"the log {self._path} is closed")
        return self._connection

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # The low byte is the primary result code; the rest says where it came from.
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            kind, advice = _ERRORS.get(code, (LedgerUnavailable, "nothing was appended"))
            raise kind(f"ledger {self._path}: {error}; {advice}") from error


def _take_writer_lock(path: Path) -> int:
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerUnavailable(f"cannot write {lock}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LedgerInUse(
            f"another process is writing to {path}; stop it first (a log has one writer)"
        ) from error
    return descriptor


def _connect(path: Path, writable: bool) -> sqlite3.Connection:
    mode = "rwc" if writable else "ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,  # transactions are written out where they begin and end
        check_same_thread=False,  # Log's lock orders the threads
        timeout=BUSY_TIMEOUT_S,
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if writable:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, writable: bool) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if writable and (version, application, tables) == (0, 0, 0):
        schema = resources.files("archipel.ledger").joinpath("sqlite.sql").read_text()
        connection.executescript(f"BEGIN IMMEDIATE;\n{schema}\nCOMMIT;")
    elif (version, application) != (SCHEMA_VERSION, _APPLICATION_ID):
        raise LedgerUnavailable(
            f"{path} is not a ledger of format {SCHEMA_VERSION} (found application "
            f"{application:#x}, format {version}); name another file or use the matching release"
        )
