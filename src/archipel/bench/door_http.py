"""The same turns through a real door's HTTP and by calling its hands: what keys, journal, messages and polls add.

Parts: `Overhead`, `measure_http`, `Client` (of the protocol: protobuf up and down, operations sent without waiting, answers by long
poll). The door is a process of its own on loopback, over the very hands that are called directly in it. Law: both sides do the same work
in every round, in an order that alternates; the client has the door's cores, so that its own time counts as the door's.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from archipel.bench.door_side import Process, SideFailed
from archipel.bench.door_work import OPTIMISER, Step, Work, data_of
from archipel.door.wire import messages
from archipel.door.wire.tensors import tensor_message
from archipel.training.tenants.operations import Datum

SERVED = "archipel.bench.door_served"
NAME = "bench/base"
ANSWER_S, ROUND_S = 120.0, 600.0
BASE = "/api/v1/"


@dataclass(frozen=True)
class Overhead:
    """What is measured of HTTP."""

    tenants: tuple[int, ...] = (1, 8)
    """At once; (): nothing."""
    lengths: tuple[int, ...] = (32,)
    """Short ones: what HTTP adds is the same at any, and weighs most where a step is short."""
    rounds: int = 5
    steps: int = 4
    """Of every tenant in a round: more than a few, so that what is kept now and then counts too."""


@dataclass
class Passed:
    """So many tenants with sequences of one length; a list has a number for each round."""

    tenants: int
    length: int
    steps: int
    """Of a round, over all tenants."""
    http_wall_s: list[float] = field(default_factory=list)
    http_cpu_s: list[float] = field(default_factory=list)
    """Of the door's process."""
    direct_wall_s: list[float] = field(default_factory=list)
    direct_cpu_s: list[float] = field(default_factory=list)
    http_passes: list[int] = field(default_factory=list)
    """Over the base: the fewer, the more tenants had one together."""
    direct_passes: list[int] = field(default_factory=list)


class Told(Protocol):
    """Whoever hears how far it is."""

    def __call__(self, text: str, /) -> None:
        """A line."""


@dataclass(frozen=True)
class Placed:
    """Where the door's process has its files, and what it may know of this machine."""

    folder: Path
    environment: Mapping[str, str]


def measure_http(
    plan: Overhead, work: Work, placed: Placed, tell: Told, found: dict[str, Any]
) -> None:
    """Every number of tenants, into `found` as it comes; work: of the most of them. Raises SideFailed."""
    folder = placed.folder
    said = {"folder": str(folder / "served"), "work": asdict(work)}
    process = Process(SERVED, said, folder / "served.log", placed.environment)
    try:
        process.start()
        ready = process.ready()
        tell(f"a door serves {work.model}")
        asyncio.run(
            _rounds(plan, work, process, ready, lambda row: found["http"].append(row), tell)
        )
    except httpx.HTTPError as error:
        raise SideFailed(f"the door did not answer: {error!r:.300}") from None
    finally:
        process.end()


async def _rounds(
    plan: Overhead,
    work: Work,
    process: Process,
    ready: Mapping[str, Any],
    on_row: Callable[[dict[str, Any]], None],
    tell: Told,
) -> None:
    limits = httpx.Limits(max_connections=2 * work.tenants)
    async with httpx.AsyncClient(
        base_url=ready["address"], timeout=ANSWER_S, limits=limits
    ) as http:
        clients = [Client(http, key, work, number) for number, key in enumerate(ready["keys"])]
        await asyncio.gather(*(each.begin(plan.lengths[0]) for each in clients))
        for length in plan.lengths:
            for tenants in plan.tenants:
                row = Passed(tenants, length, tenants * plan.steps)
                for number in range(plan.rounds):
                    steps = [Step(1 + number * plan.steps + i, length) for i in range(plan.steps)]
                    await _round(row, clients[:tenants], process, steps, number)
                    tell(
                        f"door, round {number + 1} of {plan.rounds}: {tenants} tenants, {length} tokens"
                    )
                on_row(asdict(row))


