"""Wakes who waits for what becomes of a run, or for the ledger to grow.

Law: every wait has a deadline; nothing is lost between looking at the state and waiting, as nothing is awaited between.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from archipel.lab.entry import Entry
from archipel.lab.growth import Growth
from archipel.records.door import DoorAsked, DoorWithdrawn
from archipel.records.statements import RunStopped, WorkAnswered


class News:
    """Of one lab; told of every durable entry."""

    def __init__(self, size: Callable[[], int]) -> None:
        """size: durable entries."""
        self.growth = Growth(size)
        self._waited: dict[str, asyncio.Event] = {}
        """Run -> set when something was answered or withdrawn in it."""
        self._is_closed = False

    async def of(self, run: str, timeout_s: float) -> None:
        """Wait until something becomes known of a run, or for so long."""
        if self._is_closed:
            return
        event = self._waited.setdefault(run, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), timeout_s)

    def follow(self, entries: Sequence[Entry]) -> None:
        """These are durable, and the state shows them."""
        self.growth.tell()
        if not self._waited:
            return
        for entry in entries:
            statement = entry.statement
            if isinstance(statement, WorkAnswered):
                self._tell(statement.work.rpartition(".")[0])
            elif isinstance(statement, DoorAsked | DoorWithdrawn | RunStopped):
                self._tell(statement.run)

    def close(self) -> None:
        """The lab is about to end: nobody waits any more."""
        self._is_closed = True
        self.growth.close()
        for run in list(self._waited):
            self._tell(run)

    @property
    def is_closed(self) -> bool:
        """Whether the lab is about to end."""
        return self._is_closed

    def _tell(self, run: str) -> None:
        event = self._waited.pop(run, None)
        if event is not None:
            event.set()
