"""The agent: asks `decide.next_act` what to do, does it, and survives whatever happens.

Law: the lab may vanish, the child may crash, an answer may be refused; each costs at most the lease at
hand. Answers travel in the background while the child already works on the next lease.
"""

import asyncio
import contextlib
import logging
import random
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from archipel import __version__
from archipel.blobs import BlobStore
from archipel.identity import Identity
from archipel.node.client import LabClient, LabRefused, LabUnreachable
from archipel.node.decide import Act, View, backoff_s, next_act
from archipel.node.errands import Errands, Unprepared
from archipel.node.settings import NodeSettings
from archipel.node.totals import Totals
from archipel.node.worker import Worker, WorkerLost, WorkRefused
from archipel.records.statements import Capabilities, LeaseGranted, LeaseReturned, NodeJoined
from archipel.work.messages import Done, Setup

logger = logging.getLogger("archipel.node")

T = TypeVar("T")
LEAVE_LIMIT_S = 10.0
"""Last words to the lab may take this long."""
REFUSALS_TO_REJOIN = frozenset({"not-joined", "wrong-lab"})
ALREADY_ACCEPTED = "duplicate-result"
MAX_CHILD_FAILURES = 5
"""A child that fails this often in a row will not get better by itself."""


class NodeFailed(Exception):
    """The agent cannot go on; the message says what to do."""


