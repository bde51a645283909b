"""Which sequences run in which slots: continuous batching, decided without touching a tensor.

Parts: `Admission` (a group, or part of one, that enters), `Move` (a sequence changes slots),
`Scheduler`. Rules, in order: a waiting group enters as soon as all of it fits; a group larger
than the engine enters in parts; when a quarter of the rows is dead, sequences move down.
Law: pure; arrival order decides who runs when, never what is sampled.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Admission:
    """Rollouts `first_rollout ...` of one request enter, one per slot."""

    request: int
    """Index of the request."""
    first_rollout: int
    slots: tuple[int, ...]


@dataclass(frozen=True)
class Move:
    """The sequence in slot `source` continues in slot `target`."""

    source: int
    target: int


class Scheduler:
    """Assigns slots 0 .. num_slots-1; rows 0 .. num_rows-1 are what a decode step computes."""

    def __init__(self, rollouts_per_request: Sequence[int], num_slots: int) -> None:
        self._num_slots = num_slots
        self._waiting = deque(
            (request, 0, count) for request, count in enumerate(rollouts_per_request)
        )
        self._live = [False] * num_slots
        self._num_live = 0

    @property
    def num_rows(self) -> int:
        """One more than the highest live slot."""
        rows = self._num_slots
        while rows and not self._live[rows - 1]:
            rows -= 1
        return rows

    @property
    def has_work(self) -> bool:
        """Whether anything waits or runs."""
        return bool(self._waiting) or self._num_live > 0

    def admit(self) -> list[Admission]:
        """Every waiting group, in order, until one does not fit."""
        admitted = []
        free = [slot for slot, live in enumerate(self._live) if not live] if self._waiting else []
        while self._waiting:
            request, first, count = self._waiting[0]
            take = min(count, self._num_slots)
            if take > len(free):
                break
            slots, free = tuple(free[:take]), free[take:]
            self._waiting.popleft()
            if take < count:
                self._waiting.appendleft((request, first + take, count - take))
            for slot in slots:
                self._live[slot] = True
            self._num_live += take
            admitted.append(Admission(request, first, slots))
        return admitted

    def finish(self, slots: Iterable[int]) -> None:
        """The sequences in these slots are done."""
        for slot in slots:
            self._live[slot] = False
            self._num_live -= 1

    def compact(self) -> list[Move]:
        """Move sequences from the highest slots into the lowest free ones, if it pays."""
        rows = self.num_rows
        if 4 * (rows - self._num_live) < rows or self._num_live == 0:
            return []
        holes = [slot for slot in range(self._num_live) if not self._live[slot]]
        strays = [slot for slot in range(self._num_live, rows) if self._live[slot]]
        for source, target in zip(strays, holes, strict=True):
            self._live[source], self._live[target] = False, True
        return [Move(source, target) for source, target in zip(strays, holes, strict=True)]
