"""A child process that is none: it answers at once, in this process, unless a story has it fail."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from archipel.node.worker import WorkerLost, WorkRefused
from archipel.records.payload import BadPayload, read_payload
from archipel.records.rollouts import pack_rollouts
from archipel.records.statements import RolloutSpec
from archipel.work.messages import Done, DoWork, Setup
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

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.protections = ("network",)
        self.alive = True

    @classmethod
    def reset(cls) -> None:
        cls.script, cls.pause_s, cls.started = [], 0.0, 0
        cls.begun, cls.done = [], []

    @classmethod
    async def start(
        cls, setup: Setup, environment: Mapping[str, str], log: Path, ranks: int = 1
    ) -> "StubWorker":
        cls.started += 1
        await asyncio.sleep(0)
        return cls(setup)

    async def benchmark(self) -> Done:
        return Done(files={}, values={"tokens_per_s": 1000, "batch_invariant": True})

    async def work(self, message: DoWork, limit_s: float, on_tokens: Callable[[int], None]) -> Done:
        act = self.script.pop(0) if self.script else None
        self.begun.append(message.work)
        await asyncio.sleep(self.pause_s)
        answer = None if act is None else act(self, message)
        self.done.append(message.work)
        return answer or honest(self, message)

    async def kill(self) -> None:
        self.alive = False

    async def close(self) -> None:
        self.alive = False


def honest(worker: StubWorker, message: DoWork) -> Done:
    """The rollouts that `people.Provider` would give."""
    spec = message.spec
    assert isinstance(spec, RolloutSpec)
    groups = [
        [rollout(message.pace, f"{spec.policy}/{g}/{n}") for n in range(message.pace.group_size)]
        for g in spec.groups
    ]
    return written(worker, message, pack_rollouts(groups, work=message.work, policy=spec.policy))


def written(worker: StubWorker, message: DoWork, data: bytes) -> Done:
    """An answer of these bytes."""
    folder = Path(worker.setup.scratch) / message.work
    folder.mkdir(exist_ok=True)
    (folder / "rollouts").write_bytes(data)
    values = {"policy": message.spec.policy, "num_tokens": _count(data)}
    return Done(files={"rollouts": str(folder / "rollouts")}, values=values)


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
