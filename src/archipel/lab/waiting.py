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

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def join(self, waiter: Waiter) -> None:
        """Stand at the end of the queue."""
        kinds = frozenset(waiter.request.kinds)
        self._queues.setdefault(kinds, {})[waiter.request.author] = waiter

    def leave(self, waiter: Waiter) -> None:
        """Wait no more."""
        kinds = frozenset(waiter.request.kinds)
        queue = self._queues.get(kinds, {})
        if queue.get(waiter.request.author) is waiter:
            del queue[waiter.request.author]
            if not queue:
                del self._queues[kinds]

    def of(self, author: str) -> Waiter | None:
        """A node's request."""
        for queue in self._queues.values():
            if author in queue:
                return queue[author]
        return None

    def able(self, kinds: Collection[str]) -> Iterator[Waiter]:
        """Who does any of these kinds, each queue in its order."""
        for able in [key for key in self._queues if not key.isdisjoint(kinds)]:
            yield from list(self._queues.get(able, {}).values())

    def all(self) -> list[Waiter]:
        """Everybody."""
        return [waiter for queue in self._queues.values() for waiter in queue.values()]
