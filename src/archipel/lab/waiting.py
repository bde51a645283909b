"""Nodes that wait for work: first come, first served, and nobody is looked at in vain.

They stand in one queue per set of kinds they do, so that a due update does not make the lab look at ten
thousand nodes that only sample.
"""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from archipel.lab.entry import Entry
from archipel.records.statements import LeaseRequested


@dataclass(frozen=True, slots=True)
class Waiter:
    """One request for work."""

    request: LeaseRequested
    granted: "asyncio.Future[Entry | None]"
    """Ends with the grant once it is durable; None when there is nothing and no more waiting."""


class Waiting:
    """All that wait; at most one request per node."""

    def __init__(self) -> None:
        self._queues: dict[frozenset[str], dict[str, Waiter]] = {}
        self._of: dict[str, Waiter] = {}

    def __len__(self) -> int:
        return len(self._of)

    def join(self, waiter: Waiter) -> None:
        """Stand at the end of the queue; an older request of the same node leaves."""
        author = waiter.request.author
        older = self._of.get(author)
        if older is not None:
            self.leave(older)
        self._of[author] = waiter
        self._queues.setdefault(frozenset(waiter.request.kinds), {})[author] = waiter

    def leave(self, waiter: Waiter) -> None:
        """Wait no more."""
        author, kinds = waiter.request.author, frozenset(waiter.request.kinds)
        if self._of.get(author) is waiter:
            del self._of[author]
            del self._queues[kinds][author]
            if not self._queues[kinds]:
                del self._queues[kinds]

    def of(self, author: str) -> Waiter | None:
        """A node's request."""
        return self._of.get(author)

    def able(self, kinds: Collection[str]) -> Iterator[Waiter]:
        """Who does any of these kinds, each queue in its order."""
        for able in [key for key in self._queues if not key.isdisjoint(kinds)]:
            yield from list(self._queues.get(able, {}).values())

    def all(self) -> list[Waiter]:
        """Everybody."""
        return list(self._of.values())
