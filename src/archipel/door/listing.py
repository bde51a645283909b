"""Rows of the journal as rows that clients list; acts that read."""

import json
import sqlite3
from collections.abc import Mapping

from archipel.door import checkpoints, sessions
from archipel.door.wire import listings as there
from archipel.door.wire.paths import read_path
from archipel.records.adapter import AdapterForm


def checkpoint_of(row: sqlite3.Row) -> there.Checkpoint:
    """One with its path."""
    expires_ms = row["expires_ms"]
    return there.Checkpoint(
        read_path(checkpoints.path_of(row)),
        row["made_ms"] / 1000,
        row["num_bytes"],
        bool(row["is_public"]),
        None if expires_ms is None else expires_ms / 1000,
        json.loads(row["about"]) or None,
    )


def run_of(db: sqlite3.Connection, row: sqlite3.Row, owner: str) -> there.TrainingRun:
    """A model, with the newest of its checkpoints."""
    return there.TrainingRun(
        model=row["id"],
        base=row["base"],
        owner=owner,
        rank=AdapterForm.model_validate_json(row["form"]).rank,
        asked_s=row["asked_ms"] / 1000,
        is_broken=row["broken"] is not None,
        last_training=_newest(db, row["id"], "weights"),
        last_sampler=_newest(db, row["id"], "sampler_weights"),
        metadata=json.loads(row["about"]) or None,
    )


def session_of(db: sqlite3.Connection, row: sqlite3.Row, owner: str) -> there.Session:
    """A session, with what was made in it."""
    name, about = row["id"], json.loads(row["about"])
    models = db.execute("SELECT id FROM models WHERE session = ? ORDER BY number", (name,))
    samplers = db.execute("SELECT id FROM samplers WHERE session = ? ORDER BY number", (name,))
    held = db.execute(
        "SELECT count(*) FROM checkpoints JOIN models ON models.id = checkpoints.model WHERE models.session = ?",
        (name,),
    ).fetchone()
    return there.Session(
        session=name,
        begun_s=row["made_ms"] / 1000,
        owner=owner,
        models=[each[0] for each in models],
        samplers=[each[0] for each in samplers],
        num_checkpoints=held[0],
        finished=row["why"] if row["why"] in ("success", "errored", "interrupted") else None,
        is_alive=row["ended_ms"] is None,
        display_name=about.get("name"),
        metadata=about.get("metadata"),
    )


def sessions_like(
    db: sqlite3.Connection,
    tenant: str,
    owner: str,
    like: tuple[str | None, str | None, Mapping[str, str]],
    limit: int,
) -> list[there.Session]:
    """Newest first. like: an id, words of the name, metadata; what is None or empty is not asked."""
    name, words, metadata = like
    found = []
    offset = 0
    while page := sessions.listed(db, tenant, 200, offset):
        offset += len(page)
        for row in page:
            about = json.loads(row["about"])
            said = (about.get("metadata") or {}).items()
            is_named = words is None or words.lower() in str(about.get("name") or "").lower()
            if name in (None, row["id"]) and is_named and metadata.items() <= said:
                found.append(session_of(db, row, owner))
        if len(found) >= limit:
            break
    return found[:limit]


def _newest(db: sqlite3.Connection, model: str, kind: str) -> there.Checkpoint | None:
    row = db.execute(
        "SELECT * FROM checkpoints WHERE model = ? AND kind = ? AND session IS NULL ORDER BY made_ms DESC LIMIT 1",
        (model, kind),
    ).fetchone()
    return None if row is None else checkpoint_of(row)
