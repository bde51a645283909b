"""Models: a tenant's adapter, the operations asked of it, and where the newest whole copy of its state lies.

Acts on the journal. The first operation (number 0) makes it, from nothing or from a checkpoint. Law: what a model's state
is, is told by `kept_folder` and the operations from `kept_seq` on; after a refused training operation no other is done
until weights are loaded, for its step would lack a part.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archipel.door import futures, sessions
from archipel.door.bounds import Bounds
from archipel.door.hands import ModelForm
from archipel.door.refusals import Declined, not_there
from archipel.records.adapter import AdapterForm


@dataclass(frozen=True)
class Making:
    """A model that is about to be there."""

    session: str
    number: int
    form: ModelForm
    about: Mapping[str, Any]


def make(db: sqlite3.Connection, tenant: str, one: Making, bounds: Bounds, now_ms: int) -> str:
    """Its id; the same for the same session and number.

    Raises:
        Declined: the session is not there or has ended; too many.
    """
    name = f"{one.session}:train:{one.number}"
    sessions.alive(db, tenant, one.session)
    if db.execute("SELECT id FROM models WHERE id = ?", (name,)).fetchone() is not None:
        return name
    alive = db.execute(
        "SELECT count(*) FROM models WHERE tenant = ? AND ended_ms IS NULL", (tenant,)
    ).fetchone()[0]
    if alive >= bounds.models:
        raise Declined(
            "crowded",
            f"{alive} models of this tenant are open, the most; finish a session first",
            60,
        )
    db.execute(
        "INSERT INTO models VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, 0, 0, NULL, 0, 0)",
        (
            *(name, tenant, one.session, one.number, one.form.base),
            *(one.form.form.model_dump_json(), one.form.seed, json.dumps(dict(one.about))),
            *(now_ms, now_ms),
        ),
    )
    return name


def found(db: sqlite3.Connection, tenant: str, model: str) -> sqlite3.Row:
    """A tenant's own, ended or not. Raises Declined."""
    row = db.execute("SELECT * FROM models WHERE id = ? AND tenant = ?", (model, tenant)).fetchone()
    if row is None:
        raise not_there("the model", model)
    return row  # type: ignore[no-any-return]  # the row factory's


def alive(db: sqlite3.Connection, tenant: str, model: str) -> sqlite3.Row:
    """A tenant's own whose session has not ended. Raises Declined."""
    row = found(db, tenant, model)
    if row["ended_ms"] is not None:
        raise Declined(
            "impossible", "this model ended with its session; load a checkpoint into a new one"
        )
    return row


def of(db: sqlite3.Connection, model: str) -> sqlite3.Row | None:
    """One that has not ended, whoever's it is."""
    rows = db.execute("SELECT * FROM models WHERE id = ? AND ended_ms IS NULL", (model,))
    return rows.fetchone()  # type: ignore[no-any-return]  # the row factory's


def form_of(row: sqlite3.Row) -> ModelForm:
    """A model's, as it was made."""
    return ModelForm(row["base"], AdapterForm.model_validate_json(row["form"]), row["seed"])


def is_broken(db: sqlite3.Connection, model: str, why: str) -> None:
    """No training operation is done of it from now on."""
    db.execute("UPDATE models SET broken = ? WHERE id = ?", (why[:400], model))


def kept(db: sqlite3.Connection, model: str, seq: int, folder: str) -> None:
    """Its state before operation `seq` lies in this folder: what led there need not be done again.

    Nothing, where its session has ended meanwhile.
    """
    changed = db.execute(
        "UPDATE models SET kept_seq = ?, kept_folder = ?, steps = 0, bytes = 0 "
        "WHERE id = ? AND ended_ms IS NULL",
        (seq, folder, model),
    ).rowcount
    if changed:
        db.execute(
            "UPDATE futures SET question = NULL, again = 0 WHERE place = ? AND seq < ? AND state <> 'waiting'",
            (model, seq),
        )


def to_resume(db: sqlite3.Connection) -> list[str]:
    """Those with operations that wait."""
    rows = db.execute(
        "SELECT DISTINCT place FROM futures JOIN models ON models.id = futures.place "
        "WHERE state = 'waiting' AND models.ended_ms IS NULL"
    )
    return [str(row[0]) for row in rows]


def listed(
    db: sqlite3.Connection, tenant: str, limit: int, offset: int
) -> tuple[list[sqlite3.Row], int]:
    """A tenant's, newest first, and how many there are in all."""
    count = db.execute("SELECT count(*) FROM models WHERE tenant = ?", (tenant,)).fetchone()[0]
    rows = db.execute(
        "SELECT * FROM models WHERE tenant = ? ORDER BY made_ms DESC, id LIMIT ? OFFSET ?",
        (tenant, limit, offset),
    )
    return rows.fetchall(), int(count)


def end(db: sqlite3.Connection, model: str, now_ms: int) -> list[str]:
    """It was unloaded: what waits of it is gone; the ids of those futures."""
    db.execute(
        "UPDATE models SET ended_ms = ?, kept_folder = NULL WHERE id = ? AND ended_ms IS NULL",
        (now_ms, model),
    )
    ended = db.execute(
        "UPDATE futures SET state = 'gone', question = NULL, ended_ms = ?, fetched_ms = ? "
        "WHERE place = ? AND state = 'waiting' RETURNING id",
        (now_ms, now_ms, model),
    ).fetchall()
    futures.never_again(db, [model])
    return [str(row[0]) for row in ended]


def form_of_checkpoint(row: sqlite3.Row) -> ModelForm:
    """Of a model that is made from it."""
    return ModelForm(row["base"], AdapterForm.model_validate_json(row["form"]), 0)
