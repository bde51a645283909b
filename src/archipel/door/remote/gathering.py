"""Prompts of one tenant for the same weights, asked at about the same time: one question to the network.

Parts: `Key`, `Bounds`, `Gathering`. Laws: whose prompts go together changes no bit of what comes of each; what fails, fails for all
that went together; when nobody waits any more, nothing is waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from archipel.door.hands import HandsLost
from archipel.training.tenants.operations import Refused
from archipel.work.questions import Question, Sampled

Answer = Sampled | Refused


@dataclass(frozen=True)
class Key:
    """What goes together."""

    weights: str
    """Name of the adapter; empty: none."""
    tenant: str
    share: int


@dataclass(frozen=True)
class Bounds:
    """Of prompts that go together."""

    wait_s: float = 0.02
    """For others that come."""
    most: int = 256
    most_tokens: int = 1_000_000


@dataclass
class _Group:
    questions: list[Question] = field(default_factory=list)
    waiting: list[asyncio.Future[Answer]] = field(default_factory=list)
    num_tokens: int = 0
    task: asyncio.Task[None] | None = None


Ask = Callable[[Key, Sequence[Question]], Awaitable[Sequence[Answer]]]
"""As many answers as questions, in their order."""


class Gathering:
    """One event loop uses it."""

    def __init__(self, ask: Ask, bounds: Bounds) -> None:
        self._ask, self._bounds = ask, bounds
        self._open: dict[Key, _Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, key: Key, question: Question, num_tokens: int) -> Answer:
        """What came of it; raises whatever asking raises."""
        group = self._group(key, num_tokens)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        group.questions.append(question)
        group.waiting.append(future)
        group.num_tokens += num_tokens
        try:
            return await future
        finally:
            if group.task is not None and all(each.done() for each in group.waiting):
                group.task.cancel()

    def close(self) -> None:
        """Wait for nothing any more."""
        for task in self._tasks:
            task.cancel()

    def _group(self, key: Key, num_tokens: int) -> _Group:
        """The open one with room for so many more, or a new one."""
        group, bounds = self._open.get(key), self._bounds
        if (
            group is None
            or len(group.questions) >= bounds.most
            or group.num_tokens + num_tokens > bounds.most_tokens
        ):
            group = self._open[key] = _Group()
            group.task = asyncio.create_task(self._go(key, group))
            self._tasks.add(group.task)
            group.task.add_done_callback(self._tasks.discard)
        return group

    async def _go(self, key: Key, group: _Group) -> None:
        try:
            await asyncio.sleep(self._bounds.wait_s)
            self._close(key, group)
            answers = await self._ask(key, group.questions)
        except BaseException as error:
            self._close(key, group)
            for future in group.waiting:
                if not future.done():
                    future.set_exception(_told(error))
            if not isinstance(error, Exception):
                raise
            return
        for future, answer in zip(group.waiting, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    def _close(self, key: Key, group: _Group) -> None:
        """Nobody joins it any more."""
        if self._open.get(key) is group:
            del self._open[key]


def _told(error: BaseException) -> BaseException:
    """What those who wait are told: not that somebody cancelled them."""
    if isinstance(error, asyncio.CancelledError):
        return HandsLost("the door ends; ask again when it is back")
    return error
