"""The file of a chronicle: whose it is, its format, and what may be done with one that is neither.

Law: a file that is a chronicle is derived and may be replaced; any other file is somebody's and is refused.
"""

import os
import sqlite3
from importlib import resources
from pathlib import Path

FORMAT = 1
"""A file of another one is made anew."""
APPLICATION_ID = 0x41524343
"""ARCC"""
BUSY_TIMEOUT_S = 5.0
MAGIC = b"SQLite format 3\0"
_APPLICATION_AT = 68
"""Of the header, four bytes, the first the largest (https://www.sqlite.org/fileformat2.html, 1.3)."""
_BESIDE = ("", "-wal", "-shm")
BROKEN = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite says of a file; of a damaged schema it quotes bytes that are no text."""


class ChronicleUnusable(RuntimeError):
    """The file is no chronicle, is damaged, or cannot be read or written."""


def unusable(path: Path, error: Exception) -> ChronicleUnusable:
    """What the disk, or SQLite, said."""
    return ChronicleUnusable(
        f"the chronicle at {path} cannot be used ({error}); make room, or delete it: it is made anew from the ledger"
    )


def opened_for_writing(path: Path) -> sqlite3.Connection:
    """A connection to a chronicle of this format, empty if there was none.

    Raises:
        ChronicleUnusable: another program's file is there, or the disk says no.
    """
    try:
        try:
            return _prepared(path)
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError):  # damaged, or no database at all
            if not _is_marked(path):
                raise _foreign(path) from None
            return _anew(path)
    except (*BROKEN, OSError) as error:
        raise unusable(path, error) from None


def make_sound(path: Path) -> None:
    """A chronicle with damaged pages inside is emptied: its writer would fail at them for ever. Reads all of the file.

    Raises:
        ChronicleUnusable: as `opened_for_writing`.
    """
    db = opened_for_writing(path)
    try:
        is_sound = db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.OperationalError as error:  # the disk says no, which is no damage
        raise unusable(path, error) from None
    except BROKEN:
        is_sound = False
    finally:
        db.close()
    if not is_sound:
        try:
            _anew(path).close()
        except (*BROKEN, OSError) as error:
            raise unusable(path, error) from None


def opened_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that can change nothing; raises sqlite3.Error."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
    )
    try:
        db.execute("PRAGMA query_only = ON")
        application, found = _format_of(db)
        if application != APPLICATION_ID:
            raise sqlite3.DatabaseError(f"application {application:#x} is no chronicle's")
        if found != FORMAT:
            raise sqlite3.DatabaseError(f"format {found}, expected {FORMAT}")
    except BaseException:
        db.close()
        raise
    return db


def _prepared(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        application, found = _format_of(db)
        is_empty = not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if application != APPLICATION_ID and not is_empty:
            raise _foreign(path)
        if found == FORMAT or is_empty:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")  # what a crash takes is written again
            return _laid_out(db) if is_empty else db
    except BaseException:
        db.close()
        raise
    db.close()
    return _anew(path)


def _anew(path: Path) -> sqlite3.Connection:
    for suffix in _BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return _prepared(path)


def _laid_out(db: sqlite3.Connection) -> sqlite3.Connection:
    tables = resources.files("archipel.dashboard.chronicle").joinpath("tables.sql").read_text()
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
    db.executescript(f"BEGIN IMMEDIATE;\n{tables}\n{marks}\nCOMMIT;")
    return db


def _format_of(db: sqlite3.Connection) -> tuple[int, int]:
    application = db.execute("PRAGMA application_id").fetchone()[0]
    return int(application), int(db.execute("PRAGMA user_version").fetchone()[0])


def _is_marked(path: Path) -> bool:
    """Whether the bytes at its beginning are a chronicle's, whatever became of the rest."""
    with path.open("rb") as file:
        head = file.read(_APPLICATION_AT + 4)
    return head.startswith(MAGIC) and head[_APPLICATION_AT:] == APPLICATION_ID.to_bytes(4, "big")


def _foreign(path: Path) -> ChronicleUnusable:
    return ChronicleUnusable(f"{path} is no chronicle; name another file, or move it away")
