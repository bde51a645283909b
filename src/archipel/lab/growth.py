"""Who waits for a ledger to grow: told at once, all of them by one event.

Law: every wait has a deadline; nothing is lost between looking at the size and waiting, as nothing is awaited between.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable


class Growth:
    """Of one ledger; used on one event loop."""

    def __init__(self, size: Callable[[], int]) -> None:
        """size: entries that are shown now."""
        self._size = size
        self._told: asyncio.Event | None = None
        """None: nobody waits."""
        self._is_closed = False

    async def above(self, size: int, limit_s: float) -> int:
        """The ledger's size once it is above `size`, or after `limit_s`; at once when there will be no more."""
        until_s = time.monotonic() + limit_s
        while self._size() <= size and not self._is_closed:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                break
            self._told = self._told or asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), left_s)
        return self._size()

    def tell(self) -> None:
        """It has grown."""
        told, self._told = self._told, None
        if told is not None:
            told.set()

    def close(self) -> None:
        """It will not any more: nobody waits."""
        self._is_closed = True
        self.tell()
