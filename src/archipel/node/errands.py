"""What a lease needs before it can run: every file fetched, verified and on local disk.

`prepare` turns a grant into a message for the child; `delivery` brings the answer back.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from archipel.blobs import BlobStore, StorageFull
from archipel.node.cache import Cache
from archipel.node.client import LabClient
from archipel.node.documents import Opening
from archipel.node.operator import copy_file, is_copy_of
from archipel.node.settings import NodeSettings
from archipel.node.weights import Weights
from archipel.node.worker import Worker
from archipel.records.fields import BlobRef
from archipel.records.recipe import InvalidRecipe, recipe_from_canonical
from archipel.records.statements import (
    LeaseGranted,
    ResultInput,
    RolloutSpec,
    Spec,
    UpdateSpec,
)
from archipel.work.messages import DoWork, LinkMessage, ReplayMessage

MAX_SECRET_BYTES = 4096
CPU_LIMIT_FACTOR = 4
"""Processor seconds allowed per second of deadline and thread: generous, but an end."""


class Unprepared(Exception):
    """The machine lacks something that the work needs; the message says what to do."""


@dataclass
class OpenRun:
    """What an agent keeps of a run between works."""

    opening: Opening
    folder: str
    """The run's own folder name, never another run's."""
    model: Path
    held: dict[str, int] = field(default_factory=dict)
    """Kind of work -> version of the weights that the child holds for it."""


class Errands:
    """Fetches for one child process."""

    def __init__(self, client: LabClient, store: BlobStore, settings: NodeSettings) -> None:
        self._client = client
        self._store = store
        self._settings = settings
        self._runs: dict[str, OpenRun] = {}
        self._weights = Weights(client, store)
        self._cache = Cache(store, settings.cache_bytes)

    def forget_child(self) -> None:
        """The child is new: it holds no weights."""
        for run in self._runs.values():
            run.held.clear()

    def forget_lab(self) -> None:
        """The lab may be another one: what it said of its runs counts no more."""
        self._runs.clear()
        self._weights.forget()

    async def prepare(self, grant: LeaseGranted, worker: Worker, now_ms: int) -> DoWork:
        """Everything the work needs, on local disk.

        Raises:
            LabUnreachable, LabRefused: from the lab.
            Unprepared: a secret is missing, or the recipe is none.
            StorageFull, OSError: this machine's disk; the cache was cleared to make room.
            WorkerLost: the child is gone.
        """
        try:
            message = await self._prepared(grant, worker, now_ms)
        except (StorageFull, OSError):
            self._cache.clear()
            raise
        names = [
            path for link in message.chain for path in (link.manifest, link.anchor, link.delta)
        ]
        needed = [_digest_of(Path(name)) for name in names if name is not None]
        self._cache.use([*needed, *message.blobs])
        return message

    def finished(self, grant: LeaseGranted) -> None:
        """The child now holds the weights that this work named."""
        run = self._runs.get(grant.spec.run)
        if run is not None and not isinstance(grant.spec, UpdateSpec):
            run.held[grant.spec.kind] = grant.spec.version

    async def _prepared(self, grant: LeaseGranted, worker: Worker, now_ms: int) -> DoWork:
        spec = grant.spec
        run = await self._open(spec.run)
        recipe, secret = await self._trusted_extras(run, spec)
        chain: list[LinkMessage] = []
        inputs: tuple[ResultInput, ...] = ()
        replay: tuple[ReplayMessage, ...] = ()
        wanted: list[BlobRef] = list(spec.prompts) if isinstance(spec, RolloutSpec) else []
        if isinstance(spec, UpdateSpec):
            inputs, replay = await self._update_inputs(spec, run.folder, worker)
            past = [each for step in replay for each in step.inputs]
            wanted = [each.result for each in (*inputs, *past)]
        else:
            held = run.held.get(spec.kind, -1)
            chain = await self._weights.chain(spec.run, held, spec.version)
        blobs = {blob.digest: str(await self._client.fetch(blob, self._store)) for blob in wanted}
        left_s = max(grant.deadline_ms - now_ms, 1000) / 1000
        return DoWork(
            work=grant.work,
            spec=spec,
            pace=run.opening.pace,
            model=str(run.model),
            chain=tuple(chain),
            blobs=blobs,
            folder=run.folder,
            secret=secret,
            recipe=recipe,
            inputs=inputs,
            replay=replay,
            cpu_limit_s=int(left_s * CPU_LIMIT_FACTOR * self._settings.threads) + 10,
        )

    async def _open(self, name: str) -> OpenRun:
        if name not in self._runs:
            opening = await self._client.read(Opening, f"/runs/{name}/opening")
            folder = opening.folder(self._client.lab)
            model = self._settings.home / "models" / folder
            for file in opening.model:
                is_needed = self._settings.trusted or not file.name.endswith(".safetensors")
                copy = model / file.name
                if is_needed and not await asyncio.to_thread(is_copy_of, copy, file.blob):
                    path = await self._client.fetch(file.blob, self._store)
                    await asyncio.to_thread(copy_file, path, copy)
            self._runs[name] = OpenRun(opening, folder, model)
        return self._runs[name]

    async def _trusted_extras(self, run: OpenRun, spec: Spec) -> tuple[str | None, str | None]:
        if isinstance(spec, RolloutSpec):
            return None, None
        path = await self._client.fetch(run.opening.recipe, self._store)
        data = await asyncio.to_thread(path.read_bytes)
        try:
            secret = recipe_from_canonical(data).environment.secret
        except InvalidRecipe as error:
            raise Unprepared(f"the recipe of {spec.run} cannot be used here: {error}") from None
        return data.decode(), self._secret(secret)

    def _secret(self, name: str | None) -> str | None:
        if name is None:
            return None
        path = (self._settings.secrets or self._settings.home / "secrets") / name
        if not path.is_file():
            raise Unprepared(f"the run needs secret {name!r}; put it into {path} (mode 0600)")
        if path.stat().st_mode & 0o077:
            raise Unprepared(f"{path} may be read by others; run: chmod 600 {path}")
        with path.open("rb") as file:
            return file.read(MAX_SECRET_BYTES).hex()

    async def _update_inputs(
        self, spec: UpdateSpec, folder: str, worker: Worker
    ) -> tuple[tuple[ResultInput, ...], tuple[ReplayMessage, ...]]:
        if spec.version == 0:
            return (), ()
        position = await worker.position(spec.run, folder)
        replay = [
            ReplayMessage(version=version, inputs=await self._inputs(spec.run, version))
            for version in range(max(position, 0) + 1, spec.version)
        ]
        return await self._inputs(spec.run, spec.version), tuple(replay)

    async def _inputs(self, run: str, version: int) -> tuple[ResultInput, ...]:
        path = f"/runs/{run}/updates/{version}"
        return tuple(await self._client.read_all(ResultInput, path))


def _digest_of(path: Path) -> str:
    """A blob's file is named by its digest, in two parts."""
    return f"sha256:{path.parent.name}{path.name}"
