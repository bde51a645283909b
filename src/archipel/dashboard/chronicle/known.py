"""What a chronicle holds already, as whoever adds to it asks."""

from dataclasses import dataclass
from typing import Protocol

from archipel.records.batches import Batches

MOST = 2**62
"""Sums stand still here: two of them still fit what SQLite adds."""


@dataclass(slots=True)
class Lease:
    """An open one."""

    run: int
    node: int
    entry: int
    at_ms: int
    version: int | None
    groups: tuple[int, ...]


@dataclass(slots=True)
class Totals:
    """What a run came to."""

    stopped: int | None = None
    paid_micro: int = 0
    units: int = 0
    tokens: int = 0
    bytes: int = 0

    @property
    def so_far(self) -> tuple[int, int, int, int]:
        """All but how it ended."""
        return self.paid_micro, self.units, self.tokens, self.bytes

    def add(self, units: int, tokens: int, num_bytes: int) -> None:
        """One more answer."""
        self.units = min(self.units + units, MOST)
        self.tokens = min(self.tokens + tokens, MOST)
        self.bytes = min(self.bytes + num_bytes, MOST)


class Known(Protocol):
    """What the file holds already."""

    def name(self, word: str) -> int:
        """Its number; given now if it is new."""

    def lease(self, work: str) -> Lease | None: ...

    def totals(self, run: int) -> Totals | None:
        """None: no such run was opened."""

    def batches(self, run: int) -> Batches | None:
        """How its groups are dealt into batches; None: they are not."""
