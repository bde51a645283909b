"""The fold once more, with what each entry moved: what a chronicle and a statement of an account are made of. Pure.

Law: it is the fold (`apply`) and nothing beside it; from the same state over the same entries it tells the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from archipel.lab.apply import apply, begun
from archipel.lab.entry import Entry
from archipel.lab.state import LabState
from archipel.market.journal import Posting, listening
from archipel.records.statements import Recorded


@dataclass(frozen=True, slots=True)
class Retold:
    """One entry, once it was folded."""

    number: int
    """Its position in the ledger."""
    at_ms: int
    statement: Recorded
    postings: tuple[Posting, ...]
    """Credits that it moved, in order."""


def retold(state: LabState, entry: Entry) -> tuple[LabState, Retold]:
    """The state after one more entry, and what to tell of it.

    Raises:
        Contradiction: it cannot follow.
    """
    heard: list[Posting] = []
    with listening(heard.append):
        after = apply(begun(state, entry.statement), entry.statement, entry.at_ms)
    return after, Retold(state.size, entry.at_ms, entry.statement, tuple(heard))


def retelling(state: LabState, entries: Iterable[Entry]) -> Iterator[tuple[LabState, Retold]]:
    """The same of each of these entries, of which the first is number `state.size`.

    Raises:
        Contradiction: one cannot follow.
    """
    for entry in entries:
        state, told = retold(state, entry)
        yield state, told
