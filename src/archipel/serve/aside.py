"""Work that takes a processor for longer than a stream may stall, beside the event loop: parsing, templates, tokenizing.

Parts: `Aside`. Law: no more of it is under way or waits than may.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from archipel.serve.question import Crowded

P = ParamSpec("P")
R = TypeVar("R")
THREADS = 2
MAX_WAITING = 512


class Aside:
    """A few threads."""

    def __init__(self, threads: int = THREADS, most: int = MAX_WAITING) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="archipel-aside")
        self._most, self._num_given = most, 0

    async def do(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What it gives; whatever it raises.

        Raises:
            Crowded: too much is under way.
        """
        if self._num_given >= self._most:
            raise Crowded(f"{self._num_given} questions are being read; ask again in a moment")
        self._num_given += 1
        try:
            future = self._threads.submit(work, *args, **kwargs)
            return await asyncio.wrap_future(future)
        finally:
            self._num_given -= 1

    def close(self) -> None:
        """Nothing more comes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
