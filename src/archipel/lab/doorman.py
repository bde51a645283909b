"""How much one key, one address and all together may ask of a lab: token buckets, bounded in number.

Law: a stranger can use up its own share, never another's; what a bucket forgets, it forgets in the
stranger's favour.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from archipel.lab.refusals import Busy

MAX_BUCKETS = 65_536


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket's size and how fast it fills."""

    burst: float
    per_s: float


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """What is let in."""

    per_key: Rate = Rate(burst=200, per_s=50)
    """Statements of one key."""
    idle_per_key: Rate = Rate(burst=60, per_s=0.2)
    """Statements of one key that bring no work: it joins, leaves, gives leases back. They stay in the ledger
    for ever, and cost their author nothing."""
    idle_per_address: Rate = Rate(burst=4096, per_s=17)
    """The same from all keys of one address."""
    joins_per_address: Rate = Rate(burst=256, per_s=2)
    """New keys from one address."""
    waiting_per_address: int = 1024
    """Requests for work that wait at the same time."""
    connections_per_address: int = 2048

    @classmethod
    def for_nodes(cls, per_address: int) -> "DoorLimits":
        """Room for so many nodes behind one address."""
        return cls(
            idle_per_address=Rate(burst=max(256, 4 * per_address), per_s=max(2, per_address / 60)),
            joins_per_address=Rate(burst=max(256, per_address), per_s=max(2, per_address / 60)),
            waiting_per_address=per_address,
            connections_per_address=2 * per_address,
        )


class Buckets:
    """One bucket per name; the ones that were not used for longest are forgotten."""

    def __init__(self, rate: Rate, clock_s: Callable[[], float]) -> None:
        self._rate = rate
        self._clock_s = clock_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> bool:
        """Whether there was one left."""
        now_s = self._clock_s()
        left, at_s = self._left.pop(name, (self._rate.burst, now_s))
        passed_s = max(now_s - at_s, 0.0)  # a clock that was set back takes nothing away
        left = min(self._rate.burst, left + passed_s * self._rate.per_s)
        is_let_in = left >= 1.0
        self._left[name] = (left - 1.0 if is_let_in else left, now_s)
        if len(self._left) > MAX_BUCKETS:
            self._left.popitem(last=False)
        return is_let_in


class Doorman:
    """Stands at the HTTP door."""

    def __init__(self, limits: DoorLimits, clock_s: Callable[[], float]) -> None:
        self.limits = limits
        self._keys = Buckets(limits.per_key, clock_s)
        self._idle = Buckets(limits.idle_per_key, clock_s)
        self._idle_addresses = Buckets(limits.idle_per_address, clock_s)
        self._joins = Buckets(limits.joins_per_address, clock_s)
        self._waiting: dict[str, int] = {}

    def statement(self, author: str, address: str, *, is_newcomer: bool, is_idle: bool) -> None:
        """Raises Busy when this key, or new keys from this address, came too often.

        `is_idle`: it would stay in the ledger, and brings no work.

        Nothing is verified yet: a key is counted by address, so that nobody who only claims it uses it
        up for its owner elsewhere.
        """
        if is_newcomer:
            if not self._joins.take(address):
                raise Busy(f"too many new keys from {address}; try again in a minute")
        elif not self._keys.take(f"{author} {address}"):
            raise Busy(f"more than {self.limits.per_key.per_s:.0f} statements a second; slow down")
        if is_idle and not (
            self._idle.take(f"{author} {address}") and self._idle_addresses.take(address)
        ):
            raise Busy("joined, left or gave work back too often; try again in a minute")

    def begin_waiting(self, address: str) -> None:
        """Raises Busy when too many from this address wait already."""
        waiting = self._waiting.get(address, 0)
        if waiting >= self.limits.waiting_per_address:
            raise Busy(f"{waiting} requests for work from {address} wait already")
        self._waiting[address] = waiting + 1

    def end_waiting(self, address: str) -> None:
        """One of them is answered."""
        left = self._waiting.get(address, 1) - 1
        if left > 0:
            self._waiting[address] = left
        else:
            self._waiting.pop(address, None)
