"""Where a log is: a file, or a `postgresql://` URL."""

import importlib
from pathlib import Path

from archipel.identity import Identity
from archipel.ledger.log import Log
from archipel.ledger.signed_note import BadNote, NoteKey
from archipel.ledger.sqlite_storage import SqliteStorage
from archipel.ledger.storage import LedgerError, LedgerUnavailable, Storage

_POSTGRES_SCHEMES = ("postgresql://", "postgres://")


def open_log(location: str | Path, origin: str, signer: Identity) -> Log:
    """Open the log at `location` for appending, as its one writer; create it when missing.

    Args:
        location: path of a SQLite file, or a `postgresql://` URL.
        origin: the log's public name, for instance `lab.example/archipel`; never changes.
        signer: whose key signs the tree heads.

    Raises:
        LedgerInUse: another process writes to it. LedgerCorrupt: it does not verify, or belongs
        to another origin or key. LedgerFull, LedgerUnavailable: it cannot be opened or created.
    """
    try:
        key = NoteKey(origin, signer.public_key)
    except BadNote as error:
        raise LedgerUnavailable(f"a log cannot be called {origin!r:.80}: {error}") from None
    return _open(_storage(location, writable=True), key, signer)


def read_log(location: str | Path, key: NoteKey) -> Log:
    """Open the log at `location` for reading, next to its writer if there is one.

    Raises:
        LedgerCorrupt: it does not verify under `key`. LedgerUnavailable: there is none.
    """
    return _open(_storage(location, writable=False), key, None)


def _open(storage: Storage, key: NoteKey, signer: Identity | None) -> Log:
    try:
        return Log(storage, key, signer)
    except LedgerError:
        storage.close()
        raise


def _storage(location: str | Path, *, writable: bool) -> Storage:
    if isinstance(location, str) and location.startswith(_POSTGRES_SCHEMES):
        try:
            module = importlib.import_module("archipel.ledger.postgres_storage")
        except ImportError as error:
            raise LedgerUnavailable(
                f"a PostgreSQL ledger needs psycopg 3 ({error}); install archipel[postgres]"
            ) from None
        storage: Storage = module.PostgresStorage(location, writable=writable)
        return storage
    if isinstance(location, str) and "://" in location:
        raise LedgerUnavailable(
            f"no ledger can live at {location.partition('://')[0]}://; "
            "expected a file path or a postgresql:// URL"
        )
    return SqliteStorage(Path(location), writable=writable)
