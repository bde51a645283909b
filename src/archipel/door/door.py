"""An open door: what is asked is admitted, written down, promised, done and told.

Parts: `Door`; `training_calls`, `sampling_calls` and `checkpoint_calls` are what may be asked of it. Laws: a promise is on the
disk before it is given; after a kill at any moment, whoever was promised something gets it, as it would have been.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from archipel.door import checkpoints, futures, leaps, models, outcomes, recorded, sessions
from archipel.door.accounts import Accounts
from archipel.door.admitting import Admitting
from archipel.door.bounds import Bounds
from archipel.door.driving import Driving
from archipel.door.folders import Folders
from archipel.door.hands import Hands, ServedModel
from archipel.door.journal import Journal, JournalBroken
from archipel.door.means import Means
from archipel.door.refusals import Declined
from archipel.door.sampled import Sampling
from archipel.door.wakes import Wakes, until

logger = logging.getLogger("archipel.door")
SWEEP_S = 5.0
END_S = 30.0
"""For what is under way, when the door is told to end."""
BOUNDS = Bounds()


def wall_ms() -> int:
    """Unix time."""
    return time.time_ns() // 1_000_000


class _Ends(Wakes):
    """Wakes, and tells that what is waited for no longer counts as waiting."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        super().__init__()
        self._told = ended

    def wake(self, names: Iterable[str]) -> None:
        found = tuple(names)
        for each in found:
            self._told(each)
        super().wake(found)


class Door:
    """One, over its folder."""

    def __init__(
        self,
        hands: Hands,
        folder: Path,
        accounts: Accounts,
        bounds: Bounds = BOUNDS,
        now_ms: Callable[[], int] = wall_ms,
        ticks_ms: Callable[[], int] = leaps.ticks_ms,
    ) -> None:
        """ticks_ms: of a clock that nobody sets.

        Raises:
            OSError, sqlite3.Error, JournalBroken: the folder cannot be used.
        """
        self.admitting = Admitting(accounts, now_ms)
        self.means = Means(
            hands,
            Journal(folder),
            Folders(folder),
            _Ends(self.admitting.ended),
            bounds,
            now_ms,
            self.admitting.share,
            self.admitting.used,
        )
        self.served = {each.name: each for each in hands.models()}
        self.driving, self.sampling = Driving(self.means), Sampling(self.means)
        self._fetched: set[str] = set()
        self._passing, self._ticks_ms = leaps.Passing(ticks_ms, now_ms()), ticks_ms
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Go on where the last process stopped."""
        means = self.means
        now_ms = means.now_ms()
        self._passing = leaps.Passing(
            self._ticks_ms, await means.journal.look(leaps.looked, now_ms)
        )
        await means.journal.do(sessions.heard_at_start, now_ms)
        for model in await means.journal.look(models.to_resume):
            self.driving.nudge(model)
        for tenant, future in await means.journal.look(futures.samples_waiting):
            self.sampling.nudge(tenant, future)
        await self.sweep()
        self._sweeping = asyncio.create_task(self._sweep_on(), name="door-sweep")

    def cut(self) -> None:
        """Long polls are told to come again; on the event loop."""
        self.means.wakes.close()

    async def stop(self, within_s: float = END_S) -> None:
        """What is under way ends, or is done again after the next start; then the journal is closed."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeping
        await asyncio.gather(self.driving.end(within_s), self.sampling.end(within_s))
        await self._write_fetched()
        await asyncio.to_thread(self.means.journal.close)

    def base(self, name: str) -> ServedModel:
        """The base that clients call so. Raises Declined."""
        if name not in self.served:
            raise Declined(
                "impossible",
                f"no model {name[:80]!r} here; expected one of {', '.join(self.served)}",
            )
        return self.served[name]

    async def fetch(self, tenant: str, name: str, wait_s: float) -> "futures.Told | None":
        """How a future ended; None: it has not, in that time. Raises Declined: it is gone."""
        look, deadline_s = self.means.journal.look, asyncio.get_running_loop().time() + wait_s
        event = self.means.wakes.listen(name)
        try:
            while True:
                event.clear()
                told = await look(futures.found, tenant, name)
                if told.state != "waiting":
                    return told
                if self.means.wakes.is_closed or not await until(event, deadline_s):
                    return None
        finally:
            self.means.wakes.leave(name, event)

    def was_fetched(self, name: str) -> None:
        """Its answer was sent whole; written down with others."""
        self._fetched.add(name)

    async def end_session(self, tenant: str, session: str, why: str) -> None:
        """Raises Declined: it is not there."""
        await self.means.journal.look(sessions.found, tenant, session)
        await self._end_session(session, why)

    async def end_model(self, model: str) -> None:
        """Its memory is given back; its checkpoints stay."""
        self._gone(await self.means.journal.do(models.end, model, self.means.now_ms()))
        await self.driving.forget(model)

    async def sweep(self) -> None:
        """What is over goes; once every few seconds."""
        means, now_ms = self.means, self.means.now_ms()
        do, bounds = means.journal.do, means.bounds
        await self._write_fetched()
        await do(leaps.follow, self._passing.leap_ms(now_ms), now_ms)
        self._passing.followed()
        for session in await means.journal.look(sessions.silent, bounds, now_ms):
            await self._end_session(session, "its client was silent")
        ended = await do(outcomes.never_came, now_ms - bounds.missing_ms, now_ms)
        means.wakes.wake(ended)
        await do(futures.sweep, bounds, now_ms)
        await do(sessions.sweep, bounds, now_ms)
        await do(recorded.sweep, bounds, now_ms)
        await do(checkpoints.sweep, now_ms)
        self.driving.rest(now_ms)
        in_use = means.folders.in_use()
        needed = await means.journal.look(checkpoints.folders)
        await asyncio.to_thread(means.folders.sweep, needed | in_use)

    async def _end_session(self, session: str, why: str) -> None:
        end = self.means.journal.do(sessions.end, session, why, self.means.now_ms())
        ended, gone = await end
        self._gone(gone)
        for model in ended:
            await self.driving.forget(model)

    def _gone(self, names: "list[str]") -> None:
        """Nobody is told what comes of these: whoever waits hears so, and they count and cost no more."""
        for each in names:
            self.sampling.cancel(each)
        self.means.wakes.wake(names)

    async def _write_fetched(self) -> None:
        names, self._fetched = list(self._fetched), set()
        if names:
            await self.means.journal.do(futures.fetched, names, self.means.now_ms())

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.sweep()
            except (JournalBroken, OSError, Declined):
                logger.exception("the door could not be swept; tried again in %g s", SWEEP_S)