async def _round(
    row: Passed,
    clients: "Sequence[Client]",
    process: Process,
    steps: Sequence[Step],
    number: int,
) -> None:
    """Both sides, one after the other."""
    for is_http in (True, False) if number % 2 else (False, True):
        before = await _clock(process)
        began_s = time.perf_counter()
        if is_http:
            async with asyncio.timeout(ROUND_S):
                await asyncio.gather(*(each.train(steps) for each in clients))
        else:
            process.tell(
                tenants=row.tenants, first=steps[0].number, steps=len(steps), length=row.length
            )
            await asyncio.to_thread(process.hear)
        wall_s, after = time.perf_counter() - began_s, await _clock(process)
        side = "http" if is_http else "direct"
        clock_s, passes = (after[name] - before[name] for name in ("clock_s", "passes"))
        for name, value in (("wall_s", wall_s), ("cpu_s", clock_s), ("passes", passes)):
            getattr(row, f"{side}_{name}").append(value)


async def _clock(process: Process) -> dict[str, Any]:
    """Of the door's process so far: processor seconds, and passes over its base."""
    process.tell(steps=0)
    return await asyncio.to_thread(process.hear)


class Client:
    """One tenant's program."""

    def __init__(self, http: httpx.AsyncClient, key: str, work: Work, number: int) -> None:
        """key: the tenant's own; number: which tenant of the work's it is."""
        self._http, self._key, self._work, self._number = http, key, work, number
        self._model, self._seq = "", 0

    async def begin(self, length: int) -> None:
        """A session, a model, and a first step of it that is not counted."""
        session = await self._post("create_session", {"tags": [], "sdk_version": "0.38.0"})
        lora = {"rank": self._work.rank, "seed": self._number, "train_unembed": False}
        asked = {
            "session_id": session["session_id"],
            "model_seq_id": 0,
            "base_model": NAME,
            "lora_config": lora,
        }
        made = await self._post("create_model", asked)
        self._model = made["model_id"]
        await self._end_of(made["request_id"])
        await self.train([Step(0, length)])

    async def train(self, steps: Sequence[Step]) -> None:
        """As the protocol's own client does: both calls of a step on their way, then both answers."""
        for step in steps:
            data = data_of(self._work, self._number, step)
            self._seq += 1
            asked = forward_backward(self._model, self._seq, data)
            passed = await self._post("forward_backward", asked)
            self._seq += 1
            adam = {
                "learning_rate": OPTIMISER.learning_rate,
                "beta1": OPTIMISER.beta1,
                "beta2": OPTIMISER.beta2,
                "eps": OPTIMISER.epsilon,
            }
            stepped = await self._post(
                "optim_step", {"model_id": self._model, "seq_id": self._seq, "adam_params": adam}
            )
            await self._end_of(passed["request_id"])
            await self._end_of(stepped["request_id"])

    async def _end_of(self, future: str) -> None:
        while True:
            answer = await self._ask("retrieve_future", {"request_id": future})
            if answer.status_code == httpx.codes.REQUEST_TIMEOUT:
                continue
            answer.raise_for_status()
            if messages.MEDIA_TYPE in answer.headers["content-type"]:
                messages.parse("ForwardBackwardOutput", answer.content)
            elif "error" in answer.json():
                raise SideFailed(f"the door refused what was asked: {answer.text[:300]}")
            return

    async def _post(self, path: str, asked: Mapping[str, Any] | bytes) -> dict[str, Any]:
        answer = await self._ask(path, asked)
        if answer.status_code != httpx.codes.OK:
            raise SideFailed(f"{path} was answered with {answer.status_code}: {answer.text[:300]}")
        found: dict[str, Any] = answer.json()
        return found

    async def _ask(self, path: str, asked: Mapping[str, Any] | bytes) -> httpx.Response:
        headers = {"x-api-key": self._key, "accept": f"{messages.MEDIA_TYPE}, application/json"}
        if isinstance(asked, bytes):
            headers["content-type"] = messages.MEDIA_TYPE
            return await self._http.post(BASE + path, content=asked, headers=headers)
        return await self._http.post(BASE + path, json=dict(asked), headers=headers)


def forward_backward(model: str, seq: int, data: Sequence[Datum]) -> bytes:
    """The question in protobuf."""
    asked = messages.new("ForwardBackwardRequest")
    asked.model_id, asked.seq_id, asked.loss_fn = model, seq, "cross_entropy"
    for datum in data:
        row = asked.data.add()
        row.model_input.add().encoded_text.tokens = datum.tokens_T.astype("<i4").tobytes()
        for name, values in datum.inputs.items():
            row.loss_fn_inputs[name].CopyFrom(tensor_message(values, values.shape))
    body: bytes = asked.SerializeToString()
    return body
