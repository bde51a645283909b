"""Who may write to a log that several labs share: the rules, and that a real server holds to them."""

import threading
from collections.abc import Callable

import pytest

from archipel.identity import Identity
from archipel.ledger.leadership import (
    GIVE_UP_S,
    Standing,
    after_beat,
    check_term,
)
from archipel.ledger.location import follow_log, is_shared, leader_watch, open_log, read_log
from archipel.ledger.log import Log
from archipel.ledger.storage import HeadRow, LeaderLost, LedgerInUse, LedgerUnavailable, Term
from memory import MemoryStorage

LAB = Identity.from_seed(bytes(range(32)))
ORIGIN = "lab.example/leader"
MINE = Term(3, "http://a")


def test_only_the_newest_term_may_append() -> None:
    check_term(MINE, Term(3, "elsewhere"))
    for found in (Term(4, "http://b"), Term(2), None):
        with pytest.raises(LeaderLost, match="term 3"):
            check_term(MINE, found)


def test_a_lost_session_is_no_lost_lead_until_another_begins_or_patience_ends() -> None:
    def beat(found: Term | None, reached: bool, lock: bool, unsure_s: float) -> Standing:
        return after_beat(MINE, found, was_reached=reached, has_lock=lock, unsure_s=unsure_s)

    assert beat(MINE, True, True, GIVE_UP_S + 1) is Standing.LEADS
    assert beat(MINE, True, False, GIVE_UP_S) is Standing.UNSURE
    assert beat(None, False, False, GIVE_UP_S) is Standing.UNSURE
    for unlucky in (
        (Term(4, "http://b"), True, True, 0.0),  # the lock alone is no right to write
        (Term(4, "http://b"), True, False, 0.0),
        (MINE, True, False, GIVE_UP_S + 1),
        (None, False, False, GIVE_UP_S + 1),
    ):
        with pytest.raises(LeaderLost, match="stops"):
            beat(*unlucky)


def test_a_log_whose_leader_is_lost_appends_nothing_more_and_says_why() -> None:
    storage = MemoryStorage()
    log = open_memory(storage)
    log.append([b"one"])
    storage.lost = LeaderLost("another lab leads")
    for forbidden in (lambda: log.append([b"two"]), log.check_writer):
        with pytest.raises(LeaderLost, match="another lab leads"):
            forbidden()
    assert log.failure is storage.lost
    assert storage.num_entries() == 1


def test_an_append_that_the_term_refuses_stops_the_log_although_its_last_head_stands() -> None:
    class Deposed(MemoryStorage):
        def append(self, entries: object, head: HeadRow) -> None:
            if head.size:
                raise LeaderLost("another lab leads")
            super().append(entries, head)  # type: ignore[arg-type]  # rows as they came

    log = open_memory(Deposed())
    with pytest.raises(LeaderLost):
        log.append([b"one"])
    assert isinstance(log.failure, LeaderLost)


def open_memory(storage: MemoryStorage) -> Log:
    from archipel.ledger.signed_note import NoteKey

    return Log(storage, NoteKey(ORIGIN, LAB.public_key), LAB)  # type: ignore[arg-type]  # enough of one


def test_only_a_server_is_shared() -> None:
    assert is_shared("postgresql://lab@host/db")
    assert is_shared("postgres://lab@host/db")
    assert not is_shared("/srv/ledger.sqlite")
    assert not is_shared("sqlite://ledger")


def test_whoever_leads_next_raises_the_term_and_is_seen_by_those_that_wait(
    postgres_location: str,
) -> None:
    watch = leader_watch(postgres_location)
    assert watch.look().term == Term(0)
    assert not watch.look().is_here
    for number in (1, 2):
        log = open_log(postgres_location, ORIGIN, LAB, place=f"http://lab-{number}")
        assert log.term == Term(number, f"http://lab-{number}")
        assert watch.look().term == log.term
        assert watch.look().is_here
        with pytest.raises(LedgerInUse):
            open_log(postgres_location, ORIGIN, LAB)
        log.check_writer()
        log.close()
        assert not watch.look().is_here
    watch.close()


def test_a_leader_whose_lock_was_taken_appends_nothing_and_learns_why(
    postgres_location: str,
) -> None:
    """As a process that was stopped for long: the server ended its silent session, its writing one is still there."""
    stalled = open_log(postgres_location, ORIGIN, LAB, place="http://a")
    stalled.append([b"one"])
    _stall(stalled)
    taker = open_log(postgres_location, ORIGIN, LAB, place="http://b")
    taker.append([b"two"])
    with pytest.raises(LeaderLost, match="http://b leads under term 2; this one led under term 1"):
        stalled.append([b"never"])
    assert isinstance(stalled.failure, LeaderLost)
    with pytest.raises(LeaderLost):
        stalled.check_writer()
    with pytest.raises(LeaderLost):
        stalled.read(0)
    stalled.close()
    taker.append([b"three"])
    taker.close()
    seen = follow_log(postgres_location, taker.key)
    assert list(seen.entries(seen.head().size, 0)) == [b"one", b"two", b"three"]
    seen.close()
    read = read_log(postgres_location, taker.key)
    assert read.verify() == 4
    read.close()


def _stall(log: Log) -> None:
    """Its lock's session ends as if the server had ended it, and no beat asks for it again."""
    leading = log._storage._leading  # type: ignore[attr-defined]
    leading._is_over.set()
    leading._beating.join()
    leading._forget()


def test_the_next_leader_waits_for_what_the_last_one_is_committing(postgres_location: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    stalled = open_log(postgres_location, ORIGIN, LAB)
    _stall(stalled)
    with psycopg.connect(postgres_location) as committing:
        committing.execute("SELECT term FROM archipel_leader FOR SHARE")
        opened: list[Log] = []
        taking = threading.Thread(
            target=lambda: opened.append(open_log(postgres_location, ORIGIN, LAB))
        )
        taking.start()
        watch = leader_watch(postgres_location)
        _until(lambda: watch.look().is_here)
        assert watch.look().term == Term(1)
        assert not opened
        committing.commit()
        taking.join(30)
    assert watch.look().term == Term(2)
    watch.close()
    opened[0].close()
    stalled.close()


def test_a_leader_gets_its_lock_back_if_nobody_else_began(postgres_location: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    log = open_log(postgres_location, ORIGIN, LAB, place="http://a")
    watch = leader_watch(postgres_location)
    with psycopg.connect(postgres_location, autocommit=True) as admin:
        ended = admin.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks "
            "WHERE locktype = 'advisory' AND objid = current_schema()::regnamespace::oid"
        ).fetchone()
    assert ended == (1,)
    _until(lambda: watch.look().is_here)
    log.append([b"one"])
    assert log.failure is None
    assert watch.look().term == Term(1, "http://a")
    watch.close()
    log.close()


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.02)
    raise AssertionError("waited in vain")


def test_a_server_that_is_gone_is_a_sentence_for_who_waits() -> None:
    pytest.importorskip("psycopg")
    watch = leader_watch("postgresql://lab:hunter2@127.0.0.1:1/db")
    with pytest.raises(LedgerUnavailable, match="PostgreSQL") as caught:
        watch.look()
    assert "hunter2" not in str(caught.value)
