"""`archipel door status`, `archipel door list`: what a door's folder says, whether it runs or not."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from archipel.cli.door_folder import FOLDER
from archipel.cli.doors import Mendable, home_folder, printable, show
from archipel.cli.lab_door import JSON
from archipel.plurals import counted

MAX_ROWS = 200


def _journal(folder: Path | None) -> sqlite3.Connection:
    from archipel.door.journal import FILE

    path = home_folder("door", folder, make=False) / FILE
    if not path.exists():
        raise Mendable(f"no door was opened in {path.parent}; `archipel door start` opens one")
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    return db


@click.command()
@FOLDER
@JSON
def status(folder: Path | None, as_json: bool) -> None:
    """What waits, what is kept: sums over all tenants, from the door's own journal.

    \b
    Examples:
      archipel door status
      archipel door status --json
    """
    with closing(_journal(folder)) as db:
        found = {
            "sessions": _count(db, "sessions WHERE ended_ms IS NULL"),
            "models": _count(db, "models WHERE ended_ms IS NULL"),
            "models_broken": _count(db, "models WHERE ended_ms IS NULL AND broken IS NOT NULL"),
            "operations_waiting": _count(
                db, "futures WHERE state = 'waiting' AND kind <> 'sample'"
            ),
            "samples_waiting": _count(db, "futures WHERE state = 'waiting' AND kind = 'sample'"),
            "answers_unfetched": _count(
                db, "futures WHERE state <> 'waiting' AND fetched_ms IS NULL"
            ),
            "checkpoints": _count(db, "checkpoints"),
            "sequences": _count(db, "sequences"),
        }
    show(
        found, as_json, lambda: "\n".join(f"{n.replace('_', ' '):20} {v}" for n, v in found.items())
    )


@click.command("list")
@FOLDER
@JSON
def list_(folder: Path | None, as_json: bool) -> None:
    """Models that are open, the last asked first: base, operations done and waiting.

    \b
    Example:
      archipel door list
    """
    with closing(_journal(folder)) as db:
        rows = db.execute(
            "SELECT id, base, next_seq, asked_ms, broken, (SELECT count(*) FROM futures WHERE place = models.id "
            "AND state = 'waiting') AS waiting FROM models WHERE ended_ms IS NULL ORDER BY asked_ms DESC LIMIT ?",
            (MAX_ROWS,),
        )
        found = [dict(row) for row in rows]
    show(found, as_json, lambda: printable("\n".join(map(_line, found)) or "no models are open"))


def _line(row: dict[str, Any]) -> str:
    broken = f"; broken: {row['broken']}" if row["broken"] else ""
    done = counted(max(row["next_seq"] - 1, 0), "operation")
    return f"{row['id']}  {row['base']}  {done} done, {row['waiting']} waiting{broken}"


def _count(db: sqlite3.Connection, what: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])  # noqa: S608  our own words
