"""Questions put to a run's nodes one after the other, and what came of each.

Parts: `Patience` (how long for what), `Asking`; `Forgotten`.
Laws: one number after another without a gap, whatever the network loses; every wait ends; an answer is believed as far as
its bytes have their digest, and no further.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from archipel.door.hands import CannotDo, HandsLost
from archipel.door.remote.lab import Asked, Lab, LabAway, LabRefuses, Standing
from archipel.records.door import MAX_WITHDRAWN_AT_ONCE

logger = logging.getLogger("archipel.door")

CONFLICT = "conflict"
OF_THE_QUESTION = frozenset({"too-large", "wrong-shape", "out-of-range"})
"""Refusals for which whoever asked the door is to blame."""
NOT_THERE = frozenset({"not-found", "missing-blob"})
T = TypeVar("T")


class Forgotten(HandsLost):
    """The lab has no more what a question builds on."""


@dataclass(frozen=True)
class Patience:
    """How long a door waits for its lab and its nodes."""

    lasts_s: float = 3600.0
    """A question for its answer; then nobody needs it."""
    away_s: float = 600.0
    """For a lab that does not answer, or takes no more questions now."""
    poll_s: float = 30.0
    """The lab may hold back what it shows so long."""
    first_pause_s: float = 0.2
    last_pause_s: float = 10.0


@dataclass(frozen=True)
class _NotTaken:
    """A question that the lab has not."""

    why: str
    is_here: bool
    """The lab itself answers: it may have no room."""

    def __str__(self) -> str:
        return self.why


class Asking:
    """In one run, by one key."""

    def __init__(self, lab: Lab, patience: Patience, clock: Callable[[], float]) -> None:
        """clock: seconds, monotonic."""
        self._lab, self._patience, self._clock = lab, patience, clock
        self._next = 0
        self._waiting = 0
        self._turn = asyncio.Lock()

    @property
    def counts(self) -> dict[str, int]:
        """Questions so far in the run, and those that are waited for."""
        return {"questions": max(0, self._next - 1), "questions_waiting": self._waiting}

    @property
    def lasts_ms(self) -> int:
        """How long a question lasts."""
        return round(self._patience.lasts_s * 1000)

    async def begin(self) -> None:
        """Learn where the run stands.

        Raises:
            HandsLost: the lab does not say.
        """
        self._next = await self.patiently(self._lab.next_number)

    async def ask(self, asked: Asked, make_room: Callable[[], Awaitable[bool]]) -> int:
        """Its number, once the lab has it.

        make_room: withdraws what nobody needs; whether there was any.

        Raises:
            CannotDo: it is more than the run takes.
            HandsLost: the lab does not take it.
        """
        async with self._turn:
            until_s = self._clock() + self._patience.away_s
            pause_s = self._patience.first_pause_s
            while True:
                why = await self._tried(asked)
                if why is None:
                    self._next += 1
                    return self._next - 1
                if self._clock() >= until_s:
                    raise HandsLost(f"the lab took no question for a while: {why}")
                if not (why.is_here and await make_room()):
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, self._patience.last_pause_s)

    async def _tried(self, asked: Asked) -> "_NotTaken | None":
        """None: the lab has it; else why it may be tried again."""
        try:
            await self._lab.ask(self._next, asked)
        except LabAway as error:
            return await self._heard(error)
        except LabRefuses as error:
            if error.problem == CONFLICT:
                why = await self._heard(error)
                if why is None:
                    return None
            if error.problem in OF_THE_QUESTION:
                raise CannotDo(str(error)) from None
            kind = Forgotten if error.problem in NOT_THERE else HandsLost
            raise kind(f"the lab refuses a question: {error}") from None
        return None

    async def _heard(self, error: Exception) -> "_NotTaken | None":
        """None: the lab has the question whose receipt did not come."""
        try:
            has_it = await self._lab.next_number() > self._next
        except (LabAway, LabRefuses):
            return _NotTaken(str(error), is_here=False)
        return None if has_it else _NotTaken(str(error), is_here=True)

    async def answer(self, number: int) -> Standing:
        """What a node answered, and to what; both are there.

        Raises:
            HandsLost: nobody did in time, or the lab is away for too long.
        """
        self._waiting += 1
        try:
            return await self._answered(number)
        finally:
            self._waiting -= 1

    async def _answered(self, number: int) -> Standing:
        until_s = self._clock() + self._patience.lasts_s + self._patience.away_s
        while self._clock() < until_s:
            shown = await self.patiently(lambda: self._lab.standing(number, self._patience.poll_s))
            if shown.answer is not None and shown.spec is not None:
                return shown
            if shown.place == "gone":
                raise HandsLost(
                    f"question {number} is gone: no node answered it in time; look who works for the run, and ask again"
                )
        raise HandsLost(f"question {number} was not answered in time; ask again")

    async def standings(self) -> Iterable[Standing]:
        """Of all questions that the lab has.

        Raises:
            HandsLost: it does not say.
        """
        return await self.patiently(self._lab.standings)

    async def withdraw(self, numbers: list[int]) -> None:
        """Let the lab forget these; where it does not hear, they grow too old by themselves."""
        for start in range(0, len(numbers), MAX_WITHDRAWN_AT_ONCE):
            some = numbers[start : start + MAX_WITHDRAWN_AT_ONCE]
            try:
                await self._lab.withdraw(some)
            except (LabAway, LabRefuses) as error:
                logger.warning("%d questions were not withdrawn: %s", len(some), error)

    async def patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """What comes of a call that may be repeated.

        Raises:
            HandsLost: the lab is away for too long, or refuses.
        """
        until_s = self._clock() + self._patience.away_s
        pause_s = self._patience.first_pause_s
        while True:
            try:
                return await call()
            except LabAway as error:
                if self._clock() + pause_s >= until_s:
                    raise HandsLost(f"the lab is away: {error}") from None
            except LabRefuses as error:
                raise HandsLost(f"the lab refuses: {error}") from None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._patience.last_pause_s)
