"""A node that fetches versions and samples nothing: one process; run as `python -m archipel.bench.mesh_node JOB`.

Everything that brings bytes is the node's own: its client, its supply, its peers, its door with its limit on what it
sends. In place of a child it makes rollouts out of nothing, so that the run goes on. It prints `waiting` once it has
joined, and a line of JSON for each version that it has whole; it ends when its standard input does.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from archipel.bench.lab_run import RUN, capabilities, rollouts
from archipel.bench.lab_wire import refer
from archipel.blobs import BlobStore
from archipel.identity import Identity
from archipel.node.blob_door import BlobDoor
from archipel.node.client import LabClient
from archipel.node.exchange import LabUnreachable
from archipel.node.lease import Lease, Wanted
from archipel.node.sealed import opening_of
from archipel.node.supply import Supply
from archipel.node.weights import Weights
from archipel.records.documents import Have, HeldRun
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.statements import NodeJoined, RunOpened

KINDS = ("rollout",)
WAIT_S = 20.0
MAX_LIFE_S = 1800.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class NodeJob:
    """What a node is told."""

    url: str
    folder: str
    serve_rate: int
    """Bytes a second; 0: it only fetches."""
    is_liar: bool = False
    """What it serves is wrong by a byte."""


class LyingDoor(BlobDoor):
    """Serves every piece with its first byte changed."""

    def spoken(self, piece: bytes) -> bytes:
        """As it goes out."""
        return bytes([piece[0] ^ 1]) + piece[1:]


class FetchingNode:
    """One node."""

    def __init__(self, job: NodeJob) -> None:
        folder = Path(job.folder)
        self.client = LabClient(job.url, Identity.load_or_create(folder / "node.key"))
        self._supply = Supply(self.client, BlobStore(folder / "blobs", is_lasting=False))
        self._weights = Weights(self.client, self._supply.fetch_published)
        kind = LyingDoor if job.is_liar else BlobDoor
        self._door = (
            kind(self._supply.shared, LOOPBACK, 0, job.serve_rate) if job.serve_rate else None
        )
        self._opened: RunOpened | None = None
        self._count = 0

    @contextlib.asynccontextmanager
    async def joined(self) -> AsyncIterator[None]:
        """Known to the lab, and serving."""
        async with contextlib.AsyncExitStack() as doors:
            if self._door is not None:
                await doors.enter_async_context(self._door.open())
            await doors.enter_async_context(self.client)
            await self.client.greet()
            await self.client.submit(NodeJoined, capabilities=capabilities(KINDS))
            yield

    async def live(self) -> None:
        """Until cancelled."""
        lease: Lease | None = None
        while True:
            try:
                lease = await self.client.lease(self._wanted(), WAIT_S)
                if lease is not None:
                    await self._work(lease)
            except LabUnreachable as error:
                tell({"fault": str(error)[:200]})
                await asyncio.sleep(1.0)

    def _wanted(self) -> Wanted:
        newest = self._weights.newest(RUN)
        known = {RUN: HeldRun(opening=True, version=newest, weights=newest)} if newest >= 0 else {}
        have = Have(
            runs=known,
            serving=None if self._door is None else self._door.serving,
            fetched=self._supply.peers.news(),
        )
        return Wanted(KINDS, (), have)

    async def _work(self, lease: Lease) -> None:
        spec, news, peers = lease.grant.spec, lease.news, self._supply.peers
        if not isinstance(spec, RolloutSpec):
            raise TypeError(f"asked for rollouts, got {spec.kind}")
        if self._opened is None:
            founding = self.client.founding
            self._opened = opening_of(news.opening or "", founding, spec.run)
        down, given = self.client.bytes_down, peers.bytes_from_peers
        self._supply.lay(lease.blobs, news.sources)
        await self._weights.learn(self._opened, news.versions)
        await self._weights.chain(self._opened, spec.version - 1, spec.version, spec.version)
        told = {
            "version": spec.version,
            "at_s": time.monotonic(),
            "bytes": self.client.bytes_down - down,
            "of_peers": peers.bytes_from_peers - given,
        }
        self._count += 1
        groups = len(spec.groups)
        payload, num_tokens = rollouts(lease.grant.work, spec.policy, groups, self._count)
        answer = RolloutAnswer(
            policy=spec.policy, result=refer(payload), num_tokens=num_tokens, busy_ms=1
        )
        await self.client.answer(lease.grant.work, answer, (payload,), None)
        tell(told)


def tell(said: Mapping[str, object]) -> None:
    """A line for whoever started this process."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


async def live(job: NodeJob) -> None:
    """Join, and go on until standard input ends."""
    ended, node = asyncio.Event(), FetchingNode(job)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    async with node.joined():
        tell({"waiting": node.client.identity.did})
        living = asyncio.create_task(node.live())
        over = asyncio.create_task(ended.wait())
        await asyncio.wait({living, over}, timeout=MAX_LIFE_S, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        living.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await living


def main() -> None:
    """Run the job in the file that the one argument names."""
    asyncio.run(live(NodeJob(**json.loads(Path(sys.argv[1]).read_bytes()))))


if __name__ == "__main__":
    main()
