"""Many waits of one machine, a few of them at a time; with one that fails all end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def side_by_side(
    work: Callable[[T], Awaitable[R]], given: Iterable[T], at_once: int
) -> list[R]:
    """What `work` returns of each, in order. Raises what the first of them raises, once none goes on."""
    turn = asyncio.Semaphore(at_once)

    async def one(each: T) -> R:
        async with turn:
            return await work(each)

    tasks = [asyncio.create_task(one(each)) for each in given]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
