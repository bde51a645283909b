"""Samplers (sampling sessions): what weights a session samples from, fixed when it is made.

Acts on the journal. Law: weights of another tenant are sampled only if they were published.
"""

import sqlite3

from archipel.door import checkpoints, sessions
from archipel.door.bounds import Bounds
from archipel.door.refusals import Declined, not_there

CLONED = 1_000_000_000
"""Numbers of samples of one client of a sampler; the next client's begin behind them."""


def make(  # noqa: PLR0913  the columns of its table
    db: sqlite3.Connection,
    tenant: str,
    at: tuple[str, int],
    base: str,
    checkpoint: str | None,
    bounds: Bounds,
    now_ms: int,
) -> str:
    """Its id; the same for the same session and number. at: session and number; checkpoint: id of what may be sampled.

    Raises:
        Declined: the session is not there or has ended, or has too many; this number has other weights.
    """
    session, number = at
    sessions.alive(db, tenant, session)
    name = f"{session}:sample:{number}"
    row = db.execute("SELECT * FROM samplers WHERE id = ?", (name,)).fetchone()
    if row is not None:
        if (row["base"], row["checkpoint"]) != (base, checkpoint):
            raise Declined(
                "impossible", f"sampling session {number} of this session has other weights already"
            )
        return name
    held = db.execute("SELECT count(*) FROM samplers WHERE session = ?", (session,)).fetchone()[0]
    if held >= bounds.samplers:
        raise Declined(
            "crowded", f"{held} sampling sessions in one session, the most; open another"
        )
    db.execute(
        "INSERT INTO samplers VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
        (name, tenant, session, number, base, checkpoint, now_ms),
    )
    return name


def found(db: sqlite3.Connection, tenant: str, sampler: str) -> sqlite3.Row:
    """A tenant's own. Raises Declined."""
    row = db.execute(
        "SELECT * FROM samplers WHERE id = ? AND tenant = ?", (sampler, tenant)
    ).fetchone()
    if row is None:
        raise not_there("the sampling session", sampler)
    return row  # type: ignore[no-any-return]  # the row factory's


def weights(db: sqlite3.Connection, row: sqlite3.Row, now_ms: int) -> sqlite3.Row | None:
    """The checkpoint it samples from; None: the base alone. Raises Declined: it is gone, or no longer public."""
    if row["checkpoint"] is None:
        return None
    return checkpoints.by_id(db, row["tenant"], row["checkpoint"], now_ms)


def joined(db: sqlite3.Connection, tenant: str, sampler: str) -> int:
    """The number of one more client of it, from 1. Raises Declined."""
    found(db, tenant, sampler)
    db.execute("UPDATE samplers SET clients = clients + 1 WHERE id = ?", (sampler,))
    return int(found(db, tenant, sampler)["clients"])
