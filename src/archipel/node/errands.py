"""What a lease needs before it can run: every file fetched, verified and on local disk.

`prepare` turns a lease into a message for the child; `delivery` brings the answer back. Law: what a kind
of work needs is said by `records.kinds`; nothing here knows a kind.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from archipel.blobs import BlobStore, StorageFull
from archipel.node.assigned import assigned_shards
from archipel.node.blob_door import door_of
from archipel.node.cache import Cache
from archipel.node.client import LabClient
from archipel.node.exchange import LabRefused, believed
from archipel.node.going_back import confirmed, why_stays
from archipel.node.home import REPLAY_FOLDER, make_empty
from archipel.node.lasting import FOLDER as LASTING_FOLDER
from archipel.node.lasting import Lasting
from archipel.node.lease import Lease
from archipel.node.open_runs import OpenRun, OpenRuns, Unprepared
from archipel.node.sealed import check_inputs, inputs_of
from archipel.node.settings import NodeSettings
from archipel.node.successors import Successors
from archipel.node.supply import Supply
from archipel.node.weights import Weights
from archipel.node.worker import Worker
from archipel.records.documents import (
    MAX_RUNS_TOLD,
    AcceptedWork,
    Handout,
    Have,
    HeldRun,
    Inputs,
)
from archipel.records.fields import BlobRef
from archipel.records.kinds import WORDS_OF, Spec
from archipel.records.statements import LeaseGranted
from archipel.records.words import Needs
from archipel.work.messages import DoWork, LinkMessage, ReplayMessage, ReplayStep, write_step
from archipel.work.recent import Recent
from archipel.work.remembered import GoBack

logger = logging.getLogger("archipel.node")

CPU_LIMIT_FACTOR = 4
"""Processor seconds allowed per second of deadline and thread: generous, but an end."""


class Errands:
    """Fetches for one child process."""

    def __init__(self, client: LabClient, store: BlobStore, settings: NodeSettings) -> None:
        self._client = client
        self._settings = settings
        self._held: defaultdict[str, Recent[str, int]] = defaultdict(Recent)
        """Kind of work -> run -> version of the weights that the child holds; -1: nobody knows."""
        self._supply = Supply(client, store, settings.mirrors)
        self.runs = OpenRuns(client, self._supply, settings)
        self.successors = Successors(client, settings, self.runs)
        self._weights = Weights(client, self._supply.fetch_published)
        self.door = door_of(settings, self._supply.shared)
        self._cache = Cache(store, settings.cache_bytes)
        memory = settings.home / LASTING_FOLDER
        self._lasting = None if settings.trusted else Lasting(memory, settings.lasting_bytes)

    def forget_child(self) -> None:
        """The child is new: it holds no weights."""
        self._held.clear()

    def forget_lab(self) -> None:
        """The lab may be another one: what it said of its runs counts no more."""
        self.runs.forget()
        self._held.clear()
        self._weights.forget()
        self._supply.forget()

    def have(self) -> Have:
        """What need not be sent beside the next lease."""
        latest = self.runs.names[-MAX_RUNS_TOLD:]
        return Have(
            runs={
                name: HeldRun(
                    opening=True,
                    version=self._weights.newest(name),
                    weights=min(self._held_versions(name), default=-1),
                )
                for name in latest
            },
            blobs=self._supply.marks,
            serving=None if self.door is None else self.door.serving,
            fetched=self._supply.peers.news(),
        )

    async def prepare(self, lease: Lease, worker: Worker) -> DoWork:
        """Everything the work needs, on local disk.

        Raises:
            LabUnreachable, LabRefused: from the lab; also when it shows what does not hold.
            Unprepared: a secret is missing, or the recipe is none.
            WorkFailure: the run's text is none, or used up.
            Unapproved: the operator of this machine does not know the recipe.
            DoesNotFit: more bytes than this machine could ever hold.
            StorageFull, OSError: this machine's disk; the cache was cleared to make room.
            WorkerLost: the child is gone.
        """
        try:
            try:
                return await self._prepared(lease, worker)
            finally:
                self._cache.use(self._supply.at_hand)
        except (StorageFull, OSError) as error:
            self._cache.give_up(error, self._supply.bytes_at_hand)
            raise

    def begun(self, grant: LeaseGranted) -> None:
        """The child moves its weights to those that this work names; where it is, shows when it is done."""
        if _needs(grant.spec).weights is not None:
            self._held[grant.spec.kind].put(grant.spec.run, -1)

    def finished(self, grant: LeaseGranted) -> None:
        """The child now holds the weights that this work named."""
        version = _needs(grant.spec).weights
        if version is not None:
            self._held[grant.spec.kind].put(grant.spec.run, version)

    async def _prepared(self, lease: Lease, worker: Worker) -> DoWork:
        grant, news = lease.grant, lease.news
        spec, needs = grant.spec, _needs(grant.spec)
        self._supply.lay(lease.blobs, news.sources)
        run = await self._open(spec, news.opening)
        if needs.weights is not None:
            self._forget_other(spec.run, needs.weights, getattr(spec, "policy", ""))
        await self._weights.learn(run.opened, news.versions)
        recipe, secret = await self.runs.extras(run) if needs.recipe else (None, None)
        if run.data and await worker.let_read(run.data):
            self.forget_child()
        inputs = await self._inputs(run, needs, news)
        replay, checkpoint, back = await self._catch_up(run, spec.kind, needs, worker)
        if self._lasting is not None:
            await asyncio.to_thread(self._lasting.begin, run.folder)
        return DoWork(
            work=grant.work,
            spec=spec,
            opened=run.opened,
            model=run.model,
            chain=tuple(await self._chain(run, spec.kind, needs)),
            blobs=await self._materials(run, spec, needs, inputs),
            folder=run.folder,
            secret=secret,
            recipe=recipe,
            inputs=inputs,
            replay=replay,
            checkpoint=checkpoint,
            back=back,
            cpu_limit_s=self._cpu_limit_s(grant),
        )

    def _cpu_limit_s(self, grant: LeaseGranted) -> int:
        left_s = max(self._client.clock.left_s(grant.deadline_ms), 1.0)
        return int(left_s * CPU_LIMIT_FACTOR * self._settings.threads) + 10

    async def _open(self, spec: Spec, news: str | None) -> OpenRun:
        return await self.runs.open(spec.run, news, trusted=WORDS_OF[spec.kind].trusted)

    async def _chain(self, run: OpenRun, kind: str, needs: Needs) -> list[LinkMessage]:
        if needs.weights is None:
            return []
        name, target = run.opened.run, needs.weights
        held = self._held[kind].peek(name)  # it counts as used once the child begins
        lowest = min([target, *self._held_versions(name)])
        return await self._weights.chain(run.opened, -1 if held is None else held, target, lowest)

    def _forget_other(self, run: str, version: int, policy: str) -> None:
        if self._weights.forget_other(run, version, policy):
            for held in self._held.values():
                held.take(run)
            told = {"run": run, "version": version, "policy": policy}
            logger.warning("another history of this run", extra=told)

    def _held_versions(self, run: str) -> list[int]:
        """Versions that the child holds weights of, of one run."""
        held = (runs.peek(run) for runs in self._held.values())
        return [version for version in held if version is not None and version >= 0]

    async def _inputs(self, run: OpenRun, needs: Needs, news: Handout) -> tuple[AcceptedWork, ...]:
        if needs.inputs is None:
            return ()
        if news.inputs is not None:
            inputs = news.inputs
            await asyncio.to_thread(believed, lambda: check_inputs(inputs, needs))
            return inputs
        if needs.memory is None:
            raise LabRefused("bad-inputs", "the lease came without what it builds on", 200)
        inputs = await self._inputs_of(run, needs.memory.version + 1)
        believed(lambda: check_inputs(inputs, needs))
        return inputs

    async def _catch_up(
        self, run: OpenRun, kind: str, needs: Needs, worker: Worker
    ) -> tuple[tuple[ReplayMessage, ...], Path | None, GoBack | None]:
        """What the child's memory missed, a checkpoint to start from if it needs one, and whether it has to go back."""
        memory = needs.memory
        if memory is None:
            return (), None, None
        known = await worker.remembered(kind, run.opened.run, run.folder)
        weights = self._weights
        position, back = await confirmed(
            known, memory, needs.inputs, lambda version: weights.policy_of(run.opened, version)
        )
        if back is not None:
            told = {"run": run.opened.run, "why": back.why, "goes_back_to": back.to}
            logger.warning("memory ahead", extra=told)
            folder = self._settings.home / LASTING_FOLDER / run.folder
            if fault := await asyncio.to_thread(why_stays, folder, time.time()):
                raise Unprepared(fault)
        checkpoint = None
        if memory.checkpoint is not None and position < memory.checkpoint_version:
            (checkpoint,) = await self._supply.fetch(memory.checkpoint)
            position = memory.checkpoint_version
        missed = range(max(position, 0) + 1, memory.version + 1)
        folder = self._settings.home / REPLAY_FOLDER
        await asyncio.to_thread(make_empty, folder)
        steps = [await self._step(run, version, folder) for version in missed]
        return tuple(steps), checkpoint, back

    async def _step(self, run: OpenRun, version: int, folder: Path) -> ReplayMessage:
        """An earlier update as a file: together they may be more than a message holds, or memory."""
        inputs = await self._inputs_of(run, version)
        step = ReplayStep(inputs=inputs, blobs=await self._fetch_all(_blobs_of(inputs)))
        file = folder / f"{version}.json"
        await asyncio.to_thread(write_step, file, step)
        return ReplayMessage(version=version, file=file)

    async def _inputs_of(self, run: OpenRun, version: int) -> tuple[AcceptedWork, ...]:
        path = f"/runs/{run.opened.run}/updates/{version}"
        document = await self._client.read(Inputs, path)
        labs = self._client.founding.labs
        return await asyncio.to_thread(
            believed, lambda: inputs_of(document, run.opened, version, labs)
        )

    async def _materials(
        self, run: OpenRun, spec: Spec, needs: Needs, inputs: tuple[AcceptedWork, ...]
    ) -> dict[str, Path]:
        """What records name, and what follows from that."""
        blobs = await self._fetch_all((*needs.blobs, *_blobs_of(inputs)))
        further = await asyncio.to_thread(assigned_shards, spec, run.opened.pace, blobs, inputs)
        return blobs | await self._fetch_all(further)

    async def _fetch_all(self, blobs: Iterable[BlobRef]) -> dict[str, Path]:
        wanted = list(blobs)
        paths = await self._supply.fetch(*wanted)
        return {blob.digest: path for blob, path in zip(wanted, paths, strict=True)}


def _needs(spec: Spec) -> Needs:
    needs: Needs = WORDS_OF[spec.kind].needs(spec)
    return needs


def _blobs_of(works: Iterable[AcceptedWork]) -> list[BlobRef]:
    return [blob for each in works for blob in WORDS_OF[each.answer.kind].blobs(each.answer)]
