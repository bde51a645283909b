"""What happens next in a simulated world: events by time, those of one moment in the order in which they were set."""

import heapq
from collections.abc import Callable
from typing import Any

Happening = Callable[..., None]


class Events:
    """The clock stands at the event that happens; it moves in no other way."""

    def __init__(self, start_ms: int) -> None:
        self.now_ms = start_ms
        self.happened = 0
        self._heap: list[tuple[int, int, Happening, tuple[Any, ...]]] = []
        self._number = 0

    def at(self, at_ms: int, happening: Happening, *about: Any) -> None:
        """`happening(*about)` at this time; what is due already happens next."""
        self._number += 1
        heapq.heappush(self._heap, (max(at_ms, self.now_ms), self._number, happening, about))

    def after(self, ms: float, happening: Happening, *about: Any) -> None:
        """The same, `ms` from now."""
        self.at(self.now_ms + max(round(ms), 0), happening, *about)

    def step(self, until_ms: int) -> bool:
        """Let the next event happen; False, and the clock at `until_ms`, when there is none before that."""
        if not self._heap or self._heap[0][0] >= until_ms:
            self.now_ms = until_ms
            return False
        self.now_ms, _, happening, about = heapq.heappop(self._heap)
        self.happened += 1
        happening(*about)
        return True
