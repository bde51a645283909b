"""Where a log is: a file, or a `postgresql://` URL."""

import importlib
from functools import partial
from pathlib import Path
from typing import Any

from archipel.extras import needs
from archipel.identity import Identity
from archipel.ledger.growing import GrowingLog
from archipel.ledger.head_file import HeadFile
from archipel.ledger.leadership import Watch
from archipel.ledger.log import Log
from archipel.ledger.signed_note import BadNote, NoteKey
from archipel.ledger.sqlite_storage import SqliteStorage
from archipel.ledger.storage import LedgerError, LedgerMissing, LedgerUnavailable, Storage

_POSTGRES_SCHEMES = ("postgresql://", "postgres://")


def open_log(
    location: str | Path,
    origin: str,
    signer: Identity,
    head_file: Path | None = None,
    place: str = "",
) -> Log:
    """Open the log at `location` for appending, as its one writer; create it when missing.

    Args:
        location: path of a SQLite file, or a `postgresql://` URL.
        origin: the log's public name, for instance `lab.example/archipel`; never changes.
        signer: whose key signs the tree heads.
        head_file: where the newest head is kept outside the database. Default: `<file>.head` beside
            a SQLite file; none for PostgreSQL.
        place: where this lab answers, for those that wait to follow it; of PostgreSQL alone.

    Raises:
        LedgerInUse: another process writes to it. LedgerCorrupt: it does not verify, belongs to
        another origin or key, or is not all that the head file says was signed; nothing was changed.
        LedgerFull, LedgerUnavailable: it cannot be opened or created.
    """
    try:
        key = NoteKey(origin, signer.public_key)
    except BadNote as error:
        raise LedgerUnavailable(f"a log cannot be called {origin!r:.80}: {error}") from None
    return _open(location, key, signer, head_file, place)


def read_log(location: str | Path, key: NoteKey, head_file: Path | None = None) -> Log:
    """Open the log at `location` for reading, next to its writer if there is one.

    The head file, default as in `open_log`, is compared where there is one.

    Raises:
        LedgerCorrupt: it does not verify under `key`, or is not all that the head file says was
        signed. LedgerUnavailable: there is none.
    """
    return _open(location, key, None, head_file)


def follow_log(location: str | Path, key: NoteKey) -> GrowingLog:
    """The log at `location`, to be read as it grows; opened when it is first asked."""
    return GrowingLog(partial(_storage, location, writable=False, create=False), key)


def read_first_entry(location: str | Path) -> bytes:
    """Entry 0 of the log at `location`, not verified: it says whose log this claims to be.

    Raises:
        LedgerUnavailable: there is none. LedgerCorrupt: the database is damaged.
    """
    storage = _storage(location, writable=False, create=False)
    try:
        rows = storage.entries(0, 1)
    finally:
        storage.close()
    if not rows:
        raise LedgerMissing("this ledger has no entries yet")
    return rows[0].data


def read_origin(location: str | Path) -> str:
    """The origin in the newest head of the log at `location`, not verified: whose log it claims to be now; empty: no head.

    Raises:
        LedgerUnavailable: there is none. LedgerCorrupt: the database is damaged.
    """
    storage = _storage(location, writable=False, create=False)
    try:
        row = storage.latest_head()
    finally:
        storage.close()
    return "" if row is None else row.note.partition(b"\n")[0].decode("utf-8", "replace")


def _open(
    location: str | Path,
    key: NoteKey,
    signer: Identity | None,
    head_file: Path | None,
    place: str = "",
) -> Log:
    path = head_file or _beside(location)
    # Before the database: beside a live writer, which writes here last, the rows read later then
    # hold at least what this file says.
    kept = HeadFile(path, key, writable=signer is not None) if path else None
    try:
        return _open_rows(location, key, signer, kept, place)
    except LedgerError as error:
        if kept is not None:
            kept.close()
            if isinstance(error, LedgerMissing) and kept.size:
                raise kept.missing(str(error)) from None
        raise


def _open_rows(
    location: str | Path,
    key: NoteKey,
    signer: Identity | None,
    kept: HeadFile | None,
    place: str,
) -> Log:
    is_first = kept is None or kept.size == 0
    storage = _storage(location, writable=signer is not None, create=is_first, place=place)
    reader = partial(_storage, location, writable=False, create=False) if signer else None
    try:
        log = Log(storage, key, signer, kept, reader)
    except LedgerError:
        storage.abandon()
        raise
    if signer is not None:
        storage.checkpoint()
    return log


def _beside(location: str | Path) -> Path | None:
    """`<file>.head` for a file."""
    if isinstance(location, str) and "://" in location:
        return None
    path = Path(location)
    return path.with_name(path.name + ".head")


def is_shared(location: str | Path) -> bool:
    """Whether several labs may share the log at `location`: one leads, the others follow."""
    return isinstance(location, str) and location.startswith(_POSTGRES_SCHEMES)


def leader_watch(location: str) -> Watch:
    """Where the leader of the shared log at `location` is looked up. Raises LedgerUnavailable: psycopg is missing."""
    watch: Watch = _postgres("postgres_leading").LeaderWatch(location)
    return watch


def _storage(location: str | Path, *, writable: bool, create: bool, place: str = "") -> Storage:
    if is_shared(location):
        storage: Storage = _postgres("postgres_storage").PostgresStorage(
            location, writable=writable, create=create, place=place
        )
        return storage
    if isinstance(location, str) and "://" in location:
        raise LedgerUnavailable(
            f"no ledger can live at {location.partition('://')[0]}://; "
            "expected a file path or a postgresql:// URL"
        )
    path = Path(location)
    if path.is_dir():
        raise LedgerUnavailable(
            f"{path} is a folder, and a ledger is a file; name one, for instance {path / 'ledger.sqlite'}"
        )
    return SqliteStorage(path, writable=writable, create=create)


def _postgres(module: str) -> Any:
    """One of the modules that need psycopg."""
    try:
        return importlib.import_module(f"archipel.ledger.{module}")
    except ImportError as error:
        raise LedgerUnavailable(f"{needs('a PostgreSQL ledger', 'postgres')} ({error})") from None
