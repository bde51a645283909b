"""A child process that is none: it answers at once, in this process, unless a story has it fail."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from archipel.node.worker import WorkerLost, WorkRefused
from archipel.records.canonical import sha256_digest
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.kinds.update import UpdateSpec
from archipel.records.payload import BadPayload, read_payload
from archipel.records.programmes.rl import RlPace
from archipel.records.prompts import pack_prompts
from archipel.records.rollouts import pack_rollouts
from archipel.work.kind import by_contract
from archipel.work.messages import Done, DoWork, Setup, read_step
from archipel.work.remembered import Remembered
from people import rollout

Act = Callable[["StubWorker", DoWork], Done | None]
"""What the child does instead of working; None lets it work after all."""


class StubWorker:
    """Has the face of `archipel.node.worker.Worker`; class attributes are its script."""

    script: ClassVar[list[Act]] = []
    """One for each piece of work, the rest is honest."""
    pause_s: ClassVar[float] = 0.0
    started: ClassVar[int] = 0
    begun: ClassVar[list[str]] = []
    done: ClassVar[list[str]] = []
    asked: ClassVar[list[DoWork]] = []
    limits_s: ClassVar[list[float]] = []
    """Time that each work was given."""
    measured: ClassVar[dict[str, Any]] = {}
    """What the benchmark finds besides speed."""
    memories: ClassVar[dict[str, int]] = {}
    """Run -> version that the learner's memory stands at."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.protections = ("network",)
        self.pid = 1
        self.alive = True

    @classmethod
    def reset(cls) -> None:
        cls.script, cls.pause_s, cls.started = [], 0.0, 0
        cls.begun, cls.done, cls.asked, cls.limits_s = [], [], [], []
        cls.memories, cls.measured = {}, {}

    @classmethod
    async def start(
        cls, setup: Setup, environment: Mapping[str, str], log: Path, ranks: int = 1
    ) -> "StubWorker":
        cls.started += 1
        await asyncio.sleep(0)
        return cls(setup)

    async def benchmark(self) -> Done:
        found = {"tokens_per_s": 1000, "batch_invariant": True}
        return Done(files={}, values=found | self.measured)

    async def remembered(self, kind: str, run: str, folder: str) -> tuple[Remembered, ...]:
        assert kind in self.setup.kinds
        version = self.memories.get(run)
        return () if version is None else (Remembered(version=version),)

    async def work(
        self,
        message: DoWork,
        limit_s: float,
        on_tokens: Callable[[int], None],
        on_turns: Any = None,
    ) -> Done:
        act = self.script.pop(0) if self.script else None
        self.begun.append(message.work)
        self.asked.append(message)
        self.limits_s.append(limit_s)
        on_tokens(7)
        await asyncio.sleep(self.pause_s)
        answer = None if act is None else act(self, message)
        self.done.append(message.work)
        return answer or honest(self, message)

    async def kill(self) -> None:
        self.alive = False

    async def close(self) -> None:
        self.alive = False


def honest(worker: StubWorker, message: DoWork) -> Done:
    """What `people.Provider` and `people.Learner` would answer."""
    spec = message.spec
    if isinstance(spec, RolloutSpec):
        return sampled(worker, message, spec)
    if isinstance(spec, UpdateSpec):
        return learned(worker, message, spec)
    values = {"policy": spec.policy, "metrics": {"score_micro": 1}}
    return answered(worker, message, {"report": message.work.encode()}, values)


def sampled(worker: StubWorker, message: DoWork, spec: RolloutSpec) -> Done:
    pace = message.opened.pace
    assert isinstance(pace, RlPace)
    assert {each.digest for each in spec.prompts} == message.blobs.keys()
    groups = [
        [rollout(pace, f"{spec.policy}/{g}/{n}") for n in range(pace.group_size)]
        for g in spec.groups
    ]
    named = {"work": message.work, "policy": spec.policy, "exact": pace.exact}
    return written(worker, message, pack_rollouts(groups, **named))


def learned(worker: StubWorker, message: DoWork, spec: UpdateSpec) -> Done:
    """A version whose weights follow from all that its memory learned from."""
    pace, terms = message.opened.pace, message.opened.terms
    assert isinstance(pace, RlPace)
    position = worker.memories.get(spec.run, -1)
    if message.checkpoint is not None:
        assert spec.memory is not None
        position = spec.memory.version
    assert [each.version for each in message.replay] == [*range(max(position, 0) + 1, spec.version)]
    for each in message.replay:
        step = read_step(each.file)
        named = {done.answer.result.digest for done in step.inputs}  # type: ignore[attr-defined]  # rollouts
        assert named == step.blobs.keys()
        assert all(path.is_file() for path in step.blobs.values())
    worker.memories[spec.run] = spec.version
    results = [each.answer.result.digest for each in message.inputs]  # type: ignore[attr-defined]  # rollouts
    assert all(message.blobs[digest].is_file() for digest in results)
    weights = f"weights {spec.version} after {results}".encode()
    files = {"manifest": b"manifest of " + weights, "anchor": weights}
    if spec.version > 0 and spec.version % terms.checkpoint_every == 0:
        files["memory"] = b"memory of " + weights
    first = 0 if spec.version == 0 else spec.version + pace.max_staleness
    for batch in range(first, min(spec.version + pace.max_staleness + 1, terms.versions)):
        prompts = [(1, 3 + batch % 8, 3 + row % 8) for row in range(pace.groups_per_update)]
        files[f"prompts-{batch}"] = pack_prompts(prompts, batch=batch)
    values = {"policy": sha256_digest(weights), "metrics": {"reward_micro": 500_000}}
    return answered(worker, message, files, values)


def answered(
    worker: StubWorker, message: DoWork, files: Mapping[str, bytes], values: dict[str, Any]
) -> Done:
    folder = worker.setup.scratch / message.work
    folder.mkdir(exist_ok=True)
    for role, data in files.items():
        (folder / role).write_bytes(data)
    return Done(files={role: folder / role for role in files}, values=values)


def written(worker: StubWorker, message: DoWork, data: bytes) -> Done:
    """An answer to a rollout work, of these bytes."""
    assert isinstance(message.spec, RolloutSpec)
    values = {"policy": message.spec.policy, "num_tokens": _count(data)}
    values |= by_contract(message.opened.pace.exact)
    return answered(worker, message, {"rollouts": data}, values)


def _count(data: bytes) -> int:
    names = {"tokens": "I32", "logprobs": "F32", "lengths": "I32", "finished": "U8"}
    try:
        return len(read_payload(data, names).tensors["tokens"])
    except BadPayload:
        return 0


def crash(worker: StubWorker, message: DoWork) -> Done:
    worker.alive = False
    raise WorkerLost("the child ended with code -9")


def refuse(worker: StubWorker, message: DoWork) -> Done:
    raise WorkRefused("out of memory")
