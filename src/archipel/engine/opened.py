"""The requests of which something waits or runs.

Parts: `One`, `Opened`. Law: pure bookkeeping; a request is there until its last rollout has ended, or it is cancelled.
"""

from collections import Counter
from dataclasses import dataclass

from archipel.engine.protocol import Ticket
from archipel.records.requests import Request


@dataclass
class One:
    """A request of which something waits or runs."""

    request: Request
    length: int
    """Cache positions of each of its sequences."""
    remaining: int
    """Rollouts that have not ended."""
    adapter: int
    """Its number among the decoder's adapters."""


class Opened:
    """By ticket."""

    def __init__(self, *, has_experts: bool) -> None:
        """has_experts: whether the model has any, so that somebody can be told of them."""
        self._has_experts = has_experts
        self._held: dict[Ticket, One] = {}
        self._lengths: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, ticket: object) -> bool:
        return ticket in self._held

    def __getitem__(self, ticket: Ticket) -> One:
        return self._held[ticket]

    @property
    def longest(self) -> int:
        """Cache positions of the longest sequence."""
        return max(self._lengths)

    @property
    def tells_experts(self) -> bool:
        """Whether one wants to know where its tokens were sent."""
        return any(self.is_told(each.request) for each in self._held.values())

    @property
    def tells_fingerprints(self) -> bool:
        """Whether one brings fingerprints."""
        return any(each.request.tells_fingerprints for each in self._held.values())

    def is_told(self, request: Request) -> bool:
        """Whether this one wants to know where its tokens were sent, and they were."""
        return request.tells_experts and self._has_experts

    def uses(self, adapter: str) -> bool:
        """Whether one names this adapter."""
        return any(each.request.adapter == adapter for each in self._held.values())

    def add(self, ticket: Ticket, request: Request, length: int, adapter: int) -> None:
        """One more, of so many positions, with the adapter of this number."""
        self._held[ticket] = One(request, length, request.num_rollouts, adapter)
        self._lengths[length] += 1

    def end_one(self, ticket: Ticket) -> None:
        """A rollout of it has ended."""
        self._held[ticket].remaining -= 1
        if self._held[ticket].remaining == 0:
            self.close(ticket)

    def close(self, ticket: Ticket) -> None:
        """It is no more."""
        length = self._held.pop(ticket).length
        self._lengths[length] -= 1
        if self._lengths[length] == 0:
            del self._lengths[length]
