"""Leading a log in PostgreSQL: a lock in a session of its own that beats, and a term that whoever leads next raises.

Parts: `Leading` (held by the one writer), `LeaderWatch` (who leads, for those that wait). The lock goes with its session,
and the server ends that session when it hears nothing of it, so a leader that was killed, that stalls or whose network is
cut is found out in the same way. Law: the lock says who may become the leader; the term, read in the transaction of every
append, says who may write.
"""

import logging
import threading
import time
from contextlib import suppress
from importlib import resources

import psycopg

from archipel.ledger.leadership import (
    BEAT_S,
    MAX_PLACE,
    SILENCE_S,
    Leader,
    Standing,
    after_beat,
    check_term,
)
from archipel.ledger.postgres_session import Session, open_session, reported
from archipel.ledger.storage import LeaderLost, LedgerLed, LedgerUnavailable, Term

logger = logging.getLogger("archipel.ledger")

_WRITER_LOCK = 0x41524350  # "ARCP"; with the schema's object id it names one log
_OWN_SCHEMA = "current_schema()::regnamespace::oid::int"
_TERM = "SELECT term, place FROM archipel_leader"
_HAS_LOCK = """
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid::bigint = %s AND objid = current_schema()::regnamespace::oid
)
"""


class Leading:
    """The lock of one log and the term of who holds it; see the module's text."""

    def __init__(self, url: str, place: str = "") -> None:
        """Take the lock. place: where this lab answers, for the others.

        Raises:
            LedgerLed: another process has it. LedgerUnavailable: no such schema, or the server is too old.
        """
        self._url, self._place = url, place[:MAX_PLACE]
        self.term = Term(0)
        """What this process leads under; of number 0 before `begin`."""
        self._lost: LeaderLost | None = None
        self._is_over = threading.Event()
        self._beating: threading.Thread | None = None
        self._session: Session | None = _lock_session(url)
        if not _take_lock(self._session):
            self.close()
            raise LedgerLed(
                "another process is writing to this log in PostgreSQL; stop it first "
                "(a log has one writer)"
            )

    @property
    def lost(self) -> LeaderLost | None:
        """Why this process leads no more; None while it does."""
        return self._lost

    def begin(self, session: Session) -> None:
        """Raise the term through the writer's session, and beat from now on.

        Waits for what another leader is just committing; nothing of its follows. Raises psycopg.Error.
        """
        if session.execute("SELECT to_regclass('archipel_leader')").fetchone() == (None,):
            script = resources.files("archipel.ledger").joinpath("postgres_leader.sql").read_text()
            with session.transaction():
                session.execute(script.encode())
        row = session.execute(
            "UPDATE archipel_leader SET term = term + 1, place = %s RETURNING term, place",
            (self._place,),
        ).fetchone()
        if row is None:
            raise LedgerUnavailable(
                "the table archipel_leader has no row; expected one: restore it"
            )
        self.term = Term(*row)
        self._beating = threading.Thread(target=self._beat, name="leader", daemon=True)
        self._beating.start()

    def check(self, session: Session) -> None:
        """In the transaction of an append, first: no other leader begins before it ends.

        Raises:
            LeaderLost: one has begun.
        """
        row = session.execute(f"{_TERM} FOR SHARE").fetchone()
        try:
            check_term(self.term, None if row is None else Term(*row))
        except LeaderLost as error:
            self._lost = error
            raise

    def close(self) -> None:
        """Let another lead; idempotent."""
        self._is_over.set()
        if self._beating is not None:
            self._beating.join()
            self._beating = None
        self._forget()

    def _beat(self) -> None:
        unsure_since_s: float | None = None
        while not self._is_over.wait(BEAT_S):
            found, was_reached, has_lock = self._asked()
            now_s = time.monotonic()  # from the first beat that failed: a process that slept tries again before it gives up
            unsure_s = now_s - (now_s if unsure_since_s is None else unsure_since_s)
            try:
                standing = after_beat(
                    self.term, found, was_reached=was_reached, has_lock=has_lock, unsure_s=unsure_s
                )
            except LeaderLost as error:
                self._lost = error
                logger.error("leads no more", extra={"reason": str(error)})  # noqa: TRY400  no riddle
                self._forget()
                return
            if standing is Standing.LEADS:
                unsure_since_s = None
            elif unsure_since_s is None:
                unsure_since_s = now_s

    def _asked(self) -> tuple[Term | None, bool, bool]:
        """(what is stored, was the server reached, is the lock ours)."""
        try:
            has_lock = True
            if self._session is None:
                self._session = _lock_session(self._url)
                has_lock = _take_lock(self._session)
            row = self._session.execute(_TERM).fetchone()
        except (psycopg.Error, LedgerUnavailable) as error:
            logger.warning("the leader's session is gone", extra={"reason": type(error).__name__})
            self._forget()
            return None, False, False
        if not has_lock:
            self._forget()
        return (None if row is None else Term(*row)), True, has_lock

    def _forget(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            # The server notices a closed connection when it comes to it; the next leader may be here by then.
            with suppress(psycopg.Error):
                session.execute("SELECT pg_advisory_unlock_all()")
            session.close()


class LeaderWatch:
    """Who leads the log at a URL; reads alone. Safe to use from one thread at a time."""

    def __init__(self, url: str) -> None:
        """Nothing is opened before the first look."""
        self._url = url
        self._session: Session | None = None

    def look(self) -> Leader:
        """See `Watch.look`."""
        try:
            with reported():
                if self._session is None:
                    self._session = open_session(self._url, writable=False, statement_s=SILENCE_S)
                return _leader(self._session)
        except LedgerUnavailable:
            self.close()
            raise

    def close(self) -> None:
        """See `Watch.close`."""
        if self._session is not None:
            self._session.close()
            self._session = None


def _leader(session: Session) -> Leader:
    there = session.execute("SELECT to_regclass('archipel_leader')").fetchone()
    row = None if there == (None,) else session.execute(_TERM).fetchone()
    held = session.execute(_HAS_LOCK, (_WRITER_LOCK,)).fetchone()
    return Leader(Term(0) if row is None else Term(*row), held == (True,))


def _lock_session(url: str) -> Session:
    """Which the server ends when it is silent; a statement in it is never long."""
    try:
        return open_session(url, writable=True, silence_s=SILENCE_S, statement_s=SILENCE_S)
    except psycopg.errors.UndefinedObject:
        raise LedgerUnavailable(
            "this PostgreSQL server is too old: it cannot end a silent session; expected release 14 or newer"
        ) from None


def _take_lock(session: Session) -> bool:
    row = session.execute(
        f"SELECT pg_try_advisory_lock(%s, {_OWN_SCHEMA})",
        (_WRITER_LOCK,),
    ).fetchone()
    if row == (None,):
        session.close()
        raise LedgerUnavailable("the database's search_path names no schema that exists; create it")
    return row == (True,)
