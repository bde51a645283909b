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
from archipel.node.carrying import Carrying
from archipel.node.client import LabClient
from archipel.node.decide import Act, View, next_act
from archipel.node.delivery import Deliveries
from archipel.node.earnings import Earnings
from archipel.node.errands import Errands
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.failures import WorkFailure
from archipel.node.home import alone_in, ready_home
from archipel.node.hosting import Hosting
from archipel.node.introduction import NOT_ALONE, greet, introduce, is_alone, take_leave
from archipel.node.lease import Lease, Wanted
from archipel.node.patience import Interrupt, NodeFailed, Patience
from archipel.node.pausing import Watch
from archipel.node.setbacks import Setbacks, failure_of
from archipel.node.settings import NodeSettings
from archipel.node.standing import Doing, Standing
from archipel.node.stint import ALONE, Sharing
from archipel.node.totals import Totals
from archipel.node.worker import Worker, WorkerLost, WorkRefused
from archipel.records.statements import NodeJoined
from archipel.work.messages import Done

logger = logging.getLogger("archipel.node")

STOPPED = "the operator stopped the node"


class Agent:
    """One provider's machine. Make and run it inside one event loop."""

    def __init__(
        self,
        settings: NodeSettings,
        identity: Identity,
        store: BlobStore,
        stint: Sharing = ALONE,
    ) -> None:
        """stint: its way to a machine that other agents of this process use too."""
        self.settings, self._stint = settings, stint
        self.totals = Totals(is_unpaid=settings.trusted)
        self.standing = Standing()
        self.client = LabClient(settings.lab_url, identity)
        self._interrupt = Interrupt()
        self._patience = Patience(
            settings.lab_url, self._interrupt, settings.give_up_s, self.standing, stint
        )
        self._earnings = Earnings(settings.kept_in, identity.did, str(self.client.addresses))
        self.watch = Watch(settings.pausing, self.standing)
        self.errands = Errands(self.client, store, settings)
        self._turns = Hosting(self.client, self.errands.runs, settings)
        self._deliveries = Deliveries(self.client, self._patience, settings, self.totals)
        self._carrying = Carrying(self, self._interrupt, self._turns, stint)
        self._worker: Worker | None = None
        self._lease: Lease | None = None
        self._joined = self._introduced = False
        self._setbacks = Setbacks(self._deliveries, self._patience, settings, self.totals)

    def stop(self) -> None:
        """First call: finish what is leased, then leave. Second: give it back now."""
        self._interrupt.press()
        self.standing.stopping, self.standing.hurrying = True, self._interrupt.hurrying
        logger.info("stopping", extra={"hurrying": self._interrupt.hurrying})

    async def run(self) -> Totals:
        """Work until stopped.

        Raises:
            NodeFailed: this machine cannot do the work, or the lab stayed away too long.
        """
        unless = self._interrupt.unless_stopping
        steps: dict[Act, Callable[[], Awaitable[None]]] = {
            Act.START_CHILD: lambda: unless(self._start_child()),
            Act.JOIN: lambda: unless(self._join()),
            Act.PAUSE: lambda: unless(self._pause()),
            Act.YIELD: self._yield,
            Act.ASK: self._ask,
            Act.WORK: self._work,
            Act.DRAIN: self._drain,
            Act.GIVE_BACK: self._give_back,
        }
        with alone_in(self.settings.home):
            try:
                self.errands.successors.begin(self.standing)
                while (act := next_act(await self._view())) is not Act.LEAVE:
                    await steps[act]()
            finally:
                await self._close()
        return self.totals

    async def _view(self) -> View:
        await self._take_brought()
        await self._earnings.save_if_due(self.totals)
        return View(
            stopping=self._interrupt.stopping,
            hurrying=self._interrupt.hurrying,
            paused=self._is_paused(),
            yields=not self._stint.is_here,
            child_ready=self._worker is not None and self._worker.alive,
            joined=self._joined,
            leased=self._lease is not None,
            sending=len(self._deliveries.works),
            asking=self._deliveries.asking,
        )

    async def _take_brought(self) -> None:
        """A receipt may bring a lease at any time; one that comes too late goes back."""
        while self._lease is None and (lease := self._deliveries.take()) is not None:
            if self._interrupt.stopping:
                await self._setbacks.give_back(lease.grant, STOPPED)
            else:
                self._lease = lease

    def _wanted(self) -> Wanted | None:
        """What to ask for beside an answer: nothing, unless the child could begin at once."""
        is_ready = self._joined and self._worker is not None and self._worker.alive
        is_away = self._interrupt.stopping or self._is_paused() or not self._stint.is_here
        return self._request() if is_ready and not is_away else None

    @property
    def worker_pid(self) -> int | None:
        """Process id of its work process; None: it has none."""
        return None if self._worker is None else self._worker.pid

    def _is_paused(self) -> bool:
        return self.watch.is_paused(self.worker_pid)

    async def _yield(self) -> None:
        """Others have the machine; one that leaves waits only if it owes an answer."""
        hold, owes = self._interrupt, self._lease is not None
        self.standing.at(Doing.YIELDING)
        await (hold.unless_hurrying if owes else hold.unless_stopping)(self._stint.wait(owes=owes))

    async def _pause(self) -> None:
        await self.watch.sit_out()
        if self._worker is not None and self.watch.is_long:
            await self._worker.close()  # it would only keep memory from others

    def _request(self) -> Wanted:
        held = () if self._lease is None else (self._lease.grant.work,)
        holding, runs = (*self._deliveries.works, *held), self._stint.runs
        return Wanted(self.settings.kinds, holding, self.errands.have(), runs)

    async def _start_child(self) -> None:
        settings, log = self.settings, self.settings.home / "child.log"
        environment = {**settings.environment, "TMPDIR": str(settings.home / "scratch")}
        self.standing.at(Doing.STARTING)
        try:
            setup = ready_home(settings, self._deliveries.works)
            self._worker = await Worker.start(setup, environment, log, settings.ranks)
        except WorkerLost as error:
            await self._setbacks.child_failed(str(error))
            return
        except OSError as error:
            await self._setbacks.troubled(f"cannot start the child: {error}")
            return
        self.errands.forget_child()
        self.standing.confined(self._worker.protections, settings.trusted, settings.several)

    async def _join(self) -> None:
        if self._worker is None:
            return
        self.standing.at(Doing.MEASURING)
        try:
            capabilities = await introduce(self.settings, self._worker, self.standing)
        except (WorkerLost, WorkRefused) as error:
            await self._worker.kill()
            await self._setbacks.child_failed(f"the benchmark at joining failed: {error}")
            return

        async def join() -> None:
            said = await greet(self.errands.successors, self.settings, self.totals, self.standing)
            self._introduced = True  # the lab may know us, even if its receipt does not come
            await self.client.submit(NodeJoined, capabilities=capabilities, **said)

        self.standing.at(Doing.CONNECTING)
        try:
            await self._patience.patiently(join)
        except LabUnreachable:
            return
        except OSError as error:
            await self._setbacks.troubled(f"the lab's key cannot be remembered: {error}")
            return
        except LabRefused as error:
            if self._setbacks.bars(error):
                raise NodeFailed(f"the lab does not take this node: {error}") from None
            self._patience.no_lab(error)
            await self._refused(error)
            return
        self.errands.forget_lab()
        self._patience.found_lab()
        self._joined, self._setbacks.misread = True, 0
        self.standing.joined(self.client.lab, capabilities.speed_milli)
        await asyncio.to_thread(self._earnings.joined, self.client.lab, self.totals)
        await self._turns.joined()
        logger.info("joined", extra={"lab": self.client.lab} | capabilities.model_dump())

    async def _ask(self) -> None:
        if not await is_alone(self.client, self._deliveries):
            self._introduced = False  # leaving would take the other's work back, too
            raise NodeFailed(NOT_ALONE.format(key=self.client.identity.did))
        self.standing.at(Doing.WAITING)
        await self._interrupt.unless_stopping(asyncio.sleep(self.settings.latency_s))
        lease, poll_s = self.client.lease, self._stint.poll_s(self.settings.poll_s)
        try:
            with self.totals.waiting():
                asking = self._patience.patiently(lambda: lease(self._request(), poll_s))
                self._lease = await self._interrupt.unless_stopping(asking)
        except LabUnreachable:
            self._lease = None
        except LabRefused as error:
            await self._refused(error)
        if self._lease is None:
            self._stint.over(worked=False)

    async def _work(self) -> None:
        lease, worker = self._lease, self._worker
        if lease is None or worker is None or not worker.alive:
            await self._give_back()
            return
        start = time.monotonic()
        self._stint.took(lease.grant.spec.run)
        self.standing.works_on(lease.grant, self.client.clock.left_s(lease.grant.deadline_ms))
        try:
            done = await self._interrupt.unless_hurrying(self._carrying.out(lease, worker))
        except (WorkFailure, BlobError, OSError) as error:
            await self._failed(lease, error)
        except LabRefused as error:
            self._lease = None
            await self._setbacks.lose(lease.grant, str(error), fault=error.fault)
            await self._refused(error)
        except LabUnreachable as error:
            is_over = self.client.clock.left_s(lease.grant.deadline_ms) <= 0
            self._lease = None if is_over else lease
            await self._setbacks.absent(lease.grant, str(error), is_over)
        except Exception as error:  # whatever others sent, it costs this lease and no more
            logger.exception("work failed", extra={"work": lease.grant.work})
            await worker.kill()
            await self._failed(lease, error)
        else:
            if done is None:
                await worker.kill()
            else:
                await self._deliver(lease, done, time.monotonic() - start)
        finally:
            self._stint.over(worked=True)
            self.totals.progressed(0)
            self.standing.without_work()

    async def _deliver(self, lease: Lease, done: Done, busy_s: float) -> None:
        self._setbacks.over(lease.grant.spec.run)
        self.standing.well()
        self.errands.finished(lease.grant)
        await self._carrying.rest(busy_s)
        self._lease = None
        self._deliveries.start(lease.grant, done, busy_s, self._wanted)

    async def _drain(self) -> None:
        self.standing.at(Doing.DELIVERING)
        with self.totals.waiting():
            await self._interrupt.unless_hurrying(self._deliveries.next_end())

    async def _give_back(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            await self._setbacks.give_back(lease.grant, STOPPED)

    async def _failed(self, lease: Lease, error: Exception) -> None:
        self._lease = None
        await self._setbacks.failed(lease.grant, failure_of(error))

    async def _refused(self, error: LabRefused) -> None:
        self._joined = self._joined and not error.calls_for_joining
        await self._setbacks.refused(error)

    async def _close(self) -> None:
        self.standing.at(Doing.LEAVING)
        for part in (self.errands.successors, self._turns, self._deliveries):
            await part.close()
        while (lease := self._deliveries.take()) is not None:
            await self._setbacks.give_back(lease.grant, STOPPED)
        if self._introduced:
            await take_leave(self.client)
        await asyncio.to_thread(self._earnings.save, self.totals)
        if self._worker is not None:
            await self._worker.close()
        await self.client.close()
