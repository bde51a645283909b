"""Sessions at a PostgreSQL server: how they are opened, what bounds them, what becomes of their errors.

Law: no password shows in an error; no session waits for a peer that is gone for longer than `PEER_LIMIT_S`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from archipel.ledger.storage import (
    LedgerCorrupt,
    LedgerError,
    LedgerFull,
    LedgerInUse,
    LedgerUnavailable,
)

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S = 60
PEER_LIMIT_S = 5
"""Neither end waits longer for a machine that does not acknowledge."""

STALL_LIMIT_S = 6
"""The server ends a writer that stops in the middle of an append: whoever leads next waits for it."""

Session = psycopg.Connection[tuple[Any, ...]]

_ERRORS: tuple[tuple[tuple[type[Exception], ...], type[LedgerError], str], ...] = (
    ((errors.DiskFull,), LedgerFull, "make room on the database's disk and try again"),
    ((errors.DataCorrupted, errors.IndexCorrupted), LedgerCorrupt, "restore it from a copy"),
    ((errors.InsufficientPrivilege,), LedgerUnavailable, "grant this user the right"),
    ((errors.UniqueViolation,), LedgerInUse, "another program wrote to this log"),
    (
        (psycopg.OperationalError,),
        LedgerUnavailable,
        "see to the database, and to its address and user, then try again",
    ),
)
_KEEPALIVES = {"idle": 2, "interval": 1, "count": 3}
"""Seconds of silence until the peer is asked, seconds between two questions, questions without an answer."""


@contextmanager
def reported() -> Iterator[None]:
    """Errors of the server and of the way to it as `LedgerError`s."""
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


def open_session(
    url: str,
    *,
    writable: bool,
    silence_s: float | None = None,
    statement_s: float = STATEMENT_TIMEOUT_S,
) -> Session:
    """A session in which every statement is a transaction unless told otherwise.

    silence_s: the server ends it after so many seconds without a statement. statement_s: a statement ends after so many.

    Raises:
        LedgerUnavailable: the URL is malformed. psycopg.Error: the server cannot be had, or is too old.
    """
    try:
        session = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            keepalives=1,
            tcp_user_timeout=PEER_LIMIT_S * 1000,
            keepalives_idle=_KEEPALIVES["idle"],
            keepalives_interval=_KEEPALIVES["interval"],
            keepalives_count=_KEEPALIVES["count"],
        )
    except psycopg.ProgrammingError:  # its text may repeat a part of the password
        raise LedgerUnavailable(
            "the ledger's URL is malformed; expected postgresql://user:password@host:port/database"
        ) from None
    settings = {
        "statement_timeout": f"{round(statement_s * 1000)}ms",
        "synchronous_commit": "on",  # a commit survives a power cut
        "default_transaction_read_only": "off" if writable else "on",
        "idle_in_transaction_session_timeout": f"{STALL_LIMIT_S}s",
        "tcp_user_timeout": f"{PEER_LIMIT_S}s",
        **{f"tcp_keepalives_{name}": str(value) for name, value in _KEEPALIVES.items()},
    }
    if silence_s is not None:
        settings["idle_session_timeout"] = f"{round(silence_s * 1000)}ms"
    try:
        for name, value in settings.items():
            session.execute("SELECT set_config(%s, %s, false)", (name, value))
    except psycopg.Error:
        session.close()
        raise
    return session
