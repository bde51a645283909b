"""What a process keeps of the runs that it worked in last: a small bound on weights, engines, graders.

Law: an agent counts along (`node.errands`), so that it never believes a child to hold what is gone: both
touch a run when its work begins, in the same order.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

MAX_RUNS_HELD = 4
"""Runs whose weights and engines a child keeps for each kind of work; another one begins from files."""

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most `limit` values by key; the one that was not asked for longest makes room."""

    def __init__(
        self, drop: Callable[[V], None] = lambda value: None, limit: int = MAX_RUNS_HELD
    ) -> None:
        """drop: told of each value that had to make room, or was cleared."""
        self._drop = drop
        self._limit = limit
        self._held: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._held

    def get(self, key: K) -> V | None:
        """The value, which counts as asked for; None when there is none."""
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def take(self, key: K) -> V | None:
        """Take the value out: it is the caller's from here on."""
        return self._held.pop(key, None)

    def make_room(self, key: K) -> None:
        """Drop what would have to go for `key`, before its value is made: both at once may be too much."""
        if key not in self._held:
            self._shrink(self._limit - 1)

    def put(self, key: K, value: V) -> None:
        """Keep it as the one asked for last."""
        self._held[key] = value
        self._held.move_to_end(key)
        self._shrink(self._limit)

    def peek(self, key: K) -> V | None:
        """The value, without counting as asked for."""
        return self._held.get(key)

    def values(self) -> Iterable[V]:
        """All of them, the one not asked for longest first."""
        return self._held.values()

    def clear(self) -> None:
        """Drop all."""
        self._shrink(0)

    def _shrink(self, limit: int) -> None:
        while len(self._held) > limit:
            self._drop(self._held.popitem(last=False)[1])