class Agent:
    """One provider's machine."""

    def __init__(self, settings: NodeSettings, identity: Identity, store: BlobStore) -> None:
        self.settings = settings
        self.totals = Totals()
        self.client = LabClient(settings.lab_url, identity)
        self._errands = Errands(self.client, store, settings)
        self._worker: Worker | None = None
        self._grant: LeaseGranted | None = None
        self._joined = False
        self._stopping = False
        self._hurrying = False
        self._interrupt = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._child_failures = 0
        self._scratch = settings.home / "scratch"

    def stop(self) -> None:
        """First call: finish what is leased, then leave. Second: give it back now."""
        self._hurrying = self._stopping
        self._stopping = True
        self._interrupt.set()
        logger.info("stopping", extra={"hurrying": self._hurrying})

    async def run(self) -> Totals:
        """Work until stopped.

        Raises:
            NodeFailed: this machine cannot do the work, or the lab stayed away too long.
        """
        steps: dict[Act, Callable[[], Awaitable[None]]] = {
            Act.START_CHILD: self._start_child,
            Act.JOIN: self._join,
            Act.ASK: self._ask,
            Act.WORK: self._work,
            Act.DRAIN: self._drain,
            Act.GIVE_BACK: self._give_back,
        }
        try:
            while (act := next_act(self._view())) is not Act.LEAVE:
                await steps[act]()
        finally:
            await self._close()
        return self.totals

    def _view(self) -> View:
        return View(
            stopping=self._stopping,
            hurrying=self._hurrying,
            child_ready=self._worker is not None and self._worker.alive,
            joined=self._joined,
            leased=self._grant is not None,
            sending=len(self._sending),
        )

    async def _start_child(self) -> None:
        settings = self.settings
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        memory = settings.home / "memory"
        if settings.trusted:
            memory.mkdir(exist_ok=True)
        setup = Setup(
            scratch=str(self._scratch),
            readable=(
                *(str(path) for path in settings.readable),
                str(settings.home / "blobs"),
                str(settings.home / "models"),
            ),
            memory=str(memory) if settings.trusted else None,
            threads=settings.threads,
            engine=settings.engine,
            dtype=settings.dtype,
            device=settings.device,
            max_memory_bytes=settings.max_memory_bytes,
            trusted=settings.trusted,
        )
        (settings.home / "models").mkdir(exist_ok=True)
        log = settings.home / "child.log"
        try:
            environment = {**settings.environment, "TMPDIR": str(self._scratch)}
            self._worker = await Worker.start(setup, environment, log)
        except WorkerLost as error:
            self._child_failed(str(error))
            return
        self._errands.forget_child()

    async def _join(self) -> None:
        if self._worker is None:
            return
        try:
            measured = {} if self.settings.trusted else (await self._worker.benchmark()).values
        except (WorkerLost, WorkRefused) as error:
            await self._worker.kill()
            self._child_failed(f"the benchmark at joining failed: {error}")
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
            await self._patiently(join)
        except LabUnreachable:
            return
        self._joined = True
        logger.info(
            "joined", extra={"node": self.client.identity.did, "lab": self.client.lab, **measured}
        )

    async def _ask(self) -> None:
        start = time.monotonic()
        await self._far_away()
        try:
            asking = asyncio.ensure_future(
                self._patiently(
                    lambda: self.client.lease(self.settings.kinds, self.settings.poll_s)
                )
            )
            self._grant = await self._unless_interrupted(asking)
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
            message = await self._errands.prepare(grant, worker, _now_ms())
            left_s = (grant.deadline_ms - _now_ms()) / 1000
            done = await worker.work(message, max(left_s, 1.0), lambda tokens: None)
        except (WorkerLost, WorkRefused, Unprepared, LabRefused) as error:
            await self._work_failed(grant, error)
            return
        except LabUnreachable as error:
            logger.warning("lab unreachable", extra={"work": grant.work, "reason": str(error)})
            await asyncio.sleep(backoff_s(0, random.random()))  # noqa: S311  jitter, not secrecy
            if _now_ms() > grant.deadline_ms:
                self._grant = None
            return
        self._child_failures = 0
        self._errands.finished(grant)
        await self._rest(time.monotonic() - start)
        await self._send(grant, done, time.monotonic() - start)

    async def _rest(self, busy_s: float) -> None:
        """Stay within the share of time the operator allows."""
        self.totals.busy_s += busy_s
        if self.settings.duty < 1.0:
            await asyncio.sleep(busy_s * (1.0 / self.settings.duty - 1.0))

    async def _send(self, grant: LeaseGranted, done: Done, busy_s: float) -> None:
        """Deliver in the background, while the next work runs."""
        self._grant = None
        task = asyncio.create_task(self._deliver(grant, done, busy_s), name=grant.work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _deliver(self, grant: LeaseGranted, done: Done, busy_s: float) -> None:
        await self._far_away()
        outcome = await self._tell(grant, done, busy_s)
        shutil.rmtree(self._scratch / grant.work, ignore_errors=True)
        self.totals.count(outcome)
        if outcome != "accepted":
            return
        spec = grant.spec
        self.totals.version = max(self.totals.version, spec.version)
        self.totals.tokens += int(done.values.get("num_tokens", 0))
        self.totals.groups += len(getattr(spec, "groups", ()))
        self.totals.credit_micro += grant.price_micro
        logger.info(
            "accepted", extra={"run": spec.run, "work": grant.work, "version": spec.version}
        )

    async def _tell(self, grant: LeaseGranted, done: Done, busy_s: float) -> str:
        """Bring the answer to the lab; what became of it."""
        try:
            await self._patiently(
                lambda: self._errands.deliver(grant, done, int(busy_s * 1000)),
                until_ms=grant.deadline_ms,
            )
        except LabRefused as error:
            if error.problem == ALREADY_ACCEPTED:
                return "accepted"  # an earlier telling arrived, only its receipt was lost
            logger.warning("answer refused", extra={"work": grant.work, "reason": str(error)})
            return "refused"
        except LabUnreachable as error:
            logger.warning("answer lost", extra={"work": grant.work, "reason": str(error)})
            return "lost"
        return "accepted"

    async def _drain(self) -> None:
        if self._sending:
            await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)

    async def _give_back(self) -> None:
        grant, self._grant = self._grant, None
        if grant is not None:
            await self._return(grant, "the operator stopped the node")

    async def _work_failed(self, grant: LeaseGranted, error: Exception) -> None:
        self._grant = None
        self.totals.count("lost" if isinstance(error, WorkerLost) else "returned")
        logger.warning("work failed", extra={"work": grant.work, "reason": str(error)})
        await self._return(grant, str(error))
        if isinstance(error, LabRefused):
            await self._refused(error)
        else:
            self._child_failed(str(error))
            await asyncio.sleep(backoff_s(self._child_failures, random.random()))  # noqa: S311  jitter

    async def _return(self, grant: LeaseGranted, reason: str) -> None:
        try:
            async with asyncio.timeout(LEAVE_LIMIT_S):
                await self.client.submit(LeaseReturned, work=grant.work, reason=reason[:500])
        except (LabRefused, LabUnreachable, TimeoutError) as error:
            logger.warning("lease not returned", extra={"work": grant.work, "reason": str(error)})

    async def _refused(self, error: LabRefused) -> None:
        if error.problem in REFUSALS_TO_REJOIN:
            self._joined = False
        logger.warning("refused", extra={"reason": str(error)})
        await asyncio.sleep(backoff_s(2, random.random()))  # noqa: S311  jitter, not secrecy

    def _child_failed(self, reason: str) -> None:
        self._child_failures += 1
        if self._child_failures >= MAX_CHILD_FAILURES:
            raise NodeFailed(
                f"work failed {self._child_failures} times in a row on this machine ({reason}); "
                f"see {self.settings.home / 'child.log'}"
            )

    async def _patiently(self, call: Callable[[], Awaitable[T]], until_ms: int | None = None) -> T:
        """Repeat a call while the lab is unreachable, with growing waits.

        Raises:
            NodeFailed: it stayed away longer than the settings allow.
            LabUnreachable: still so at `until_ms`, or when the operator stops the node.
            LabRefused: the lab's answer.
        """
        start, attempt = time.monotonic(), 0
        while True:
            try:
                return await call()
            except LabUnreachable as error:
                away_s = time.monotonic() - start
                limit_s = self.settings.give_up_s
                if limit_s is not None and away_s > limit_s:
                    raise NodeFailed(
                        f"no lab at {self.client.url} for {away_s:.0f} s ({error})"
                    ) from None
                idle = self._stopping and until_ms is None
                if self._hurrying or idle or (until_ms is not None and _now_ms() > until_ms):
                    raise
                logger.warning("lab unreachable", extra={"attempt": attempt, "reason": str(error)})
                await asyncio.sleep(backoff_s(attempt, random.random()))  # noqa: S311  jitter
                attempt += 1

    async def _unless_interrupted(self, asking: "asyncio.Future[T]") -> T | None:
        """The result, or None as soon as the operator stops the node."""
        stopped = asyncio.create_task(self._interrupt.wait())
        either: set[asyncio.Future[Any]] = {asking, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if asking.done():
            return asking.result()
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        return None

    async def _far_away(self) -> None:
        if self.settings.latency_s:
            await asyncio.sleep(self.settings.latency_s)

    async def _close(self) -> None:
        for task in self._sending:
            task.cancel()
        if self._worker is not None:
            await self._worker.close()
        await self.client.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
