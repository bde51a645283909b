"""Which sequences run in which slots: continuous batching, decided without touching a tensor.

Parts: `Admission` (a group, or part of one, that enters), `Move` (a sequence changes slots),
`Scheduler`. Rules, in order: groups enter as they came, each as soon as all of it fits; a group
larger than the engine enters in parts; when a quarter of the rows is dead, sequences move down.
Law: pure; arrival order decides who runs when, never what is sampled.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from archipel.engine.protocol import Ticket


@dataclass(frozen=True)
class Admission:
    """Rollouts `first_rollout ...` of one request enter, one per slot."""

    ticket: Ticket
    """Names the request."""
    first_rollout: int
    slots: tuple[int, ...]


@dataclass(frozen=True)
class Move:
    """The sequence in slot `source` continues in slot `target`."""

    source: int
    target: int


@dataclass(frozen=True)
class _Waiting:
    """Rollouts `first ...` of one request that have not entered."""

    ticket: Ticket
    first: int
    count: int
    length: int


class Scheduler:
    """Assigns slots 0 .. num_slots-1; rows 0 .. num_rows-1 are what a decode step computes."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._live: list[bool] = []
        self._num_live = 0
        self.num_rows = 0
        """One more than the highest live slot."""
        self.num_waiting = 0
        """Sequences that have not entered."""

    @property
    def num_sequences(self) -> int:
        """How many wait or run."""
        return self.num_waiting + self._num_live

    def slots_in_use(self) -> frozenset[int]:
        """Those of sequences that have entered and are not done."""
        return frozenset(slot for slot, live in enumerate(self._live) if live)

    def add(self, ticket: Ticket, count: int, length: int) -> None:
        """Let `count` rollouts of `length` cache positions each wait behind all others."""
        self._waiting.append(_Waiting(ticket, 0, count, length))
        self.num_waiting += count

    def resize(self, num_slots: int) -> None:
        """Have this many slots from now on, at least `num_rows`; what runs stays where it is."""
        self._live = self._live[: self.num_rows] + [False] * (num_slots - self.num_rows)

    def admit(self, length: int) -> list[Admission]:
        """Every waiting group, in order, until one does not fit into slots of `length` positions."""
        admitted: list[Admission] = []
        free: list[int] | None = None
        while self._waiting:
            head = self._waiting[0]
            take = min(head.count, len(self._live))
            if head.length > length or take > len(self._live) - self._num_live:
                break
            if free is None:
                free = [slot for slot, live in enumerate(self._live) if not live]
            slots, free = tuple(free[:take]), free[take:]
            self._enter(head, slots)
            admitted.append(Admission(head.ticket, head.first, slots))
        return admitted

    def _enter(self, head: _Waiting, slots: tuple[int, ...]) -> None:
        taken = len(slots)
        self._waiting.popleft()
        if taken < head.count:
            rest = replace(head, first=head.first + taken, count=head.count - taken)
            self._waiting.appendleft(rest)
        for slot in slots:
            self._live[slot] = True
        self._num_live += taken
        self.num_waiting -= taken
        self.num_rows = max(self.num_rows, slots[-1] + 1)

    def finish(self, slots: Iterable[int]) -> None:
        """The sequences in these slots are done."""
        for slot in slots:
            self._live[slot] = False
            self._num_live -= 1
        self._settle()

    def withdraw(self, ticket: Ticket) -> None:
        """What of this request waits will never enter."""
        self._waiting = deque(each for each in self._waiting if each.ticket != ticket)
        self.num_waiting = sum(each.count for each in self._waiting)

    def compact(self) -> list[Move]:
        """Move sequences from the highest slots into the lowest free ones, if it pays."""
        rows = self.num_rows
        if 4 * (rows - self._num_live) < rows or self._num_live == 0:
            return []
        holes = [slot for slot in range(self._num_live) if not self._live[slot]]
        strays = [slot for slot in range(self._num_live, rows) if self._live[slot]]
        for source, target in zip(strays, holes, strict=True):
            self._live[source], self._live[target] = False, True
        self._settle()
        return [Move(source, target) for source, target in zip(strays, holes, strict=True)]

    def _settle(self) -> None:
        while self.num_rows and not self._live[self.num_rows - 1]:
            self.num_rows -= 1
