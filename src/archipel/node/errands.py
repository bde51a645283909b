"""What a lease needs before it can run, and what follows when it is done: fetch, and deliver.

Parts: `prepare` turns a grant into a message for the child, every file fetched and verified;
`deliver` turns the child's answer into uploads and a signed statement.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.blobs import BlobStore
from archipel.node.client import LabClient
from archipel.node.operator import describe_file
from archipel.node.settings import NodeSettings
from archipel.node.weights import Weights
from archipel.node.worker import Worker
from archipel.records.fields import BlobRef
from archipel.records.recipe import recipe_from_canonical
from archipel.records.statements import (
    EvaluateSpec,
    EvaluationSubmitted,
    LeaseGranted,
    Pace,
    PromptBatch,
    ResultInput,
    RolloutSpec,
    RolloutSubmitted,
    UpdateSpec,
    VersionPublished,
)
from archipel.work.messages import Done, DoWork, LinkMessage, ReplayMessage

MAX_SECRET_BYTES = 4096
CPU_LIMIT_FACTOR = 4
"""Processor seconds allowed per second of deadline and thread: generous, but an end."""


class Unprepared(Exception):
    """The machine lacks something that the work needs; the message says what to do."""


@dataclass
class OpenRun:
    """What an agent keeps of a run between works."""

    opening: dict[str, Any]
    pace: Pace
    model: Path
    held: int = -1
    """Version of the weights in the child's memory, of rollout and evaluate work."""


class Errands:
    """Fetches for, and delivers from, one child process."""

    def __init__(self, client: LabClient, store: BlobStore, settings: NodeSettings) -> None:
        self._client = client
        self._store = store
        self._settings = settings
        self._runs: dict[str, OpenRun] = {}
        self._weights = Weights(client, store)

    def forget_child(self) -> None:
        """The child is new: it holds no weights."""
        for run in self._runs.values():
            run.held = -1

    async def prepare(self, grant: LeaseGranted, worker: Worker, now_ms: int) -> DoWork:
        """Everything the work needs, on local disk.

        Raises:
            LabUnreachable, LabRefused: from the lab.
            Unprepared: a secret is missing.
            WorkerLost: the child is gone.
        """
        spec = grant.spec
        run = await self._open(spec.run)
        blobs: dict[str, str] = {}
        recipe, secret = await self._trusted_extras(run, spec)
        chain: list[LinkMessage] = []
        inputs: tuple[ResultInput, ...] = ()
        replay: tuple[ReplayMessage, ...] = ()
        if isinstance(spec, UpdateSpec):
            inputs, replay = await self._update_inputs(spec, worker)
            for each in (*inputs, *(one for past in replay for one in past.inputs)):
                blobs[each.result.digest] = str(await self._client.fetch(each.result, self._store))
        else:
            chain = await self._weights.chain(spec.run, run.held, spec.version)
        if isinstance(spec, RolloutSpec):
            for blob in spec.prompts:
                blobs[blob.digest] = str(await self._client.fetch(blob, self._store))
        left_s = max(grant.deadline_ms - now_ms, 1000) / 1000
        return DoWork(
            work=grant.work,
            spec=spec,
            pace=run.pace,
            model=str(run.model),
            chain=tuple(chain),
            blobs=blobs,
            secret=secret,
            recipe=recipe,
            inputs=inputs,
            replay=replay,
            cpu_limit_s=int(left_s * CPU_LIMIT_FACTOR * self._settings.threads) + 10,
        )

    def finished(self, grant: LeaseGranted) -> None:
        """The child now holds the weights that this work named."""
        if not isinstance(grant.spec, UpdateSpec):
            run = self._runs[grant.spec.run]
            run.held = max(run.held, grant.spec.version)

    async def deliver(self, grant: LeaseGranted, done: Done, busy_ms: int) -> dict[str, Any]:
        """Upload the answer's files and submit its statement; returns the lab's receipt."""
        blobs = {role: await self._upload(Path(path), grant) for role, path in done.files.items()}
        values, spec = done.values, grant.spec
        if isinstance(spec, RolloutSpec):
            return await self._client.submit(
                RolloutSubmitted,
                work=grant.work,
                policy=values["policy"],
                result=blobs["rollouts"],
                num_tokens=values["num_tokens"],
                busy_ms=busy_ms,
            )
        if isinstance(spec, EvaluateSpec):
            return await self._client.submit(
                EvaluationSubmitted,
                work=grant.work,
                version=spec.version,
                policy=values["policy"],
                report=blobs["report"],
                metrics=values["metrics"],
            )
        prompts = {role: blob for role, blob in blobs.items() if role.startswith("prompts-")}
        return await self._client.submit(
            VersionPublished,
            work=grant.work,
            version=spec.version,
            parent=spec.parent,
            policy=values["policy"],
            manifest=blobs["manifest"],
            anchor=blobs.get("anchor"),
            delta=blobs.get("delta"),
            prompts=tuple(
                PromptBatch(batch=int(role.removeprefix("prompts-")), blob=blob)
                for role, blob in sorted(prompts.items())
            ),
            metrics=values["metrics"],
        )

    async def _open(self, name: str) -> OpenRun:
        if name not in self._runs:
            opening = await self._client.get(f"/runs/{name}/opening")
            folder = self._settings.home / "models" / f"{name}-{opening['recipe']['digest'][7:19]}"
            folder.mkdir(parents=True, exist_ok=True)
            for file in opening["model"]:
                if self._settings.trusted or not file["name"].endswith(".safetensors"):
                    blob = BlobRef.model_validate(file["blob"])
                    path = await self._client.fetch(blob, self._store)
                    _link(path, folder / Path(file["name"]).name)
            pace = Pace.model_validate_json(_json(opening["pace"]))
            self._runs[name] = OpenRun(opening, pace, folder)
        return self._runs[name]

    async def _trusted_extras(
        self, run: OpenRun, spec: RolloutSpec | UpdateSpec | EvaluateSpec
    ) -> tuple[str | None, str | None]:
        if isinstance(spec, RolloutSpec):
            return None, None
        blob = BlobRef.model_validate(run.opening["recipe"])
        data = await asyncio.to_thread((await self._client.fetch(blob, self._store)).read_bytes)
        return data.decode(), self._secret(recipe_from_canonical(data).environment.secret)

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
        self, spec: UpdateSpec, worker: Worker
    ) -> tuple[tuple[ResultInput, ...], tuple[ReplayMessage, ...]]:
        if spec.version == 0:
            return (), ()
        position = await worker.position(spec.run)
        replay = [
            ReplayMessage(version=version, inputs=await self._inputs(spec.run, version))
            for version in range(max(position, 0) + 1, spec.version)
        ]
        return await self._inputs(spec.run, spec.version), tuple(replay)

    async def _inputs(self, run: str, version: int) -> tuple[ResultInput, ...]:
        listed = await self._client.get(f"/runs/{run}/updates/{version}")
        return tuple(ResultInput.model_validate_json(_json(each)) for each in listed)

    async def _upload(self, path: Path, grant: LeaseGranted) -> BlobRef:
        blob = await asyncio.to_thread(describe_file, path)
        await self._client.upload(path, blob, grant.work)
        return blob


def _link(source: Path, target: Path) -> None:
    if not target.exists():
        target.write_bytes(source.read_bytes())


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
