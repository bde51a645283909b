"""What is written when operations of a model have ended: acts on the journal, each one transaction.

Law: an outcome, the model's next number and what must be done again after a kill are written together or not at all.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from archipel.door import checkpoints, futures, models, samplers
from archipel.door.bounds import Bounds
from archipel.door.checkpoints import Saving
from archipel.door.futures import Ending
from archipel.door.ordering import Queued
from archipel.door.packed import outcome_bytes, pack
from archipel.training.tenants.operations import Outcome, Refused, Scored, Stepped


@dataclass(frozen=True)
class Ended:
    """What became of some operations."""

    futures: tuple[str, ...]
    """Ids of those that ended."""
    steps: int = 0
    """Of the optimiser, since the model was kept."""
    num_bytes: int = 0
    """Of operations, since then."""
    must_go_back: bool = False
    """The hands did operations that do not count: the model is made again from what was kept."""


@dataclass(frozen=True)
class Sampler:
    """The sampling session that unnamed weights are for."""

    session: str
    number: int


def _written(
    db: sqlite3.Connection, model: str, endings: Sequence[Ending], now_ms: int
) -> tuple[str, ...]:
    ended = [futures.end(db, model, each, now_ms) for each in endings]
    if endings:
        db.execute("UPDATE models SET next_seq = ? WHERE id = ?", (endings[-1].seq + 1, model))
    return tuple(each for each in ended if each is not None)


def trained(
    db: sqlite3.Connection,
    model: str,
    queued: Sequence[Queued],
    outcomes: Sequence[Outcome],
    now_ms: int,
) -> Ended:
    """A turn has ended; what stands behind a refused operation does not count."""
    endings: list[Ending] = []
    broken, must_go_back, steps, size = "", False, 0, 0
    for each, outcome in zip(queued, outcomes, strict=True):
        changes = each.kind != "forward" and not isinstance(outcome, Refused)
        if broken:
            must_go_back |= changes
            endings.append(_behind(each.seq, broken))
        elif isinstance(outcome, Refused):
            endings.append(_failed(each.seq, outcome.reason))
            if each.kind != "forward":
                broken = f"operation {each.seq} was refused: {outcome.reason}"
        else:
            endings.append(Ending(each.seq, outcome_bytes(outcome), again=changes))
            steps += isinstance(outcome, Stepped)
            size += each.num_bytes if changes and isinstance(outcome, Scored) else 0
    ended = _written(db, model, endings, now_ms)
    if broken:
        models.is_broken(db, model, broken)
    row = db.execute(
        "UPDATE models SET steps = steps + ?, bytes = bytes + ? WHERE id = ? RETURNING steps, bytes",
        (steps, size, model),
    ).fetchone()
    return Ended(ended, row["steps"], row["bytes"], must_go_back)


def behind(
    db: sqlite3.Connection, model: str, queued: Sequence[Queued], broken: str, now_ms: int
) -> Ended:
    """Training operations of a model one of whose operations was refused."""
    endings = [_behind(each.seq, broken) for each in queued]
    return Ended(_written(db, model, endings, now_ms))


def failed(  # noqa: PLR0913  one transaction
    db: sqlite3.Connection,
    model: str,
    seq: int,
    sentence: str,
    blame: str,
    breaks: bool,
    now_ms: int,
) -> Ended:
    """One operation could not be done. breaks: no training operation is done of the model after it."""
    if breaks:
        models.is_broken(db, model, f"operation {seq} was not done: {sentence}")
    return Ended(_written(db, model, [_failed(seq, sentence, blame)], now_ms))


def made(db: sqlite3.Connection, model: str, seq: int, now_ms: int) -> Ended:
    """A model is there."""
    return Ended(_written(db, model, [Ending(seq, pack({"model": model}))], now_ms))


def loaded(
    db: sqlite3.Connection, model: str, seq: int, path: str, folder: str, now_ms: int
) -> Ended:
    """A checkpoint's weights are the model's; its state lies in this folder."""
    ended = _written(db, model, [Ending(seq, pack({"model": model, "path": path}))], now_ms)
    models.kept(db, model, seq + 1, folder)
    db.execute("UPDATE models SET broken = NULL WHERE id = ?", (model,))
    return Ended(ended)


def saved(  # noqa: PLR0913  one transaction
    db: sqlite3.Connection,
    one: Saving,
    seq: int,
    overwrite: bool,
    sampler: Sampler | None,
    bounds: Bounds,
    now_ms: int,
) -> Ended:
    """A checkpoint lies in its folder; where that holds all of the state, the model is kept by it."""
    why = checkpoints.put(db, one, overwrite=overwrite, bounds=bounds, now_ms=now_ms)
    if why is not None:
        return Ended(_written(db, one.model, [_failed(seq, why)], now_ms))
    path = f"{checkpoints.SCHEME}{one.model}/{one.kind}/{one.name}"
    said: dict[str, str | int] = {"path": path, "num_bytes": one.num_bytes}
    if sampler is not None:
        base = db.execute("SELECT base FROM models WHERE id = ?", (one.model,)).fetchone()["base"]
        at = (sampler.session, sampler.number)
        name = samplers.make(db, one.tenant, at, base, one.id, bounds, now_ms)
        said = {"sampling_session": name}
    ended = _written(db, one.model, [Ending(seq, pack(said))], now_ms)
    if one.kind == "weights":
        models.kept(db, one.model, seq + 1, one.folder)
    return Ended(ended)


def never_came(db: sqlite3.Connection, before_ms: int, now_ms: int) -> list[str]:
    """Operations that wait since before that for one that does not come end as failed; ids of their futures."""
    rows = db.execute(
        "SELECT place, min(seq) AS least, max(futures.made_ms) AS last, next_seq FROM futures JOIN models "
        "ON models.id = futures.place WHERE state = 'waiting' GROUP BY place HAVING least > next_seq AND last < ?",
        (before_ms,),
    ).fetchall()
    ended = []
    for row in rows:
        waiting = futures.queue_of(db, row["place"], 1 << 20)
        for each in waiting:
            sentence = (
                f"operation {row['next_seq']} of this model never came, so {each.seq} was not done"
            )
            ended.append(futures.end(db, row["place"], _failed(each.seq, sentence), now_ms))
    return [each for each in ended if each is not None]


def _failed(seq: int, sentence: str, blame: str = "user") -> Ending:
    return Ending(seq, sentence.encode(), is_done=False, blame=blame)


def _behind(seq: int, broken: str) -> Ending:
    return _failed(
        seq,
        f"not done, because {broken}; the model is as it was before that: save it, or load a checkpoint into it",
    )
