"""Work that takes a processor for longer than a stream may stall, beside the event loop: parsing, templates, tokenizing.

Parts: `Aside`, `Asides`, `Once`. Laws: keys take turns, so that who sends much waits behind itself; no more of it waits than may;
what is short never waits for what is long.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from archipel.serve.errands import Errands, do

logger = logging.getLogger("archipel.serve")
P = ParamSpec("P")
R = TypeVar("R")
THREADS = 2
MAX_WAITING = 512
LONG_CHARS = 65_536
"""Read in some tens of milliseconds; whatever is longer waits beside such alone."""


class Aside:
    """A few threads."""

    def __init__(self, threads: int = THREADS, most: int = MAX_WAITING) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="archipel-aside")
        self._lock, self._errands = threading.Lock(), Errands(most)

    async def do(self, key: str, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What it gives; whatever it raises. key: whose it is, for fair turns.

        Raises:
            Crowded: too much waits.
        """
        with self._lock:
            future = self._errands.put(lambda _: work(*args, **kwargs), key)
        self._threads.submit(self._next)
        found: R = await asyncio.wrap_future(future)
        return found

    def _next(self) -> None:
        with self._lock:
            found = self._errands.next()
        if found is not None:
            do(*found, None)

    def close(self) -> None:
        """Nothing more comes."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Asides:
    """Of one model."""

    def __init__(self) -> None:
        self._short, self._long = Aside(), Aside(threads=1, most=64)

    def of(self, size: int) -> Aside:
        """Where a text of so many characters is read."""
        return self._long if size > LONG_CHARS else self._short


class Once:
    """A word that takes long to find, found when it is first asked for, by a thread of its own."""

    def __init__(self, find: Callable[[], str]) -> None:
        self._find = find
        self._found: Future[str] | None = None

    async def get(self, within_s: float) -> str:
        """It, or "" as long as it is not known; what cannot be found now is looked for again when it is asked for again."""
        if self._found is None:
            self._found = Future()
            work = (lambda _: self._find(), self._found, None)
            threading.Thread(target=do, args=work, name="archipel-once", daemon=True).start()
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(asyncio.wrap_future(self._found))
        except TimeoutError:
            return ""
        except Exception as error:  # noqa: BLE001  no files to open, say: whoever asks next may fare better
            self._found = None
            logger.warning("not found yet: %s", error)
            return ""
