"""How fast bytes leave this machine: a limit on all that is sent (`Pacer`), and what was reached (`Meter`).

Law: time is an argument or a clock that is passed in; nobody who waits is overtaken.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BURST_S = 0.05
"""What was not sent earlier may be made up for this long."""
LEAST_SPELL_S = 1.0
"""A shorter time of sending says more about buffers than about a line."""
SPELLS_KEPT = 16


class Pacer:
    """A token bucket over everything that is sent through it."""

    def __init__(self, rate: int | None, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`rate`: bytes a second; None: no limit."""
        self.rate = rate
        self._clock_s = clock_s
        self._free_at_s = 0.0

    def due_s(self, num_bytes: int) -> float:
        """Seconds to wait before sending these; they are counted as sent."""
        if self.rate is None:
            return 0.0
        now_s = self._clock_s()
        self._free_at_s = max(self._free_at_s, now_s - BURST_S) + num_bytes / self.rate
        return max(self._free_at_s - now_s, 0.0)

    async def pace(self, num_bytes: int) -> None:
        """Wait until these may go."""
        wait_s = self.due_s(num_bytes)
        if wait_s > 0.0:
            await asyncio.sleep(wait_s)


class Meter:
    """The best rate over a time in which something was always being sent."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._num_open = 0
        self._began_s = 0.0
        self._bytes = 0
        self._spells: deque[int] = deque(maxlen=SPELLS_KEPT)
        self.sent = 0
        """Bytes since the start."""

    @contextmanager
    def sending(self) -> Iterator[None]:
        """While one more answer is under way."""
        if self._num_open == 0:
            self._began_s, self._bytes = self._clock_s(), 0
        self._num_open += 1
        try:
            yield
        finally:
            self._end()

    def count(self, num_bytes: int) -> None:
        """So much of them is gone."""
        self._bytes += num_bytes
        self.sent += num_bytes

    @property
    def best(self) -> int | None:
        """Bytes a second, of the last times; None: none was long enough."""
        return max(self._spells, default=None)

    def _end(self) -> None:
        self._num_open -= 1
        lasted_s = self._clock_s() - self._began_s
        if self._num_open == 0 and lasted_s >= LEAST_SPELL_S and self._bytes:
            self._spells.append(max(round(self._bytes / lasted_s), 1))
