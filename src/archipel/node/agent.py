"""The agent: asks `decide.next_act` what to do, does it, and survives whatever happens.

Law: the lab may vanish, the child may crash, the disk may fill, an answer may be refused; each costs
at most the lease at hand. Answers travel in the background while the child already works on.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from archipel import __version__
from archipel.blobs import BlobError, BlobStore
from archipel.identity import Identity
from archipel.node.client import LabClient
from archipel.node.decide import Act, View, next_act
from archipel.node.delivery import LAST_WORDS_S, Deliveries
from archipel.node.errands import Errands, Unprepared
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.home import alone_in, ready_home
from archipel.node.patience import Interrupt, NodeFailed, Patience, now_ms
from archipel.node.settings import NodeSettings
from archipel.node.totals import Totals
from archipel.node.worker import Worker, WorkerLost, WorkRefused
from archipel.records.statements import Capabilities, LeaseGranted, NodeJoined, NodeLeft
from archipel.work.messages import Done

logger = logging.getLogger("archipel.node")

REFUSALS_TO_REJOIN = frozenset({"not-joined", "wrong-lab", "replayed-record"})
REFUSALS_AT_JOINING = frozenset({"not-allowed", "malformed-record", "bad-signature"})
"""Joining again would be refused again."""
MAX_CHILD_FAILURES = 5
"""A child that fails this often in a row will not get better by itself."""
REFUSED_PAUSE = 2
"""Back off as at the third attempt."""


class Agent:
    """One provider's machine. Make and run it inside one event loop."""

    def __init__(self, settings: NodeSettings, identity: Identity, store: BlobStore) -> None:
        self.settings = settings
        self.totals = Totals()
        self.client = LabClient(settings.lab_url, identity)
        self._interrupt = Interrupt()
        self._patience = Patience(settings.lab_url, self._interrupt, settings.give_up_s)
        self._errands = Errands(self.client, store, settings)
        self._deliveries = Deliveries(self.client, self._patience, settings, self.totals)
        self._worker: Worker | None = None
        self._grant: LeaseGranted | None = None
        self._joined = False
        self._child_failures = 0
        self._troubles = 0
        """Failures in a row that are neither the child's nor the lab's doing."""

    def stop(self) -> None:
        """First call: finish what is leased, then leave. Second: give it back now."""
        self._interrupt.press()
        logger.info("stopping", extra={"hurrying": self._interrupt.hurrying})

    async def run(self) -> Totals:
        """Work until stopped.

        Raises:
            NodeFailed: this machine cannot do the work, or the lab stayed away too long.
        """
        steps: dict[Act, Callable[[], Awaitable[None]]] = {
            Act.START_CHILD: lambda: self._unless_stopping(self._start_child),
            Act.JOIN: lambda: self._unless_stopping(self._join),
            Act.ASK: self._ask,
            Act.WORK: self._work,
            Act.DRAIN: self._drain,
            Act.GIVE_BACK: self._give_back,
        }
        with alone_in(self.settings.home):
            try:
                while (act := next_act(self._view())) is not Act.LEAVE:
                    await steps[act]()
            finally:
                await self._close()
        return self.totals

    def _view(self) -> View:
        return View(
            stopping=self._interrupt.stopping,
            hurrying=self._interrupt.hurrying,
            child_ready=self._worker is not None and self._worker.alive,
            joined=self._joined,
            leased=self._grant is not None,
            sending=len(self._deliveries.works),
        )

    async def _unless_stopping(self, step: Callable[[], Awaitable[None]]) -> None:
        await self._interrupt.unless_stopping(step())

    async def _start_child(self) -> None:
        settings = self.settings
        environment = {**settings.environment, "TMPDIR": str(settings.home / "scratch")}
        try:
            setup = ready_home(settings, self._deliveries.works)
            self._worker = await Worker.start(
                setup, environment, settings.home / "child.log", settings.ranks
            )
        except WorkerLost as error:
            await self._child_failed(str(error))
            return
        except OSError as error:
            await self._troubled(None, f"cannot start the child: {error}")
            return
        self._errands.forget_child()

    async def _join(self) -> None:
        if self._worker is None:
            return
        try:
            measured = {} if self.settings.trusted else (await self._worker.benchmark()).values
        except (WorkerLost, WorkRefused) as error:
            await self._worker.kill()
            await self._child_failed(f"the benchmark at joining failed: {error}")
            return
        capabilities = Capabilities(
            kinds=self.settings.kinds,
            engine=self.settings.engine,
            device=self.settings.device,
            software=f"archipel {__version__}",
            speed_milli=int(measured.get("tokens_per_s", 0) * 1000 * self.settings.duty),
            batch_invariant=bool(measured.get("batch_invariant", False)),
            protections=self._worker.protections,
        )

        async def join() -> None:
            await self.client.greet()
            await self.client.submit(NodeJoined, capabilities=capabilities)

        try:
            await self._patience.patiently(join)
        except LabUnreachable:
            return
        except LabRefused as error:
            if error.problem in REFUSALS_AT_JOINING:
                raise NodeFailed(f"the lab does not take this node: {error}") from None
            await self._refused(error)
            return
        self._errands.forget_lab()
        self._joined = True
        known = {"node": self.client.identity.did, "lab": self.client.lab}
        logger.info("joined", extra={**known, **measured})

    async def _ask(self) -> None:
        start = time.monotonic()
        await self._interrupt.unless_stopping(asyncio.sleep(self.settings.latency_s))
        settings, holding = self.settings, self._deliveries.works

        async def ask() -> LeaseGranted | None:
            return await self.client.lease(settings.kinds, settings.poll_s, holding)

        try:
            asking = self._patience.patiently(ask)
            self._grant = await self._interrupt.unless_stopping(asking)
        except LabUnreachable:
            self._grant = None
        except LabRefused as error:
            await self._refused(error)
        self.totals.waiting_s += time.monotonic() - start

    async def _work(self) -> None:
        grant, worker = self._grant, self._worker
        if grant is None or worker is None or not worker.alive:
            await self._give_back()
            return
        start = time.monotonic()
        try:
            done = await self._interrupt.unless_hurrying(self._carried_out(grant, worker))
        except (WorkerLost, WorkRefused, Unprepared) as error:
            await self._lose(grant, str(error), is_gone=isinstance(error, WorkerLost))
            await self._child_failed(str(error))
            return
        except LabRefused as error:
            await self._lose(grant, str(error))
            await self._refused(error)
            return
        except (BlobError, OSError) as error:
            await self._troubled(grant, f"this machine cannot hold the work: {error}")
            return
        except LabUnreachable as error:
            await self._wait_for_lab(grant, error)
            return
        if done is None:
            await worker.kill()
            return
        self._child_failures = self._troubles = 0
        self._errands.finished(grant)
        busy_s = time.monotonic() - start
        await self._rest(busy_s)
        self._grant = None
        self._deliveries.start(grant, done, busy_s, self.settings.latency_s)

    async def _carried_out(self, grant: LeaseGranted, worker: Worker) -> Done:
        message = await self._errands.prepare(grant, worker, now_ms())
        left_s = (grant.deadline_ms - now_ms()) / 1000
        return await worker.work(message, max(left_s, 1.0), lambda tokens: None)

    async def _wait_for_lab(self, grant: LeaseGranted, error: LabUnreachable) -> None:
        """The lease stays good until its deadline."""
        logger.warning("lab unreachable", extra={"work": grant.work, "reason": str(error)})
        await self._patience.pause(self._troubles)
        self._troubles += 1
        if now_ms() > grant.deadline_ms:
            self._grant = None

    async def _rest(self, busy_s: float) -> None:
        """Stay within the share of time the operator allows."""
        self.totals.busy_s += busy_s
        if self.settings.duty < 1.0:
            pause = asyncio.sleep(busy_s * (1.0 / self.settings.duty - 1.0))
            await self._interrupt.unless_stopping(pause)

    async def _drain(self) -> None:
        await self._interrupt.unless_hurrying(self._deliveries.next_end())

    async def _give_back(self) -> None:
        grant, self._grant = self._grant, None
        if grant is not None:
            self.totals.count("returned")
            await self._deliveries.give_back(grant, "the operator stopped the node")

    async def _lose(self, grant: LeaseGranted, reason: str, *, is_gone: bool = False) -> None:
        self._grant = None
        self.totals.count("lost" if is_gone else "returned")
        logger.warning("work failed", extra={"work": grant.work, "reason": reason})
        await self._deliveries.give_back(grant, reason)

    async def _refused(self, error: LabRefused) -> None:
        if error.problem in REFUSALS_TO_REJOIN:
            self._joined = False
        logger.warning("refused", extra={"reason": str(error)})
        await self._patience.pause(REFUSED_PAUSE)

    async def _troubled(self, grant: LeaseGranted | None, reason: str) -> None:
        """A full disk and its like: nobody's work is at fault, so wait until it is mended."""
        logger.error("trouble", extra={"reason": reason})
        if grant is not None:
            await self._lose(grant, reason)
        await self._patience.pause(self._troubles)
        self._troubles += 1

    async def _child_failed(self, reason: str) -> None:
        self._child_failures += 1
        if self._child_failures >= MAX_CHILD_FAILURES:
            raise NodeFailed(
                f"work failed {self._child_failures} times in a row on this machine ({reason}); "
                f"see {self.settings.home / 'child.log'}"
            )
        await self._patience.pause(self._child_failures)

    async def _close(self) -> None:
        await self._deliveries.close()
        if self._joined:
            try:
                async with asyncio.timeout(LAST_WORDS_S):
                    await self.client.submit(NodeLeft)
            except (LabRefused, LabUnreachable, TimeoutError) as error:
                logger.warning("left in silence", extra={"reason": str(error)})
        if self._worker is not None:
            await self._worker.close()
        await self.client.close()
