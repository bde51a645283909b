"""Which of several labs writes to a log that they share: terms, and what a leader's beat shows. Pure.

Parts: `Leader` (of a term, as others see it), `check_term` (may this lab append?), `after_beat` (does it lead
still?), `Watch` (the port that followers look through). Law: whoever becomes the leader raises the term, and every batch is
appended under a term in the same transaction that reads it; a leader that slept, or lost its session, appends nothing once
another one has begun.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from archipel.ledger.storage import LeaderLost, Term

BEAT_S = 1.0
"""How often a leader asks whether it still leads."""
SILENCE_S = 4.0
"""The server ends the session of a leader that says nothing for so long: it stalled, or its machine or network is gone."""
GIVE_UP_S = 20.0
"""A leader that cannot reach the server, or does not get its lock back, ends after so long."""
MAX_PLACE = 2000
"""Characters of an address."""


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, as another process sees it."""

    term: Term
    """The newest; of number 0 before the first."""
    is_here: bool
    """Whether somebody holds the lock: nobody may become the leader meanwhile."""


class Standing(Enum):
    """What a beat showed."""

    LEADS = "leads"
    UNSURE = "unsure"
    """Its session or lock is gone, and nobody else has begun: it asks for it again."""


class Watch(Protocol):
    """Where the leader of a log is looked up."""

    def look(self) -> Leader:
        """Who leads now. Raises LedgerUnavailable: the server cannot be asked."""

    def close(self) -> None:
        """Let go of the server."""


def check_term(mine: Term, found: Term | None) -> None:
    """Whether who leads under `mine` may append where `found` is stored.

    Raises:
        LeaderLost: another lab has begun.
    """
    if found is None:
        raise LeaderLost(
            f"the term of this ledger's leader is gone from the database; this lab led under term {mine.number} and stops"
        )
    if found.number != mine.number:
        where = f" at {found.place}" if found.place else ""
        raise LeaderLost(
            f"another lab{where} leads under term {found.number}; this one led under term {mine.number} and stops "
            "writing; start it again, and it follows"
        )


def after_beat(
    mine: Term, found: Term | None, *, was_reached: bool, has_lock: bool, unsure_s: float
) -> Standing:
    """Whether who led under `mine` leads still.

    found: what is stored; means nothing unless the server was reached. unsure_s: since the first beat that did not go well.

    Raises:
        LeaderLost: it does not.
    """
    if was_reached:
        check_term(mine, found)
        if has_lock:
            return Standing.LEADS
    if unsure_s > GIVE_UP_S:
        why = "another session holds its lock" if was_reached else "the database cannot be reached"
        raise LeaderLost(
            f"{why} for {unsure_s:.0f} s; this lab led under term {mine.number} and stops; start it again"
        )
    return Standing.UNSURE
