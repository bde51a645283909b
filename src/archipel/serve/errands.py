"""What waits to be done for somebody: by the desk's thread between two steps, or beside the event loop (`aside`).

Parts: `Errands`, `do`. Laws: keys take turns; no more wait than may; one that fails fails its own future alone.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from archipel.serve.question import Crowded, Refusal

Errand = Callable[[Any], Any]
"""What it is done with is given."""


class Errands:
    """Those that wait. Whoever uses this holds a lock, but for `do`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._queues: OrderedDict[str, deque[tuple[Errand, Future[Any]]]] = OrderedDict()
        """By key; the first is served next."""

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def put(self, errand: Errand, key: str) -> Future[Any]:
        """Let it wait.

        Raises:
            Crowded: too many wait already.
        """
        own = len(self._queues.get(key, ()))
        if own and len(self) >= self._most:
            raise Crowded(
                f"{len(self)} texts wait to be read, {own} of them with this key; ask again in a moment"
            )
        future = Future[Any]()
        self._queues.setdefault(key, deque()).append((errand, future))
        return future

    def next(self) -> tuple[Errand, Future[Any]] | None:
        """Whose turn it is."""
        if not self._queues:
            return None
        key, queue = next(iter(self._queues.items()))
        found = queue.popleft()
        if queue:
            self._queues.move_to_end(key)
        else:
            del self._queues[key]
        return found

    def fail(self, why: Refusal) -> None:
        """None of these is done."""
        while (found := self.next()) is not None:
            if found[1].set_running_or_notify_cancel():
                found[1].set_exception(why)


def do(errand: Errand, future: Future[Any], given: Any) -> None:
    """It, unless nobody waits for it any more."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(errand(given))
    except Exception as error:  # noqa: BLE001 - whose errand it is hears of it, whatever it was
        future.set_exception(error)
