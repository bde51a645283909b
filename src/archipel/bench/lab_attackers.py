"""Attackers of a lab: one process that stands for strangers who are a burden; run as `python -m archipel.bench.lab_attackers JOB`.

Four ways: `joins` (new keys join, from an address each), `slow heads` (requests that never come to their end),
`silence` (connections that say nothing) and `giant uploads` (bodies far beyond any bound). The process says
`under way` on standard output, goes on until its standard input ends, writes what came of it to a file, and ends.
"""

import asyncio
import contextlib
import json
import random
import resource
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from archipel.bench.lab_run import ENVELOPE_TYPE, capabilities
from archipel.bench.lab_wire import Voice, Wire, WireBroken
from archipel.identity import Identity
from archipel.records.statements import NodeJoined

MAX_LIFE_S = 600.0
JOINERS = 16
CONNECTIONS = 2000
UPLOADERS = 16
BYTE_EVERY_S = 1.0
GIANT_BYTES = 10**13
PIECE = bytes(65_536)
AGAIN_S = 0.2
"""Whoever was cut off comes again after this."""


@dataclass(frozen=True)
class AttackJob:
    """What attackers are told."""

    host: str
    port: int
    lab: str
    way: str
    seed: int
    joins_per_s: float
    out: str


@dataclass
class Attack:
    """One process's."""

    job: AttackJob
    chance: random.Random
    came: Counter[str] = field(default_factory=Counter)
    """What happened -> how often."""

    def address(self) -> str:
        """Some loopback address that is nobody's yet, where there is more than one."""
        if not sys.platform.startswith("linux"):
            return ""
        return f"127.{self.chance.randrange(1, 255)}.{self.chance.randrange(256)}.{self.chance.randrange(1, 255)}"

    async def joins(self) -> None:
        """A new key, from a new address, at the rate that was asked for."""
        while True:
            await asyncio.sleep(self.chance.expovariate(self.job.joins_per_s / JOINERS))
            voice = Voice(self.job.lab, Identity.from_seed(self.chance.randbytes(32)))
            record = voice.say(NodeJoined, capabilities=capabilities(("rollout",)))
            wire = await Wire.connect(self.job.host, self.job.port, self.address())
            try:
                reply = await wire.send("POST /records", record, media_type=ENVELOPE_TYPE)
                self.came[f"joins {reply.status}"] += 1
            finally:
                wire.close()

    async def slow_heads(self) -> None:
        """The head of a request, a byte at a time."""
        reader, writer = await self._opened()
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: lab\r\nX-Long: ")
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(BYTE_EVERY_S)
        finally:
            writer.transport.abort()

    async def silence(self) -> None:
        """Connected, without a word."""
        reader, writer = await self._opened()
        try:
            await reader.read(1)
        finally:
            writer.transport.abort()

    async def giant_uploads(self) -> None:
        """As much of a body as is taken."""
        reader, writer = await self._opened()
        path = self.chance.choice(("POST /records", f"PUT /blobs/sha256:{'0' * 64}"))
        try:
            writer.write(
                f"{path} HTTP/1.1\r\nHost: lab\r\nContent-Type: application/json\r\n"
                f"Content-Length: {GIANT_BYTES}\r\n\r\n".encode()
            )
            while not reader.at_eof():
                writer.write(PIECE)
                await writer.drain()
                self.came["pieces sent"] += 1
                await asyncio.sleep(0)
        finally:
            writer.transport.abort()

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        source = self.address()
        local = (source, 0) if source else None
        found = await asyncio.open_connection(self.job.host, self.job.port, local_addr=local)
        self.came["connections"] += 1
        return found

    async def over_and_over(self, one: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled; whoever is cut off comes again."""
        while True:
            try:
                await one()
                self.came["ended by the lab"] += 1
            except (OSError, TimeoutError, WireBroken) as error:
                self.came[type(error).__name__] += 1
            await asyncio.sleep(AGAIN_S)


WAYS: dict[str, tuple[int, Callable[[Attack], Callable[[], Awaitable[None]]]]] = {
    "joins": (JOINERS, lambda attack: attack.joins),
    "slow heads": (CONNECTIONS, lambda attack: attack.slow_heads),
    "silence": (CONNECTIONS, lambda attack: attack.silence),
    "giant uploads": (UPLOADERS, lambda attack: attack.giant_uploads),
}
"""Way -> (how many at a time, what each does)."""


async def attacked(job: AttackJob) -> Attack:
    """One way, until standard input ends."""
    attack, ended = Attack(job, random.Random(job.seed)), asyncio.Event()  # noqa: S311  no secret
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    count, way = WAYS[job.way]
    tasks = [asyncio.create_task(attack.over_and_over(way(attack))) for _ in range(count)]
    sys.stdout.write("under way\n")
    sys.stdout.flush()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(MAX_LIFE_S):
            await ended.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return attack


def main() -> None:
    """Run the job in the file that the one argument names."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    job = AttackJob(**json.loads(Path(sys.argv[1]).read_bytes()))
    attack = asyncio.run(attacked(job))
    Path(job.out).write_text(json.dumps(attack.came))


if __name__ == "__main__":
    main()
