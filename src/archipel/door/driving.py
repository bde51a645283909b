"""A task for every model that has something to do: its next operations, one turn after another, as long as there are any.

Laws: a model has at most one task; what was nudged is looked at again before its task ends; hands that were lost are
asked again until they do it.
"""

import asyncio
import contextlib
import logging
import sqlite3

from archipel.door import futures, models
from archipel.door.bounds import Bounds
from archipel.door.hands import CannotDo, HandsLost
from archipel.door.journal import JournalBroken
from archipel.door.means import MAX_DEFECTS, Means, wait_s
from archipel.door.ordering import Queued, next_together
from archipel.door.turning import Turning

logger = logging.getLogger("archipel.door")


class Driving:
    """Of one door."""

    def __init__(self, means: Means) -> None:
        self._means, self._turning = means, Turning(means)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._nudged: set[str] = set()
        self._is_ending = False

    @property
    def num_held(self) -> int:
        """Models that the hands hold."""
        return len(self._turning.used_ms)

    @property
    def num_driven(self) -> int:
        """Models that something is being done of."""
        return len(self._tasks)

    def nudge(self, model: str) -> None:
        """It may have something to do."""
        self._nudged.add(model)
        if model not in self._tasks and not self._is_ending:
            self._start(model, is_idle=False)

    async def forget(self, model: str) -> None:
        """Its session has ended."""
        task = self._tasks.get(model)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._turning.let_go(model)

    def rest(self, now_ms: int) -> None:
        """Models that nobody asked anything of for long give their memory back."""
        before = now_ms - self._means.bounds.resident_idle_ms
        for model, used_ms in list(self._turning.used_ms.items()):
            if used_ms < before and model not in self._tasks and not self._is_ending:
                self._start(model, is_idle=True)

    async def end(self, within_s: float) -> None:
        """Nothing new is begun; what is under way may end within this, and is done again after a start if it does not."""
        self._is_ending = True
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within_s)
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _start(self, model: str, *, is_idle: bool) -> None:
        task = asyncio.create_task(self._driven(model, is_idle), name=f"door-model-{model[:8]}")
        self._tasks[model] = task
        task.add_done_callback(lambda _: self._ended(model))

    def _ended(self, model: str) -> None:
        self._tasks.pop(model, None)
        if model in self._nudged and not self._is_ending:
            self._start(model, is_idle=False)

    async def _driven(self, model: str, is_idle: bool) -> None:
        """Until nothing is left to do."""
        tries = defects = 0
        if is_idle:
            await self._rested(model)
        while not self._is_ending:
            self._nudged.discard(model)
            try:
                if not await self._next(model, defects):
                    return
                tries = defects = 0
            except (
                JournalBroken
            ) as error:  # the disk's fault: nothing is held against the operation
                tries += 1
                logger.warning("a model's turn waits: %s", error)
                await self._let_go(model)
            except (HandsLost, CannotDo) as error:
                tries += 1
                defects += isinstance(error, CannotDo)
                self._means.count("hands_lost")
                logger.warning("a model's turn could not be done now: %s", error)
                await self._let_go(model)
            except Exception:
                tries += 1
                defects += 1
                logger.exception("a model's turn failed by a defect of the door")
                await self._let_go(model)
            if tries:
                await asyncio.sleep(wait_s(tries))

    async def _next(self, model: str, defects: int) -> bool:
        """Do what is next; whether there was something."""
        row, queued, questions = await self._means.journal.look(_next_of, model, self._means.bounds)
        if row is None:
            await self._turning.let_go(model)
            return False
        if not queued:
            return False
        if defects >= MAX_DEFECTS:
            sentence = "the door failed at this operation again and again; its log says where"
            ended = await self._turning.fail(model, queued[0].seq, sentence, "server", breaks=True)
        else:
            ended = await self._turning.do(row, queued, questions)
        self._means.wakes.wake(ended.futures)
        if ended.futures:
            self._means.wakes.wake((model,))
        return True

    async def _rested(self, model: str) -> None:
        row = await self._means.journal.look(models.of, model)
        try:
            if row is not None and (row["steps"] or row["bytes"]):
                await self._turning.keep(model, row["next_seq"])
        except HandsLost:
            logger.warning(
                "an idle model could not be kept; it will be made again from its operations"
            )
        await self._let_go(model)

    async def _let_go(self, model: str) -> None:
        try:
            await self._turning.let_go(model)
        except HandsLost:
            logger.warning("the hands did not answer that they forgot a model")


def _next_of(
    db: sqlite3.Connection, model: str, bounds: Bounds
) -> tuple[sqlite3.Row | None, tuple[Queued, ...], list[bytes]]:
    row = models.of(db, model)
    if row is None:
        return None, (), []
    waiting = futures.queue_of(db, model, bounds.turn_operations + 1)
    queued = next_together(waiting, row["next_seq"], bounds.turn_operations, bounds.turn_bytes)
    return row, queued, futures.questions(db, model, [each.seq for each in queued])
