"""The agent: asks `decide.next_act` what to do, does it, and survives whatever happens.

Law: the lab may vanish, the child may crash, the disk may fill, an answer may be refused; each costs
at most the lease at hand. Answers travel in the background while the child already works on.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from archipel.blobs import BlobError, BlobStore
from archipel.identity import Identity
from archipel.node.client import LabClient
from archipel.node.decide import Act, View, next_act
from archipel.node.delivery import LAST_WORDS_S, Deliveries
from archipel.node.errands import Errands
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.failures import Failures, WorkFailure
from archipel.node.home import alone_in, ready_home
from archipel.node.introduction import introduce
from archipel.node.lease import Lease, Wanted
from archipel.node.patience import Interrupt, NodeFailed, Patience
from archipel.node.settings import NodeSettings
from archipel.node.totals import Totals
from archipel.node.worker import Worker, WorkerLost, WorkRefused
from archipel.records.fields import Fault
from archipel.records.statements import LeaseGranted, NodeJoined, NodeLeft
from archipel.work.messages import Done

logger = logging.getLogger("archipel.node")

REFUSALS_TO_REJOIN = frozenset({"not-joined", "wrong-lab", "replayed-record"})
REFUSALS_AT_JOINING = frozenset({"not-allowed", "malformed-record", "bad-signature"})
"""Joining again would be refused again."""
REFUSED_PAUSE = 2
"""Back off as at the third attempt."""
MIN_TRY_S = 1.0
"""A lease that is nearly over is still tried this long: clocks agree only so far."""
STOPPED = "the operator stopped the node"


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
        self._lease: Lease | None = None
        self._joined = self._introduced = False
        self._failures = Failures(settings.home / "child.log")
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
                while (act := next_act(await self._view())) is not Act.LEAVE:
                    await steps[act]()
            finally:
                await self._close()
        return self.totals

    async def _view(self) -> View:
        await self._take_brought()
        return View(
            stopping=self._interrupt.stopping,
            hurrying=self._interrupt.hurrying,
            child_ready=self._worker is not None and self._worker.alive,
            joined=self._joined,
            leased=self._lease is not None,
            sending=len(self._deliveries.works),
            asking=self._deliveries.asking,
        )

    async def _take_brought(self) -> None:
        """A receipt may bring a lease at any time; one that comes too late to be begun goes back."""
        while self._lease is None and (lease := self._deliveries.take()) is not None:
            if self._interrupt.stopping:
                await self._return(lease.grant, STOPPED)
            else:
                self._lease = lease

    def _wanted(self) -> Wanted | None:
        """What to ask for beside an answer: nothing, unless the child could begin at once."""
        is_ready = self._joined and self._worker is not None and self._worker.alive
        return self._request() if is_ready and not self._interrupt.stopping else None

    def _request(self) -> Wanted:
        held = () if self._lease is None else (self._lease.grant.work,)
        holding = (*self._deliveries.works, *held)
        return Wanted(self.settings.kinds, holding, self._errands.have())

    async def _unless_stopping(self, step: Callable[[], Awaitable[None]]) -> None:
        await self._interrupt.unless_stopping(step())

    async def _start_child(self) -> None:
        settings, log = self.settings, self.settings.home / "child.log"
        environment = {**settings.environment, "TMPDIR": str(settings.home / "scratch")}
        try:
            setup = ready_home(settings, self._deliveries.works)
            self._worker = await Worker.start(setup, environment, log, settings.ranks)
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
            capabilities = await introduce(self.settings, self._worker)
        except (WorkerLost, WorkRefused) as error:
            await self._worker.kill()
            await self._child_failed(f"the benchmark at joining failed: {error}")
            return

        async def join() -> None:
            await self.client.greet()
            self._introduced = True  # the lab may know us, even if its receipt does not come
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
        logger.info("joined", extra=known | {"speed_milli": capabilities.speed_milli})

    async def _ask(self) -> None:
        await self._check_alone()
        start = time.monotonic()
        await self._interrupt.unless_stopping(asyncio.sleep(self.settings.latency_s))

        async def ask() -> Lease | None:
            return await self.client.lease(self._request(), self.settings.poll_s)

        try:
            asking = self._patience.patiently(ask)
            self._lease = await self._interrupt.unless_stopping(asking)
        except LabUnreachable:
            self._lease = None
        except LabRefused as error:
            await self._refused(error)
        self.totals.waiting_s += time.monotonic() - start

    async def _check_alone(self) -> None:
        """Two machines with one key take each other's leases back, without end.

        Raises:
            NodeFailed: there is another; the lease that it may hold is left to it.
        """
        if not self._deliveries.disowned:
            return
        self._deliveries.disowned = False
        try:
            is_alone = not await self.client.hears_another()
        except (LabRefused, LabUnreachable):
            return
        if not is_alone:
            self._introduced = False  # leaving would take the other's work back, too
            raise NodeFailed(
                f"another machine works with this node's key, {self.client.identity.did}, and each takes "
                "the other's work back; if this home is a copy, remove its node.key and start it again"
            )

    async def _work(self) -> None:
        lease, worker = self._lease, self._worker
        if lease is None or worker is None or not worker.alive:
            await self._give_back()
            return
        start = time.monotonic()
        try:
            done = await self._interrupt.unless_hurrying(self._carried_out(lease, worker))
        except WorkFailure as error:
            await self._failed(lease, error)
        except LabRefused as error:
            fault: Fault | None = None if error.problem in REFUSALS_TO_REJOIN else "work"
            await self._lose(lease, str(error), fault=fault)
            await self._refused(error)
        except LabUnreachable as error:
            await self._wait_for_lab(lease, error)
        except (BlobError, OSError) as error:
            await self._troubled(lease, f"this machine cannot hold the work: {error}")
        except Exception as error:  # whatever others sent, it costs this lease and no more
            logger.exception("work failed", extra={"work": lease.grant.work})
            await worker.kill()
            await self._failed(lease, WorkFailure(f"{type(error).__name__}: {error}"))
        else:
            if done is None:
                await worker.kill()
            else:
                await self._deliver(lease, done, time.monotonic() - start)
        finally:
            self.totals.progressed(0)

    async def _deliver(self, lease: Lease, done: Done, busy_s: float) -> None:
        self._failures.succeeded(lease.grant.spec.run)
        self._troubles = 0
        self._errands.finished(lease.grant)
        await self._rest(busy_s)
        self._lease = None
        self._deliveries.start(lease.grant, done, busy_s, self._wanted)

    async def _carried_out(self, lease: Lease, worker: Worker) -> Done:
        """Both fetching and working end with the lease.

        Raises:
            LabUnreachable: what it needs did not come in time.
        """
        clock, deadline_ms = self.client.clock, lease.grant.deadline_ms
        if clock.is_stale or clock.left_s(deadline_ms) <= 0:
            await self.client.set_clock()
        try:
            async with asyncio.timeout(max(clock.left_s(deadline_ms), MIN_TRY_S)):
                message = await self._errands.prepare(lease, worker)
        except TimeoutError:
            raise LabUnreachable("what the work needs did not come before its deadline") from None
        left_s = max(clock.left_s(deadline_ms), MIN_TRY_S)
        self._errands.begun(lease.grant)
        return await worker.work(message, left_s, self.totals.progressed)

    async def _wait_for_lab(self, lease: Lease, error: LabUnreachable) -> None:
        """The lease stays good until its deadline."""
        logger.warning("lab unreachable", extra={"work": lease.grant.work, "reason": str(error)})
        if self.client.clock.left_s(lease.grant.deadline_ms) <= 0:
            self._lease = None
            self.totals.count("lost")
        await self._patience.pause(self._troubles)
        self._troubles += 1

    async def _rest(self, busy_s: float) -> None:
        """Stay within the share of time the operator allows."""
        self.totals.busy_s += busy_s
        if self.settings.duty < 1.0:
            pause = asyncio.sleep(busy_s * (1.0 / self.settings.duty - 1.0))
            await self._interrupt.unless_stopping(pause)

    async def _drain(self) -> None:
        start = time.monotonic()
        await self._interrupt.unless_hurrying(self._deliveries.next_end())
        self.totals.waiting_s += time.monotonic() - start

    async def _give_back(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            await self._return(lease.grant, STOPPED)

    async def _return(self, grant: LeaseGranted, reason: str) -> None:
        self.totals.count("returned")
        await self._deliveries.give_back(grant, reason)

    async def _failed(self, lease: Lease, error: WorkFailure) -> None:
        """The next lease may be of another run; only a disk has to be mended first."""
        if error.fault is None:
            await self._troubled(lease, str(error))
            return
        await self._lose(lease, str(error), error.outcome, error.fault)
        if error.fault == "time":
            await self._patience.pause(0)
        else:
            await self._child_failed(str(error), lease.grant.spec.run)

    async def _lose(
        self, lease: Lease, reason: str, outcome: str = "returned", fault: Fault | None = None
    ) -> None:
        self._lease = None
        self.totals.count(outcome)
        logger.warning("work failed", extra={"work": lease.grant.work, "reason": reason})
        await self._deliveries.give_back(lease.grant, reason, fault)

    async def _refused(self, error: LabRefused) -> None:
        if error.problem in REFUSALS_TO_REJOIN:
            self._joined = False
        logger.warning("refused", extra={"reason": str(error)})
        await self._patience.pause(REFUSED_PAUSE)

    async def _troubled(self, lease: Lease | None, reason: str) -> None:
        """A full disk and its like: nobody's work is at fault, so wait until it is mended."""
        logger.error("trouble", extra={"reason": reason})
        if lease is not None:
            await self._lose(lease, reason)
        await self._patience.pause(self._troubles)
        self._troubles += 1

    async def _child_failed(self, reason: str, run: str | None = None) -> None:
        self._failures.failed(reason, run)
        await self._patience.pause(self._failures.in_a_row - 1)

    async def _close(self) -> None:
        await self._deliveries.close()
        while (lease := self._deliveries.take()) is not None:
            await self._return(lease.grant, STOPPED)
        if self._introduced:
            try:
                async with asyncio.timeout(LAST_WORDS_S):
                    await self.client.submit(NodeLeft)
            except (LabRefused, LabUnreachable, TimeoutError) as error:
                logger.warning("left in silence", extra={"reason": str(error)})
        if self._worker is not None:
            await self._worker.close()
        await self.client.close()
