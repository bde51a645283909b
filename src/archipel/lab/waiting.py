"""Nodes that wait for work, in the order in which they came.

They stand in one queue per set of what they can (kinds of work, and what they stated that runs may need), so that a due
update does not make the lab look at ten thousand nodes that only sample; whoever has no room for more work stands aside until one of its leases
ends, and comes anew then.
"""

import asyncio
import heapq
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from archipel.lab.commit import Recorded
from archipel.lab.entry import Entry
from archipel.lab.state import abilities
from archipel.records.statements import LeaseRequested

LOOKED_AT_ONCE = 64
"""Places that are copied from a queue at first, as it changes while it is gone through; then twice as many each time, so
that going through all of it costs no more than twice its length.
"""


Granted = asyncio.Future[Entry | None]


@dataclass(frozen=True, slots=True)
class Waiter:
    """One request for work."""

    request: LeaseRequested
    granted: Granted
    """Ends with the grant once it is durable; None when there is nothing and no more waiting."""
    meets: tuple[str, ...] = ()
    """Needs of runs that its node said it meets."""

    @property
    def abilities(self) -> frozenset[str]:
        """What it may be given."""
        return abilities(self.request.kinds, self.meets)


@dataclass(frozen=True, slots=True)
class _Place:
    number: int
    """Of its arrival, over all queues."""
    waiter: Waiter


_Queue = dict[str, _Place]
"""Author -> place, by arrival."""


class Waiting:
    """All that wait; at most one request per node."""

    def __init__(self) -> None:
        self._queues: dict[frozenset[str], _Queue] = {}
        self._aside: dict[str, Waiter] = {}
        self._of: dict[str, Waiter] = {}
        self._num_came = 0

    def __len__(self) -> int:
        return len(self._of)

    def join(self, waiter: Waiter) -> None:
        """Stand at the end of the queue; an older request of the same node leaves."""
        author = waiter.request.author
        older = self._of.get(author)
        if older is not None:
            self.leave(older)
        self._of[author] = waiter
        self._stand(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Wait no more."""
        author = waiter.request.author
        if self._of.get(author) is waiter:
            del self._of[author]
            if self._aside.pop(author, None) is None:
                self._step_out(waiter)

    def send_off(self, author: str) -> None:
        """Its request ends empty-handed."""
        waiter = self._of.get(author)
        if waiter is not None and not waiter.granted.done():
            waiter.granted.set_result(None)

    def set_aside(self, waiter: Waiter) -> None:
        """It has no room for more work: `able` does not name it until `take_back`."""
        author = waiter.request.author
        if self._of.get(author) is waiter and author not in self._aside:
            self._step_out(waiter)
            self._aside[author] = waiter

    def take_back(self, author: str) -> None:
        """It may have room again: it stands at the end of its queue."""
        waiter = self._aside.pop(author, None)
        if waiter is not None:
            self._stand(waiter)

    def take_back_all(self) -> None:
        """Everybody may have room again."""
        for author in list(self._aside):
            self.take_back(author)

    def take_back_where(self, may: Callable[[str], bool], most: int | None = None) -> None:
        """Those may have room again of whom this is true; most: of these, the first."""
        for author in list(islice(filter(may, self._aside), most)):
            self.take_back(author)

    def of(self, author: str) -> Waiter | None:
        """A node's request."""
        return self._of.get(author)

    def able(self, wanted: Collection[str]) -> Iterator[Waiter]:
        """Who has any of these abilities and may have room, first come, first named, over all queues."""
        queues = [queue for key, queue in self._queues.items() if not key.isdisjoint(wanted)]
        places = heapq.merge(*map(_in_order, queues), key=lambda place: place.number)
        for place in places:
            if self._of.get(place.waiter.request.author) is place.waiter:
                yield place.waiter

    def standing(self, authors: Collection[str]) -> list[Waiter]:
        """Who of these may have room, first come, first named."""
        known = (self._of.get(each) for each in authors if each not in self._aside)
        queues = ((self._queues[each.abilities], each.request.author) for each in known if each)
        places = sorted((queue[author] for queue, author in queues), key=lambda each: each.number)
        return [place.waiter for place in places]

    def all(self) -> list[Waiter]:
        """Everybody."""
        return list(self._of.values())

    def _stand(self, waiter: Waiter) -> None:
        self._num_came += 1
        queue = self._queues.setdefault(waiter.abilities, {})
        queue[waiter.request.author] = _Place(self._num_came, waiter)

    def _step_out(self, waiter: Waiter) -> None:
        key = waiter.abilities
        del self._queues[key][waiter.request.author]
        if not self._queues[key]:
            del self._queues[key]


def _in_order(queue: _Queue) -> Iterator[_Place]:
    """Also while places are given up behind the one that was named last."""
    last, most = 0, LOOKED_AT_ONCE
    while places := list(islice(_later(queue, last), most)):
        yield from (place for place in places if queue.get(place.waiter.request.author) is place)
        last, most = places[-1].number, 2 * most


def _later(queue: _Queue, number: int) -> Iterator[_Place]:
    return (place for place in queue.values() if place.number > number)


def told_when_durable(
    recording: "asyncio.Future[Recorded]", granted: "asyncio.Future[Entry | None]", entry: Entry
) -> None:
    """Whoever waits is told of its grant once that is on the disk, or why it never will be."""

    def tell(done: "asyncio.Future[Recorded]") -> None:
        error = done.exception()
        if granted.done():
            return
        if error is None:
            granted.set_result(entry)
        else:
            granted.set_exception(error)
            granted.exception()  # who asked may be gone

    if recording.done():
        tell(recording)
    else:
        recording.add_done_callback(tell)
