"""From a question to a promise: acts on the journal that take what is asked of a model or a sampler, once for each number."""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from archipel.door import futures, models, recorded, samplers
from archipel.door.bounds import Bounds
from archipel.door.futures import Asking
from archipel.door.models import Making
from archipel.door.ordering import where
from archipel.door.refusals import Declined


@dataclass(frozen=True)
class Promised:
    """It is on the disk."""

    future: str
    is_new: bool
    """Not: the same was asked before, and this is the promise that was given then."""
    place: str
    question: bytes = field(default=b"", repr=False)
    """Of a sample: as it was written the first time, with the ids of its sequences."""


def of_model(
    db: sqlite3.Connection, one: Asking, used: Collection[str], bounds: Bounds, now_ms: int
) -> Promised:
    """An operation of a model that is there. used: records that its numbers came from.

    Raises:
        Declined: see `models.alive` and `futures`; its number was done long ago, or is too far ahead.
    """
    row = models.alive(db, one.tenant, one.place)
    one = replace(one, session=row["session"])
    known = futures.known(db, one)
    if known is not None:
        return Promised(known, False, one.place)
    standing = where(one.seq, row["next_seq"], bounds.seqs_ahead)
    if standing == "done":
        raise Declined(
            "impossible",
            f"operation {one.seq} of this model was done, and its answer is no longer kept; go on with {row['next_seq']}",
        )
    if standing == "too_far":
        raise Declined(
            "impossible",
            f"operation {one.seq}, and {row['next_seq']} is the next to be done; at most {bounds.seqs_ahead} ahead",
        )
    future = futures.promise(db, one, bounds, now_ms)
    db.execute("UPDATE models SET asked_ms = ? WHERE id = ?", (now_ms, one.place))
    recorded.renew(db, one.tenant, used, bounds, now_ms)
    return Promised(future, True, one.place)


def of_new_model(
    db: sqlite3.Connection, making: Making, one: Asking, bounds: Bounds, now_ms: int
) -> Promised:
    """The first operation of a model, which makes it. Raises Declined."""
    model = models.make(db, one.tenant, making, bounds, now_ms)
    return of_model(db, replace(one, place=model), (), bounds, now_ms)


def of_sampler(db: sqlite3.Connection, one: Asking, bounds: Bounds, now_ms: int) -> Promised:
    """A sample. Raises Declined."""
    if one.session:  # else the weights were named in the question itself
        one = replace(one, session=samplers.found(db, one.tenant, one.place)["session"])
    known = futures.known(db, one)
    if known is not None:
        row = db.execute("SELECT question, answer FROM futures WHERE id = ?", (known,)).fetchone()
        return Promised(known, False, one.place, row["question"] or row["answer"])
    future = futures.promise(db, one, bounds, now_ms)
    return Promised(future, True, one.place, one.question)
