"""Futures: the promise of an answer, from the moment the question is on the disk until its answer was fetched.

    waiting -> done | failed -> fetched, or too old -> gone

Acts on the journal. Laws: one future for one number of one model or sampler, however often it is asked for; what is asked
a second time in other words is refused; an answer that was not fetched counts against its tenant until it is.
"""

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from archipel.door.bounds import Bounds
from archipel.door.ordering import Queued
from archipel.door.refusals import Declined, not_there


@dataclass(frozen=True, eq=False)
class Asking:
    """A question that is about to be promised an answer."""

    tenant: str
    session: str
    kind: str
    place: str
    """Id of the model or sampler whose numbers these are."""
    seq: int
    digest: bytes
    """Of what was asked, as it came: the same question again is known by it."""
    question: bytes


@dataclass(frozen=True)
class Ending:
    """How one ended."""

    seq: int
    answer: bytes
    is_done: bool = True
    blame: str = ""
    """Whose fault it is that it failed: `user` or `server`."""
    again: bool = False
    """It changed the model's state: it is done again from the last kept one."""


def known(db: sqlite3.Connection, one: Asking) -> str | None:
    """The id of the same question's future, if it was asked before.

    Raises:
        Declined: this number was used for something else.
    """
    row = db.execute(
        "SELECT id, tenant, digest, state FROM futures WHERE place = ? AND seq = ?",
        (one.place, one.seq),
    ).fetchone()
    if row is None:
        return None
    if row["tenant"] != one.tenant or row["digest"] != one.digest:
        raise Declined(
            "impossible",
            f"number {one.seq} was used for another question; use the next that is free",
        )
    if row["state"] == "gone" and one.kind == "sample":
        db.execute("DELETE FROM futures WHERE id = ?", (row["id"],))  # it is sampled anew
        return None
    if row["state"] == "gone":  # else whoever makes the call again would be told so for ever
        raise Declined(
            "impossible",
            f"operation {one.seq} was done, and its answer is no longer kept; go on with the next",
        )
    return str(row["id"])


def promise(db: sqlite3.Connection, one: Asking, bounds: Bounds, now_ms: int) -> str:
    """Its id, for a question that is not `known`.

    Raises:
        Declined: too much of this tenant waits, or was never fetched.
    """
    waiting, size = db.execute(
        "SELECT count(*), coalesce(sum(num_bytes), 0) FROM futures WHERE tenant = ? AND state = 'waiting'",
        (one.tenant,),
    ).fetchone()
    if waiting >= bounds.futures_waiting or size + len(one.question) > max(
        bounds.question_bytes_waiting, len(one.question)
    ):
        raise Declined(
            "crowded",
            f"{waiting} futures of this tenant ({size} bytes) wait, the most; ask again when some have ended",
            2,
        )
    unfetched = db.execute(
        "SELECT coalesce(sum(answer_bytes), 0) FROM futures "
        "WHERE tenant = ? AND fetched_ms IS NULL AND state <> 'waiting'",
        (one.tenant,),
    ).fetchone()[0]
    if unfetched >= bounds.answer_bytes:
        raise Declined(
            "crowded",
            f"{unfetched} bytes of answers to this tenant were not fetched; fetch them (retrieve_future)",
            10,
        )
    name = secrets.token_urlsafe(18)
    db.execute(
        "INSERT INTO futures (id, tenant, session, kind, place, seq, digest, question, num_bytes, state, made_ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting', ?)",
        (
            *(name, one.tenant, one.session, one.kind, one.place, one.seq, one.digest),
            *(one.question, len(one.question), now_ms),
        ),
    )
    return name


def end(db: sqlite3.Connection, place: str, one: Ending, now_ms: int) -> str | None:
    """Its id, if it waited; what is needed again stays, the rest of the question goes."""
    # Never one that was given before, though the rows that had it are gone: clients wait for what comes after it.
    number = db.execute(
        "INSERT INTO counters (name, last) VALUES ('ended', 1) "
        "ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last"
    )
    row = db.execute(
        "UPDATE futures SET state = ?, answer = ?, answer_bytes = ?, blame = ?, again = ?, number = ?, "
        "ended_ms = ?, question = CASE WHEN ? THEN question ELSE NULL END "
        "WHERE place = ? AND seq = ? AND state = 'waiting' RETURNING id",
        (
            *("done" if one.is_done else "failed", one.answer, len(one.answer), one.blame),
            *(int(one.again), number.fetchone()[0], now_ms, int(one.again), place, one.seq),
        ),
    ).fetchone()
    return None if row is None else str(row["id"])


@dataclass(frozen=True, eq=False)
class Told:
    """A future as its owner sees it."""

    id: str
    kind: str
    place: str
    state: str
    answer: bytes | None
    """What came of it; a sentence, where it failed."""
    blame: str | None


def found(db: sqlite3.Connection, tenant: str, name: str) -> Told:
    """A tenant's own, with its answer if it has ended.

    Raises:
        Declined: it is not there, or gone.
    """
    row = db.execute(
        "SELECT id, kind, place, state, answer, blame FROM futures WHERE id = ? AND tenant = ?",
        (name, tenant),
    ).fetchone()
    if row is None or row["state"] == "gone":
        # An unknown one may be one that is long gone: the client then makes its call again, which is what it must do.
        raise Declined("gone", f"the future {name[:80]!r} is gone; make the call again")
    return Told(*row)


