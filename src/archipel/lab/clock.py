"""The clock that a lab's deadlines, ages and entries go by.

Law: it runs evenly while the lab runs. Somebody who sets the machine's date an hour ahead ends no lease, and an
hour back lengthens none; the next start goes by the new date.
"""

import time
from collections.abc import Callable


def counted_ns() -> int:
    """Nanoseconds since the machine started, sleep included where the system counts it."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class EvenClock:
    """Unix time in milliseconds, read once and counted on from there."""

    def __init__(
        self, date_ns: Callable[[], int] = time.time_ns, counted: Callable[[], int] = counted_ns
    ) -> None:
        self._counted = counted
        self._offset_ns = date_ns() - counted()

    def __call__(self) -> int:
        """Now."""
        return (self._counted() + self._offset_ns) // 1_000_000
