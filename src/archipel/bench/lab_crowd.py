"""A crowd: one process that stands for thousands of nodes; run as `python -m archipel.bench.lab_crowd JOB`.

Each node has its own key and its own connection: it joins, waits for work by long poll, works for about
a second (it sleeps), answers, and waits again. The process says `waiting` on standard output once all of
them wait, goes on until its standard input ends, writes what it saw to a file, and ends.
"""

import asyncio
import contextlib
import json
import random
import resource
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from archipel.bench.lab_run import (
    ENVELOPE_TYPE,
    Unexpected,
    capabilities,
    granted,
    read_handout,
    request_for_work,
    rollouts,
    submission,
)
from archipel.bench.lab_wire import Voice, Wire, WireBroken, refer
from archipel.identity import Identity
from archipel.records.document import read_document
from archipel.records.documents import Handout, Receipt
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.parcel import MEDIA_TYPE, pack_parcel, unpack_parcel
from archipel.records.statements import LeaseGranted, NodeJoined, WorkAnswered

KINDS = ("rollout",)
MAX_JOINING = 16
"""Nodes of one crowd that connect and join at the same time."""
JOIN_LIMIT_S = 300.0
GRACE_S = 30.0
"""An answer that is later than this after it was due counts as lost."""
MAX_LIFE_S = 3600.0


@dataclass(frozen=True)
class CrowdJob:
    """What a crowd is told."""

    host: str
    port: int
    lab: str
    nodes: int
    seed: int
    wait_s: float
    work_s: float
    """A node works between half and one and a half times as long."""
    is_next_asked: bool
    """Every answer asks for the next lease as well."""
    out: str
    source: str = ""
    """Address that its nodes connect from; a lab bounds what one address may hold."""


@dataclass
class Seen:
    """What a crowd saw; seconds are of the monotonic clock, which all processes share."""

    records: list[tuple[float, float, int]] = field(default_factory=list)
    """(when the receipt came, seconds since the answer was sent, index in the ledger)."""
    grants: list[tuple[float, float, int]] = field(default_factory=list)
    """(when it came, when it was asked for, version)."""
    polls: list[float] = field(default_factory=list)
    """When requests for work were answered, with work or without."""
    joins: list[tuple[float, float]] = field(default_factory=list)
    """(when, seconds since it was sent)."""
    faults: dict[str, int] = field(default_factory=Counter)
    """Anything but what was hoped for -> how often."""


