"""Nodes that do a door's work with toys, by real words over real sockets, and a door beside them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from archipel.cli.door_at_lab import DoorAtLab
from archipel.door.hands import ModelForm, ServedModel
from archipel.door.remote.asking import Patience
from archipel.door.remote.hands import RemoteHands, open_hands
from archipel.door.remote.training import Site
from archipel.node.client import LabClient
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.lease import Wanted
from archipel.records.fields import BlobRef
from archipel.records.kinds.adapt import AdaptAnswer, AdaptSpec
from archipel.records.kinds.sample import SampleAnswer, SampleSpec
from archipel.records.programmes.door import DoorPace
from archipel.records.statements import NodeJoined
from archipel.training.tenants.operations import (
    Datum,
    ForwardBackward,
    Operation,
    OptimStep,
    Outcome,
    Refused,
    Scored,
    Stepped,
)
from archipel.training.tenants.parcels import pack_outcomes, unpack_operations
from archipel.work.packed import pack_folder
from archipel.work.question_payloads import pack_answers, unpack_questions
from archipel.work.questions import Completion, Sampled
from live import live
from people import identity, ref
from questions import DOOR, FORM, TRUSTED, Hand, open_door
from world import World

BASE = "tiny/base"
BEGINS = ModelForm(BASE, FORM, 7)
QUICK = Patience(lasts_s=20.0, away_s=5.0, poll_s=2.0, first_pause_s=0.02, last_pause_s=0.1)


def scored(tokens: int, weight: float = 1.0) -> ForwardBackward:
    row = np.full(tokens, weight, np.float32)
    datum = Datum(np.arange(tokens, dtype=np.int32), {"weights": row})
    return ForwardBackward((datum,), "cross_entropy")


def outcome_of(operation: Operation) -> Outcome:
    if isinstance(operation, OptimStep):
        return Stepped({"rate": operation.learning_rate})
    if operation.data[0].inputs["weights"][0] < 0:
        return Refused("a weight is negative; send others")
    rows = tuple(each.inputs["weights"] * -1 for each in operation.data)
    return Scored(rows, {"loss:sum": float(len(operation.data[0].tokens_T))})


def state_after(before: bytes, operations: bytes) -> bytes:
    return hashlib.sha256(before + operations).digest()


@dataclass
class ToyNode:
    """Its states are digests of all that was done."""

    world: World
    folder: Path
    name: str = "trained"
    spoils: int = 0
    """So many of its first answers are no outcomes."""
    done: list[AdaptSpec | SampleSpec] = field(default_factory=list)
    waits: asyncio.Event | None = None
    """Nothing is answered before it is set."""
    called: asyncio.Event = field(default_factory=asyncio.Event)
    """Work came while it waits."""

    async def serve(self, url: str) -> None:
        who = TRUSTED if self.name == "trained" else identity(self.name)
        async with LabClient(url, who) as client:
            await client.greet()
            stated = Hand(self.world, who).capabilities
            await client.submit(NodeJoined, capabilities=stated)
            while True:
                with suppress(LabUnreachable, LabRefused):
                    lease = await client.lease(Wanted(("adapt", "sample")), 0.5)
                    if lease is not None:
                        await self._work(client, lease.grant.work, lease.grant.spec)

    async def _work(self, client: LabClient, work: str, spec: Any) -> None:
        if self.waits is not None:
            self.called.set()
            await self.waits.wait()
        self.done.append(spec)
        if isinstance(spec, AdaptSpec):
            answer, blobs = self._adapted(spec)
        else:
            answer, blobs = self._sampled(spec)
        await client.answer(work, answer, blobs, None)

    def _read(self, blob: BlobRef) -> bytes:
        return self.world.blobs.read_bytes(blob.digest, blob.size)

    def _adapted(self, spec: AdaptSpec) -> tuple[AdaptAnswer, list[bytes]]:
        before = b"" if spec.state is None else self._read(spec.state)[-32:]
        data = self._read(spec.operations)
        state = packed(self.folder, state_after(before, data))
        outcomes = pack_outcomes([outcome_of(each) for each in unpack_operations(data)])
        if self.spoils:
            self.spoils, outcomes = self.spoils - 1, b"nothing"
        said = {"state": ref(state), "outcomes": ref(outcomes), "num_tokens": spec.num_tokens}
        return AdaptAnswer(**said, busy_ms=1), [state, outcomes]

    def _sampled(self, spec: SampleSpec) -> tuple[SampleAnswer, list[bytes]]:
        over = b"" if spec.adapter is None else self._read(spec.adapter)
        answers = []
        for each in unpack_questions(self._read(spec.questions)):
            seed = hashlib.sha256(over + bytes([each.seed])).digest()
            some = Completion(
                tuple(seed[: each.max_tokens]), (-1.0,) * each.max_tokens, "length", None
            )
            count = len(each.prompt) + each.num_samples * each.max_tokens
            answers.append(Sampled((some,) * each.num_samples, None, None, None, count))
        result = pack_answers(answers)
        tokens = sum(each.num_tokens for each in answers)
        said = {"policy": spec.policy, "result": ref(result), "num_tokens": tokens, "busy_ms": 1}
        return SampleAnswer(**said), [result]


def packed(folder: Path, state: bytes) -> bytes:
    """A state as one blob; its last bytes are the state's own."""
    place = folder / state.hex()
    if not place.exists():
        place.mkdir(parents=True)
        (place / "state.safetensors").write_bytes(state)
    pack_folder(place, folder / "blob")
    return (folder / "blob").read_bytes()


class Scene:
    """A lab that lives, its nodes, and doors over it one after the other."""

    def __init__(self, folder: Path, **pace: Any) -> None:
        self.folder, self.world = folder, World(folder / "lab", ledger_on_disk=False)
        bounds = {"question_bytes": 50_000, "answer_bytes": 50_000, "state_bytes": 50_000}
        open_door(self.world, "door", **(bounds | pace))
        self.node = ToyNode(self.world, folder / "toy")
        self.url = ""
        self._clients: list[LabClient] = []

    @property
    def opened(self) -> Any:
        return self.world.run("door").opened

    @property
    def next_number(self) -> int:
        return int(self.world.run("door").course.next_number)  # type: ignore[union-attr]

    async def door(self) -> RemoteHands:
        """A door that remembers nothing."""
        client = LabClient(self.url, DOOR)
        self._clients.append(client)
        await client.greet()
        pace = self.opened.pace
        assert isinstance(pace, DoorPace)
        served = (ServedModel(BASE, 64, 32, BASE, "qwen3"),)
        at_lab = DoorAtLab(client, self.opened, self.folder / "way")
        return await open_hands(
            at_lab, Site("door", pace, served, b"salt"), self.folder / "door", QUICK
        )

    @asynccontextmanager
    async def plays(self) -> AsyncIterator["Scene"]:
        async with live(self.world) as self.url:
            working = asyncio.create_task(self.node.serve(self.url))
            try:
                yield self
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
                for each in self._clients:
                    await each.close()
