"""Sessions: what a client opens first, and keeps alive by a word every few seconds.

Acts on the journal. Law: a session that ended takes its models and samplers with it; its checkpoints stay.
"""

import json
import secrets
import sqlite3
from collections.abc import Mapping
from typing import Any

from archipel.door import futures
from archipel.door.bounds import Bounds
from archipel.door.refusals import Declined, not_there

SWEPT = 1000
"""Sessions that go in one act."""


def make(  # noqa: PLR0913  the columns of its table
    db: sqlite3.Connection,
    tenant: str,
    about: Mapping[str, Any],
    sdk: str,
    idem: str | None,
    bounds: Bounds,
    now_ms: int,
) -> str:
    """A new one's id; the same for the same idempotency key.

    Raises:
        Declined: too many.
    """
    found = db.execute(
        "SELECT id FROM sessions WHERE tenant = ? AND idem IS NOT NULL AND idem = ?", (tenant, idem)
    ).fetchone()
    if found is not None:
        return str(found["id"])
    alive = db.execute(
        "SELECT count(*) FROM sessions WHERE tenant = ? AND ended_ms IS NULL", (tenant,)
    ).fetchone()[0]
    if alive >= bounds.sessions:
        raise Declined(
            "crowded",
            f"{alive} sessions of this tenant are open, the most; finish some, or let them end",
            60,
        )
    name = secrets.token_hex(16)
    db.execute(
        "INSERT INTO sessions (id, tenant, idem, about, sdk, made_ms, seen_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (name, tenant, idem, json.dumps(dict(about)), sdk, now_ms, now_ms),
    )
    return name


def found(db: sqlite3.Connection, tenant: str, session: str) -> sqlite3.Row:
    """A tenant's own, ended or not. Raises Declined."""
    row = db.execute(
        "SELECT * FROM sessions WHERE id = ? AND tenant = ?", (session, tenant)
    ).fetchone()
    if row is None:
        raise not_there("the session", session)
    return row  # type: ignore[no-any-return]  # the row factory's


def alive(db: sqlite3.Connection, tenant: str, session: str) -> sqlite3.Row:
    """A tenant's own that has not ended. Raises Declined."""
    row = found(db, tenant, session)
    if row["ended_ms"] is not None:
        raise Declined("gone", f"this session has ended ({row['why']}); open another")
    return row


def beat(db: sqlite3.Connection, tenant: str, session: str, now_ms: int) -> None:
    """It is alive. Raises Declined: it has ended, or is not there."""
    alive(db, tenant, session)
    db.execute("UPDATE sessions SET seen_ms = ? WHERE id = ?", (now_ms, session))


def end(db: sqlite3.Connection, session: str, why: str, now_ms: int) -> tuple[list[str], list[str]]:
    """It ends now, if it has not; its models and the futures that waited, which end as well."""
    changed = db.execute(
        "UPDATE sessions SET ended_ms = ?, why = ? WHERE id = ? AND ended_ms IS NULL",
        (now_ms, why[:200], session),
    ).rowcount
    if not changed:
        return [], []
    models = [
        str(row["id"])
        for row in db.execute(
            "SELECT id FROM models WHERE session = ? AND ended_ms IS NULL", (session,)
        )
    ]
    db.execute(
        "UPDATE models SET ended_ms = ?, kept_folder = NULL WHERE session = ? AND ended_ms IS NULL",
        (now_ms, session),
    )
    ended = db.execute(
        "UPDATE futures SET state = 'gone', question = NULL, answer = NULL, answer_bytes = 0, ended_ms = ?, "
        "fetched_ms = ? WHERE session = ? AND state = 'waiting' RETURNING id",
        (now_ms, now_ms, session),
    ).fetchall()
    futures.never_again(db, models)
    db.execute(
        "UPDATE checkpoints SET expires_ms = ? WHERE session = ? AND expires_ms IS NULL",
        (now_ms, session),
    )
    return models, [str(row[0]) for row in ended]


def sweep(db: sqlite3.Connection, bounds: Bounds, now_ms: int) -> int:
    """Of a tenant with too many that ended the oldest go, with their samplers and models, once nothing hangs on them.

    Nobody is asked who opens a session and ends it again, so their rows would fill the disk.
    """
    many = db.execute(
        "SELECT tenant, count(*) FROM sessions WHERE ended_ms IS NOT NULL GROUP BY tenant HAVING count(*) > ?",
        (bounds.ended_sessions,),
    ).fetchall()
    count = 0
    for tenant, held in many:
        rows = db.execute(
            "SELECT id FROM sessions WHERE tenant = ? AND ended_ms IS NOT NULL AND ended_ms < ? AND NOT EXISTS ("
            "SELECT 1 FROM models JOIN checkpoints ON checkpoints.model = models.id WHERE models.session = sessions.id) "
            "ORDER BY ended_ms LIMIT ?",
            (tenant, now_ms - bounds.fetched_ms, min(held - bounds.ended_sessions, SWEPT)),
        ).fetchall()
        gone = [(row[0],) for row in rows]
        for table in ("samplers", "models"):
            db.executemany(f"DELETE FROM {table} WHERE session = ?", gone)  # noqa: S608
        db.executemany("DELETE FROM sessions WHERE id = ?", gone)
        count += len(gone)
    return count


def silent(db: sqlite3.Connection, bounds: Bounds, now_ms: int) -> list[str]:
    """Those that were not heard of for too long."""
    rows = db.execute(
        "SELECT id FROM sessions WHERE ended_ms IS NULL AND seen_ms < ?",
        (now_ms - bounds.session_ms,),
    )
    return [str(row["id"]) for row in rows]


def heard_at_start(db: sqlite3.Connection, now_ms: int) -> None:
    """Nobody could be heard while the door was shut."""
    db.execute("UPDATE sessions SET seen_ms = ? WHERE ended_ms IS NULL", (now_ms,))


def listed(db: sqlite3.Connection, tenant: str, limit: int, offset: int) -> list[sqlite3.Row]:
    """A tenant's, newest first."""
    return db.execute(
        "SELECT * FROM sessions WHERE tenant = ? ORDER BY made_ms DESC, id LIMIT ? OFFSET ?",
        (tenant, limit, offset),
    ).fetchall()