class LightNode:
    """One node."""

    def __init__(self, job: CrowdJob, number: int, seen: Seen) -> None:
        self._job = job
        self._chance = random.Random(job.seed * 1_000_003 + number)  # noqa: S311  spreads waits, no secret
        self._voice = Voice(job.lab, Identity.from_seed(self._chance.randbytes(32)))
        self._wire: Wire | None = None
        self._seen = seen
        self._version = -1
        self._count = 0

    async def join(self) -> None:
        """Connect and present itself."""
        record = self._voice.say(NodeJoined, capabilities=capabilities(KINDS))
        sent = time.monotonic()
        reply = await (await self._connected()).send(
            "POST /records", record, media_type=ENVELOPE_TYPE, limit_s=JOIN_LIMIT_S
        )
        if reply.status != 200:
            raise Unexpected(f"{reply.status}: {reply.body[:200].decode(errors='replace')}")
        now = time.monotonic()
        self._seen.joins.append((now, now - sent))

    async def live(self) -> None:
        """Until cancelled."""
        wait_s = self._chance.uniform(0.0, self._job.wait_s)  # not all at once ever after
        while True:
            try:
                handout = await self._ask(wait_s)
                while handout is not None:
                    handout = await self._work(granted(handout))
            except (WireBroken, TimeoutError, OSError, Unexpected) as error:
                said = str(error) if isinstance(error, Unexpected) else type(error).__name__
                self._seen.faults[said[:120]] += 1
                await asyncio.sleep(1.0)
            wait_s = self._job.wait_s

    async def _ask(self, wait_s: float) -> Handout | None:
        asked = request_for_work(self._voice, KINDS, self._version)
        body = pack_parcel(asked.model_dump_json().encode(), ())
        sent = time.monotonic()
        reply = await (await self._connected()).send(
            f"POST /leases?wait_s={wait_s:.3f}",
            body,
            media_type=MEDIA_TYPE,
            limit_s=wait_s + GRACE_S,
        )
        now = time.monotonic()
        handout = read_handout(reply)
        self._seen.polls.append(now)
        if handout is not None:
            self._take(handout, now, sent)
        return handout

    def _take(self, handout: Handout, now: float, sent: float) -> None:
        spec = granted(handout).spec
        if not isinstance(spec, RolloutSpec):
            raise Unexpected(f"asked for rollouts, got {spec.kind}")
        self._version = max(self._version, spec.version)
        self._seen.grants.append((now, sent, spec.version))

    async def _work(self, grant: LeaseGranted) -> Handout | None:
        await asyncio.sleep(self._chance.uniform(0.5, 1.5) * self._job.work_s)
        self._count += 1
        spec = grant.spec
        if not isinstance(spec, RolloutSpec):
            raise Unexpected(f"asked for rollouts, got {spec.kind}")
        payload, num_tokens = rollouts(grant.work, spec.policy, len(spec.groups), self._count)
        answer = RolloutAnswer(
            policy=spec.policy, result=refer(payload), num_tokens=num_tokens, busy_ms=1000
        )
        record = self._voice.say(WorkAnswered, work=grant.work, answer=answer)
        following = None
        if self._job.is_next_asked:
            following = request_for_work(self._voice, KINDS, self._version)
        body = submission(record, (payload,), following)
        sent = time.monotonic()
        wire = await self._connected()
        reply = await wire.send("POST /records", body, media_type=MEDIA_TYPE, limit_s=GRACE_S)
        now = time.monotonic()
        if reply.status != 200:
            raise Unexpected(f"{reply.status}: {reply.body[:200].decode(errors='replace')}")
        document = unpack_parcel(reply.body)[0] if reply.media_type == MEDIA_TYPE else reply.body
        receipt = read_document(Receipt, document)
        self._seen.records.append((now, now - sent, receipt.index))
        if receipt.handout is not None:
            self._take(receipt.handout, now, sent)
        return receipt.handout

    async def _connected(self) -> Wire:
        if self._wire is None or not self._wire.is_open:
            if self._wire is not None:
                self._seen.faults["reconnected"] += 1
            self._wire = await Wire.connect(self._job.host, self._job.port, self._job.source)
        return self._wire


async def crowd(job: CrowdJob) -> Seen:
    """All nodes of one process, until standard input ends."""
    seen, ended, gate = Seen(), asyncio.Event(), asyncio.Semaphore(MAX_JOINING)
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    waiting = 0

    async def node(number: int) -> None:
        nonlocal waiting
        light = LightNode(job, number, seen)
        async with gate:
            await light.join()
        waiting += 1
        if waiting == job.nodes:
            sys.stdout.write("waiting\n")
            sys.stdout.flush()
        await light.live()

    tasks = [asyncio.create_task(node(number)) for number in range(job.nodes)]
    over = asyncio.create_task(_until(ended))
    first = await asyncio.wait(
        {over, *tasks}, timeout=MAX_LIFE_S, return_when=asyncio.FIRST_COMPLETED
    )
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)
    for task in first[0] - {over}:
        task.result()  # a node that could not join ends it all
    return seen


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def main() -> None:
    """Run the job in the file that the one argument names."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    job = CrowdJob(**json.loads(Path(sys.argv[1]).read_bytes()))
    seen = asyncio.run(crowd(job))
    Path(job.out).write_text(json.dumps(asdict(seen)))


if __name__ == "__main__":
    main()
