"""Waiting that can be ended: by the operator, by a deadline, or by the operator's patience.

`Interrupt` is Ctrl-C as the agent sees it; `patiently` repeats a call while the lab is unreachable.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from archipel.node.decide import backoff_s
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.standing import NO_ANSWER, Standing
from archipel.node.stint import ALONE, Sharing

logger = logging.getLogger("archipel.node")

T = TypeVar("T")


class NodeFailed(Exception):
    """The agent cannot go on; the message says what to do."""


class Interrupt:
    """Pressed once: finish what is leased, take nothing new. Twice: give it back now."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """Pressed at least once."""
        return self._stop.is_set()

    @property
    def hurrying(self) -> bool:
        """Pressed at least twice."""
        return self._hurry.is_set()

    def press(self) -> None:
        """Ctrl-C."""
        if self.stopping:
            self._hurry.set()
        self._stop.set()

    async def unless_stopping(self, work: Awaitable[T]) -> T | None:
        """The result of `work`; None, and an end to it, if the operator stops the node first."""
        return await _unless(self._stop, work)

    async def unless_hurrying(self, work: Awaitable[T]) -> T | None:
        """The result of `work`; None, and an end to it, if the operator is in a hurry first."""
        return await _unless(self._hurry, work)


async def _unless(event: asyncio.Event, work: Awaitable[T]) -> T | None:
    """A result that arrives in the same moment is kept: it may be a lease."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
    finally:
        waiting.cancel()
        working.cancel()
    return None if working.cancelled() else working.result()


class Patience:
    """How an agent bears an absent lab."""

    def __init__(
        self,
        url: str,
        interrupt: Interrupt,
        give_up_s: float | None,
        standing: Standing | None = None,
        stint: Sharing = ALONE,
    ) -> None:
        """standing: where it is said that the lab does not answer. stint: others have the machine meanwhile."""
        self._url, self._stint = url, stint
        self._standing = standing or Standing()
        self._interrupt = interrupt
        self._give_up_s = give_up_s
        self._no_lab_since_s: float | None = None

    async def patiently(self, call: Callable[[], Awaitable[T]], limit_s: float | None = None) -> T:
        """Repeat a call while the lab is unreachable, with growing waits.

        Raises:
            NodeFailed: it stayed away longer than the settings allow.
            LabUnreachable: still so after `limit_s`, or when the operator stops the node.
            LabRefused: the lab's answer.
        """
        start, attempt = time.monotonic(), 0
        until_s = None if limit_s is None else start + limit_s
        while True:
            try:
                result = await call()
            except LabUnreachable as error:
                self._check_given_up(time.monotonic() - start, error)
                if self._is_over(until_s):
                    raise
                logger.warning("lab unreachable", extra={"attempt": attempt, "reason": str(error)})
                await self.pause(attempt, NO_ANSWER, str(error))
                attempt += 1
            else:
                self._standing.well()
                return result

    def no_lab(self, error: LabRefused) -> None:
        """If what answers at the address is no lab, the lab is as far away as if nothing did.

        Raises:
            NodeFailed: so for longer than the settings allow.
        """
        if not error.is_no_labs:
            return
        now_s = time.monotonic()
        if self._no_lab_since_s is None:
            self._no_lab_since_s = now_s
        self._check_given_up(now_s - self._no_lab_since_s, error)

    def found_lab(self) -> None:
        """What answers is a lab."""
        self._no_lab_since_s = None

    def suffers(self, what: str) -> bool:
        """Whether nothing went well since this trouble."""
        trouble = self._standing.trouble
        return trouble is not None and trouble.what == what

    async def pause(self, attempt: int, what: str, reason: str) -> None:
        """Back off after this trouble, unless the operator is in a hurry."""
        wait_s = backoff_s(attempt, random.random())  # noqa: S311  jitter, not secrecy
        self._standing.troubled(what, reason, wait_s)
        self._stint.over(worked=False)
        await self._interrupt.unless_hurrying(asyncio.sleep(wait_s))

    def _is_over(self, until_s: float | None) -> bool:
        if until_s is None:
            return self._interrupt.stopping
        return self._interrupt.hurrying or time.monotonic() > until_s

    def _check_given_up(self, away_s: float, error: LabUnreachable | LabRefused) -> None:
        if self._give_up_s is not None and away_s > self._give_up_s:
            raise NodeFailed(f"no lab at {self._url} for {away_s:.0f} s ({error})") from None
