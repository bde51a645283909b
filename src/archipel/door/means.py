"""What every part of an open door works with."""

from collections.abc import Callable
from dataclasses import dataclass, field

from archipel.door.bounds import Bounds
from archipel.door.folders import Folders
from archipel.door.hands import Hands
from archipel.door.journal import Journal
from archipel.door.wakes import Wakes

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 30.0
"""Before hands that were lost are asked again: twice as long each time."""
MAX_DEFECTS = 3
"""Failures of our own in a row, after which an operation ends as failed."""


@dataclass(frozen=True)
class Means:
    """Of one door."""

    hands: Hands
    journal: Journal
    folders: Folders
    wakes: Wakes
    bounds: Bounds
    now_ms: Callable[[], int]
    share: Callable[[str], int]
    """Weight of a tenant's part, by its id."""
    used: Callable[[str, str, int, str], None]
    """Told what was done, once: tenant's id, kind, tokens, base model."""
    counts: dict[str, int] = field(default_factory=dict)
    """Since the start, for whoever looks."""

    def count(self, name: str, more: int = 1) -> None:
        """More of it happened."""
        self.counts[name] = self.counts.get(name, 0) + more


def wait_s(tries: int) -> float:
    """Before it is tried again, after so many failures in a row."""
    return min(FIRST_WAIT_S * 2.0 ** min(max(tries - 1, 0), 20), LONGEST_WAIT_S)