def fetched(db: sqlite3.Connection, names: Sequence[str], now_ms: int) -> None:
    """Their answers have been sent."""
    db.executemany(
        "UPDATE futures SET fetched_ms = ? WHERE id = ? AND fetched_ms IS NULL AND state <> 'waiting'",
        [(now_ms, each) for each in names],
    )


def let_go(db: sqlite3.Connection, tenant: str, names: Sequence[str], now_ms: int) -> None:
    """Their owner has them: the next sweep takes them."""
    db.executemany(
        "UPDATE futures SET fetched_ms = 0 WHERE id = ? AND tenant = ? AND state <> 'waiting'",
        [(each, tenant) for each in names],
    )


def cancel(db: sqlite3.Connection, tenant: str, name: str, now_ms: int) -> bool:
    """Whether a sample was cancelled; training operations are done in their order, whatever comes.

    Raises:
        Declined: it is not there.
    """
    row = db.execute(
        "SELECT place, seq, kind, state FROM futures WHERE id = ? AND tenant = ?", (name, tenant)
    ).fetchone()
    if row is None:
        raise not_there("the future", name)
    if row["kind"] != "sample" or row["state"] != "waiting":
        return False
    told = Ending(row["seq"], b"cancelled by whoever asked", is_done=False, blame="user")
    return end(db, row["place"], told, now_ms) is not None


def ended_since(
    db: sqlite3.Connection, place: str, seqs: tuple[int, int], number: int, limit: int
) -> list[sqlite3.Row]:
    """Those of one client of a sampler that ended after `number` ended, in that order. seqs: from, and below."""
    return db.execute(
        "SELECT id, state, answer_bytes, number FROM futures WHERE place = ? AND number > ? AND seq >= ? AND seq < ? "
        "AND state IN ('done', 'failed') ORDER BY number LIMIT ?",
        (place, number, *seqs, limit),
    ).fetchall()


def queue_of(db: sqlite3.Connection, place: str, limit: int) -> list[Queued]:
    """What waits of a model, by its numbers."""
    rows = db.execute(
        "SELECT seq, kind, num_bytes FROM futures WHERE place = ? AND state = 'waiting' ORDER BY seq LIMIT ?",
        (place, limit),
    )
    return [Queued(row["seq"], row["kind"], row["num_bytes"]) for row in rows]


def questions(db: sqlite3.Connection, place: str, seqs: Sequence[int]) -> list[bytes]:
    """What was asked under these numbers."""
    return [
        db.execute(
            "SELECT question FROM futures WHERE place = ? AND seq = ?", (place, seq)
        ).fetchone()["question"]
        for seq in seqs
    ]


def to_do_again(db: sqlite3.Connection, place: str, seqs: tuple[int, int]) -> list[Queued]:
    """Operations that changed a model's state. seqs: from, and below."""
    rows = db.execute(
        "SELECT seq, kind, num_bytes FROM futures WHERE place = ? AND seq >= ? AND seq < ? AND again ORDER BY seq",
        (place, *seqs),
    )
    return [Queued(row["seq"], row["kind"], row["num_bytes"]) for row in rows]


def never_again(db: sqlite3.Connection, places: Sequence[str]) -> None:
    """These models have ended: what was asked of them need not be kept, and the next sweep takes the rows."""
    db.executemany(
        "UPDATE futures SET question = NULL, again = 0 WHERE place = ? AND again",
        [(each,) for each in places],
    )


def samples_waiting(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Tenant and id of each, oldest first."""
    rows = db.execute(
        "SELECT tenant, id FROM futures WHERE state = 'waiting' AND kind = 'sample' ORDER BY rowid"
    )
    return [(row["tenant"], row["id"]) for row in rows]


def sweep(db: sqlite3.Connection, bounds: Bounds, now_ms: int) -> int:
    """Answers whose time is over go. Rows that a model is made again from stay without their answer."""
    old = "state IN ('done', 'failed', 'gone') AND (fetched_ms < ? OR (fetched_ms IS NULL AND ended_ms < ?))"
    at = (now_ms - bounds.fetched_ms, now_ms - bounds.unfetched_ms)
    count = db.execute(f"DELETE FROM futures WHERE {old} AND NOT again", at).rowcount  # noqa: S608
    count += db.execute(
        f"UPDATE futures SET state = 'gone', answer = NULL, answer_bytes = 0 WHERE {old} AND state <> 'gone'",  # noqa: S608
        at,
    ).rowcount
    return count


def answers(db: sqlite3.Connection, place: str, seqs: Sequence[int]) -> list[bytes | None]:
    """What was told under these numbers, where it is still known."""
    return [
        db.execute(
            "SELECT answer FROM futures WHERE place = ? AND seq = ?", (place, seq)
        ).fetchone()["answer"]
        for seq in seqs
    ]


def known_to(db: sqlite3.Connection, one: Asking) -> str | None:
    """As `known`, for looking, before anybody knows whose place it is: another's was never asked. Raises Declined."""
    row = db.execute(
        "SELECT state FROM futures WHERE place = ? AND seq = ? AND tenant = ?",
        (one.place, one.seq, one.tenant),
    ).fetchone()
    return None if row is None else known(db, one)


def at_once(db: sqlite3.Connection, one: Asking, ended: Ending, bounds: Bounds, now_ms: int) -> str:
    """A promise that is kept with it. Raises Declined."""
    name = known(db, one)
    if name is None:
        name = promise(db, one, bounds, now_ms)
        end(db, one.place, ended, now_ms)
    return name
