"""Who waits for a future to end, woken when it does. Law: what is true is in the journal; a wake is only a hint to look."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable


class Wakes:
    """By name of what is waited for. On the event loop alone."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.is_closed = False

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def listen(self, name: str) -> asyncio.Event:
        """An event that is set when something becomes of it; to be given back."""
        event = asyncio.Event()
        self._waiting[name].add(event)
        return event

    def leave(self, name: str, event: asyncio.Event) -> None:
        """Nobody waits for it any more."""
        self._waiting[name].discard(event)
        if not self._waiting[name]:
            del self._waiting[name]

    def close(self) -> None:
        """Nobody waits any longer: the door ends."""
        self.is_closed = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    def wake(self, names: Iterable[str]) -> None:
        """Something became of these."""
        for name in names:
            for event in self._waiting.get(name, ()):
                event.set()


async def until(event: asyncio.Event, deadline_s: float) -> bool:
    """Whether it came before this moment of the loop's clock."""
    left = deadline_s - asyncio.get_running_loop().time()
    if left <= 0:
        return event.is_set()
    try:
        async with asyncio.timeout(left):
            await event.wait()
    except TimeoutError:
        return False
    return True
