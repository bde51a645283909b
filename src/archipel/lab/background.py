"""A task that lives exactly as long as a block, and does not end unnoticed before it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

logger = logging.getLogger("archipel.lab")


@contextlib.asynccontextmanager
async def background(
    work: Coroutine[Any, Any, None], on_failure: Callable[[BaseException], None]
) -> AsyncIterator[None]:
    """Run `work` beside the block; cancel it at the end; raise its failure then.

    `on_failure` is told of it at once.
    """

    def ended(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("background task failed", exc_info=error)
            on_failure(error)

    task = asyncio.create_task(work)
    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
