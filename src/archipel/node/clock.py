"""The lab's clock as a node knows it: deadlines and sequence numbers go by it, never by the node's own.

A machine's date may be hours off; what it counts since it started is not. Law: whoever reads the lab's
time says what was counted before and after the question; its answer is taken for the middle of the two.
"""

import time
from collections import deque
from collections.abc import Callable

from archipel.node.sealed import NotBelieved
from archipel.records.documents import KeyFacts
from archipel.records.fields import MAX_SEQ

STALE_S = 600.0
"""Two clocks drift apart, and a lab's may be set: so old a reading is taken anew."""
MAX_SPOKEN = 4096
"""Numbers of our own that are remembered; an older one is not told from another's."""
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


class Numbers:
    """The numbers of one key's statements, each greater than all before it."""

    def __init__(self, clock: LabClock) -> None:
        self._clock = clock
        self._last = 0
        self._heard_before = 0
        """What the lab had heard from this key before this process spoke."""
        self._spoken: deque[int] = deque(maxlen=MAX_SPOKEN)

    def next(self) -> int:
        """Microseconds by the lab's clock, or one more than the last: also after a restart greater."""
        self._last = max(self._last + 1, self._clock.now_us())
        self._spoken.append(self._last)
        return self._last

    def forget(self) -> None:
        """What the lab said so far; it may be another one now."""
        self._last = 0

    def begin(self) -> None:
        """What was heard until now was heard before we speak."""
        self._heard_before = self._last

    def heard(self, facts: KeyFacts) -> None:
        """What the lab heard from this key. Raises NotBelieved: it leaves us no numbers."""
        if max(facts.last_seq, facts.now_ms * 1000) > LAST_SEQ:
            told = f"last_seq is {facts.last_seq}, now_ms {facts.now_ms}"
            raise NotBelieved("unexpected-answer", told)
        self._last = max(self._last, facts.last_seq)

    def is_of_another(self, last_seq: int) -> bool:
        """Whether the lab heard this number from our key since we met it, and we did not say it."""
        since = max(self._heard_before, self._spoken[0] if self._spoken else 0)
        return last_seq > since and last_seq not in self._spoken
