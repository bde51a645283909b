"""A log in one SQLite file: write-ahead log, full synchronisation, one writer.

Law: readers never block the writer; each is a storage of its own, in the writer's process as well. The
writer holds an advisory lock on `<file>.lock`, which the operating system lets go when the process dies,
however it dies. Bytes wait in the write-ahead file, where SQLite takes damage for the end, no longer than
CHECKPOINT_ENTRIES or the next opening.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

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

BUSY_TIMEOUT_S = 5.0
"""How long to wait for a reader's checkpoint or a backup before reporting."""
CHECKPOINT_ENTRIES = 4096
"""After so many entries the write-ahead file is emptied; SQLite copies from it every 1000 pages."""

ROWS_AT_ONCE = 300
"""In one statement, of three values each (SQLite takes 999 and more). The interpreter's lock is given up once a
statement and then waited for: row by row, a busy lab's other thread would hold up every row.
"""

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
    """Rows of one log in the file at `path`; a writer may create it when it is missing."""

    def __init__(self, path: Path, *, writable: bool, create: bool = True) -> None:
        self._path = path
        self._writable = writable
        self._connection: sqlite3.Connection | None = None
        self._entries_since_checkpoint = 0
        if not (writable and create) and not _num_bytes(path):
            raise LedgerMissing(
                f"there is no ledger at {path}; name a lab's address, a mirror or a ledger, or start a lab (archipel lab start)"
            )
        self._lock_descriptor = _take_writer_lock(path) if writable else None
        try:
            with self._reported():
                self._connection = _connect_writer(path) if writable else _connect_reader(path)
                self._prepare(self._connection, create)
        except LedgerError:
            self.abandon()
            raise

    def append(self, entries: Sequence[EntryRow], head: HeadRow) -> None:
        """See `Storage.append`."""
        with self._reported():
            connection = self._open()
            try:
                connection.execute("BEGIN IMMEDIATE")
                for start in range(0, len(entries), ROWS_AT_ONCE):
                    _insert(connection, entries[start : start + ROWS_AT_ONCE])
                connection.execute(
                    "INSERT INTO tree_head (size, note) VALUES (?, ?)", (head.size, head.note)
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._entries_since_checkpoint += len(entries)
        if self._entries_since_checkpoint >= CHECKPOINT_ENTRIES:
            self.checkpoint()

    def checkpoint(self) -> None:
        """See `Storage.checkpoint`."""
        connection = self._open()
        with suppress(
            sqlite3.Error, UnicodeDecodeError
        ):  # what the write-ahead file keeps is durable as well
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._entries_since_checkpoint = 0
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")

    def entries(self, start: int, limit: int) -> list[EntryRow]:
        """See `Storage.entries`."""
        query = "SELECT position, leaf_hash, data FROM entry WHERE position >= ? ORDER BY position LIMIT ?"
        return [EntryRow(*row) for row in self._rows(query, start, limit)]

    def leaf_hashes(self, start: int, limit: int) -> list[bytes]:
        """See `Storage.leaf_hashes`."""
        query = "SELECT leaf_hash FROM entry WHERE position >= ? ORDER BY position LIMIT ?"
        return only_bytes([row[0] for row in self._rows(query, start, limit)])

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
        return int(self._rows("SELECT coalesce(max(position) + 1, 0) FROM entry")[0][0])

    def check_writer(self) -> None:
        """See `Storage.check_writer`: the file's lock is held until it is closed."""

    @property
    def term(self) -> None:
        """See `Storage.term`."""

    @property
    def lost(self) -> None:
        """See `Storage.lost`."""

    def close(self) -> None:
        """See `Storage.close`."""
        if self._connection is not None:
            if self._writable:
                self.checkpoint()
            self._connection.close()
            self._connection = None
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    def abandon(self) -> None:
        """See `Storage.abandon`."""
        if self._connection is not None and self._writable:
            # The last connection to a database copies its write-ahead file and deletes it, and with
            # it what may be mended; one that may not write is there to be the last.
            with closing(_connect(self._path, "mode=ro")) as last:
                with suppress(sqlite3.Error, UnicodeDecodeError):
                    last.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                self._connection.close()
                self._connection = None
        self.close()

    def _prepare(self, connection: sqlite3.Connection, create: bool) -> None:
        version, application, tables = (
            connection.execute(query).fetchone()[0]
            for query in (
                "PRAGMA user_version",
                "PRAGMA application_id",
                "SELECT count(*) FROM sqlite_schema",
            )
        )
        if (version, application, tables) == (0, 0, 0):
            if not (self._writable and create):
                raise LedgerMissing(f"the ledger at {self._path} is empty")
            schema = resources.files("archipel.ledger").joinpath("sqlite.sql").read_text()
            connection.executescript(f"BEGIN IMMEDIATE;\n{schema}\nCOMMIT;")
            return
        if application != _APPLICATION_ID:
            raise LedgerUnavailable(
                f"{self._path} is not a ledger (found application {application:#x}, format "
                f"{version}); name another file"
            )
        steps = formats.steps_from(version, formats.SQLITE_STEPS, writable=self._writable)
        for number, script in steps:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script};\nPRAGMA user_version = {number};\nCOMMIT;"
            )

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
        except UnicodeDecodeError:  # SQLite's own message quotes what is damaged
            raise LedgerCorrupt(
                f"ledger {self._path}: its schema is damaged; restore it from a copy"
            ) from None


def _insert(connection: sqlite3.Connection, rows: Sequence[EntryRow]) -> None:
    values = ", ".join(["(?, ?, ?)"] * len(rows))
    connection.execute(
        f"INSERT INTO entry (position, leaf_hash, data) VALUES {values}",  # noqa: S608  question marks
        [value for row in rows for value in (row.position, row.leaf_hash, row.data)],
    )


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


def _num_bytes(path: Path) -> int:
    """The size of a file; 0 when there is none."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise LedgerUnavailable(f"cannot read {path}: {error.strerror}") from None


def _connect_writer(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "mode=rwc")
    with _closed_on_failure(connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut,
        connection.execute("PRAGMA fullfsync = ON")  # and on macOS only with
        connection.execute("PRAGMA checkpoint_fullfsync = ON")  # these
    return connection


def _connect_reader(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "mode=ro")
    try:
        with _closed_on_failure(connection):
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        # A folder where nobody can write has no room for the index of a write-ahead file; without
        # such a file there is none to index, and nobody who could change the database.
        if _num_bytes(path.with_name(path.name + "-wal")):
            raise LedgerUnavailable(
                f"{path} has a write-ahead file, which can be read only where an index can be made "
                "beside it; copy both to a folder where you may write"
            ) from None
        return _connect(path, "mode=ro&immutable=1")
    return connection


def _connect(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        isolation_level=None,  # transactions are written out where they begin and end
        check_same_thread=False,  # Log's lock orders the threads
        timeout=BUSY_TIMEOUT_S,
    )
    with _closed_on_failure(connection):
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
    return connection


@contextmanager
def _closed_on_failure(connection: sqlite3.Connection) -> Iterator[None]:
    """Whoever cannot use a connection leaves none open."""
    try:
        yield
    except BaseException:
        connection.close()
        raise
