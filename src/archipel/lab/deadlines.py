"""When which lease runs out, so that nothing looks at all leases five times a second.

Law: a deadline that was looked at, and whose lease is still open because the disk failed, is looked at
again: what `due` gives out is forgotten here, so whoever cannot act on it calls `begin_anew`.
"""

import heapq
from collections.abc import Iterable

from archipel.lab.state import Lease


class Deadlines:
    """Of open leases; one that ended is passed over when its time comes."""

    def __init__(self, leases: Iterable[Lease]) -> None:
        self._heap: list[tuple[int, str]] = []
        self.begin_anew(leases)

    def begin_anew(self, leases: Iterable[Lease]) -> None:
        """These are the open ones, and no others."""
        self._heap = [(lease.deadline_ms, lease.work) for lease in leases]
        heapq.heapify(self._heap)

    def add(self, deadline_ms: int, work: str) -> None:
        """A lease was granted."""
        heapq.heappush(self._heap, (deadline_ms, work))

    def due(self, now_ms: int, most: int) -> list[str]:
        """At most so many works whose deadline has passed, oldest first."""
        works: list[str] = []
        while len(works) < most and self._heap and self._heap[0][0] < now_ms:
            works.append(heapq.heappop(self._heap)[1])
        return works
