"""Checkpoints: what was saved of a model, under names that clients give.

Acts on the journal. `weights` has everything training needs, `sampler_weights` and
`external_weights` the adapter alone, to sample from or to take away. Laws: a name is never
a path of the disk, each checkpoint's folder has an id of ours; a folder goes when no row names it any more.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from archipel.door.bounds import Bounds
from archipel.door.refusals import Declined, not_there

Saved = Literal["weights", "sampler_weights", "external_weights"]
SCHEME = "tinker://"


@dataclass(frozen=True)
class Saving:
    """A checkpoint that is about to be there."""

    id: str
    tenant: str
    model: str
    kind: Saved
    name: str
    folder: str
    num_bytes: int
    about: Mapping[str, Any]
    expires_ms: int | None
    session: str | None = None
    """Of one without a name of its own: it ends with this session."""


def path_of(row: sqlite3.Row) -> str:
    """What clients call it."""
    return f"{SCHEME}{row['model']}/{row['kind']}/{row['name']}"


def put(
    db: sqlite3.Connection, one: Saving, *, overwrite: bool, bounds: Bounds, now_ms: int
) -> str | None:
    """It is there now; why not, where it may not be."""
    taken = db.execute(
        "SELECT id FROM checkpoints WHERE model = ? AND kind = ? AND name = ?",
        (one.model, one.kind, one.name),
    ).fetchone()
    if taken is not None and not overwrite:
        return f"{one.kind}/{one.name} of this model is there already; save under another name, or overwrite"
    replaced = None if taken is None else taken["id"]
    held, size = db.execute(
        "SELECT count(*), coalesce(sum(num_bytes), 0) FROM checkpoints WHERE tenant = ? AND id IS NOT ?",
        (one.tenant, replaced),
    ).fetchone()
    if held >= bounds.checkpoints or size + one.num_bytes > bounds.checkpoint_bytes:
        return (
            f"{held} checkpoints of this tenant ({size} bytes) are kept, and {one.num_bytes} bytes more are too many; "
            "delete some"
        )
    db.execute("DELETE FROM checkpoints WHERE id IS ?", (replaced,))
    model = db.execute("SELECT base, form FROM models WHERE id = ?", (one.model,)).fetchone()
    db.execute(
        "INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
        (
            *(one.id, one.tenant, one.model, one.kind, one.name, one.folder, one.num_bytes),
            *(model["base"], model["form"], json.dumps(dict(one.about))),
            *(now_ms, one.expires_ms, one.session),
        ),
    )
    return None


def by_path(
    db: sqlite3.Connection, tenant: str, at: tuple[str, str, str], now_ms: int
) -> sqlite3.Row:
    """A tenant's own, or a published one. at: model, kind and name. Raises Declined."""
    row = db.execute(
        "SELECT * FROM checkpoints WHERE model = ? AND kind = ? AND name = ?", at
    ).fetchone()
    return _theirs(row, tenant, f"{SCHEME}{'/'.join(at)}", now_ms)


def by_id(db: sqlite3.Connection, tenant: str, name: str, now_ms: int) -> sqlite3.Row:
    """As `by_path`. Raises Declined."""
    row = db.execute("SELECT * FROM checkpoints WHERE id = ?", (name,)).fetchone()
    return _theirs(row, tenant, "of these weights", now_ms)


def own(db: sqlite3.Connection, tenant: str, at: tuple[str, str, str], now_ms: int) -> sqlite3.Row:
    """A tenant's own. Raises Declined: it is not there, or only published."""
    row = by_path(db, tenant, at, now_ms)
    if row["tenant"] != tenant:
        raise not_there("the checkpoint", f"{SCHEME}{'/'.join(at)}")
    return row


def _theirs(row: sqlite3.Row | None, tenant: str, said: str, now_ms: int) -> sqlite3.Row:
    if row is None or not (row["tenant"] == tenant or row["is_public"]):
        raise not_there("the checkpoint", said)
    if row["expires_ms"] is not None and row["expires_ms"] <= now_ms:
        raise not_there("the checkpoint", said)
    return row


def delete(db: sqlite3.Connection, name: str) -> None:
    """It is gone for everybody."""
    db.execute("DELETE FROM checkpoints WHERE id = ?", (name,))


def publish(db: sqlite3.Connection, name: str, *, is_public: bool) -> None:
    """Whether others may read it."""
    db.execute("UPDATE checkpoints SET is_public = ? WHERE id = ?", (int(is_public), name))


def expire(db: sqlite3.Connection, name: str, expires_ms: int | None) -> None:
    """When it ends; None: never."""
    db.execute("UPDATE checkpoints SET expires_ms = ? WHERE id = ?", (expires_ms, name))


def listed(
    db: sqlite3.Connection, tenant: str, model: str | None, limit: int, offset: int
) -> tuple[list[sqlite3.Row], int]:
    """A tenant's own with names, newest first, and how many there are in all. model: of this one alone."""
    where, of = (
        "tenant = ? AND session IS NULL AND (? IS NULL OR model = ?)",
        (tenant, model, model),
    )
    count = db.execute(f"SELECT count(*) FROM checkpoints WHERE {where}", of).fetchone()[0]  # noqa: S608
    rows = db.execute(
        f"SELECT * FROM checkpoints WHERE {where} ORDER BY made_ms DESC, id LIMIT ? OFFSET ?",  # noqa: S608
        (*of, limit, offset),
    )
    return rows.fetchall(), int(count)


def sweep(db: sqlite3.Connection, now_ms: int) -> int:
    """Those whose time has come go, an hour of grace for what is being sampled."""
    return db.execute(
        "DELETE FROM checkpoints WHERE expires_ms IS NOT NULL AND expires_ms < ?",
        (now_ms - 3_600_000,),
    ).rowcount


def folders(db: sqlite3.Connection) -> set[str]:
    """All that some row names."""
    rows = db.execute(
        "SELECT folder FROM checkpoints UNION SELECT kept_folder FROM models WHERE kept_folder IS NOT NULL"
    )
    return {str(row[0]) for row in rows}


def refused_kind(row: sqlite3.Row, kind: Saved, what_for: str) -> None:
    """Raises Declined: this checkpoint is of the other kind."""
    if row["kind"] != kind:
        raise Declined(
            "impossible",
            f"{path_of(row)} is not for {what_for}; name one of {SCHEME}MODEL/{kind}/NAME",
        )
