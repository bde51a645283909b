"""The lab's clock as a node knows it: deadlines and sequence numbers go by it, never by the node's own.

A machine's date may be hours off; what it counts since it started is not. Law: whoever reads the lab's
time says what was counted before and after the question; its answer is taken for the middle of the two.
"""

import time
from collections.abc import Callable

from archipel.records.fields import MAX_SEQ

STALE_S = 600.0
"""Two clocks drift apart, and a lab's may be set: so old a reading is taken anew."""
LAST_SEQ = MAX_SEQ - 2**32
"""A lab that claims to have heard this from us leaves us no numbers to speak with."""


def ticks_ns() -> int:
    """Nanoseconds since the machine started, sleep included where the system counts it."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class LabClock:
    """Starts out with this machine's own date."""

    def __init__(self, ticks: Callable[[], int] = ticks_ns) -> None:
        self._ticks = ticks
        self._set_at_ns = ticks()
        self._offset_ns = time.time_ns() - self._set_at_ns
        self._is_set = False

    def ticks(self) -> int:
        """What this machine counts, in nanoseconds."""
        return self._ticks()

    def set(self, now_ms: int, before_ns: int, after_ns: int) -> None:
        """The lab said `now_ms` in answer to a question asked at `before_ns` and answered by `after_ns`."""
        self._offset_ns = now_ms * 1_000_000 - (before_ns + after_ns) // 2
        self._set_at_ns, self._is_set = after_ns, True

    def now_us(self) -> int:
        """The lab's Unix time in microseconds."""
        return (self._ticks() + self._offset_ns) // 1000

    def left_s(self, deadline_ms: int) -> float:
        """Until the lab's clock shows `deadline_ms`; negative once it is past."""
        return deadline_ms / 1000 - self.now_us() / 1_000_000

    @property
    def is_stale(self) -> bool:
        """Whether the last reading is too old to go by."""
        return not self._is_set or self._ticks() - self._set_at_ns > STALE_S * 1e9
