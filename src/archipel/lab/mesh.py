"""Which nodes pass versions on, and which of them a node is sent to: a lab's knowledge of it, in memory.

Parts: `Mesh` (who is here, and what each blob's `Spread` is), `Chunks` (digests of a blob's chunks, made once). Law: no
part of the folded state, so a lab that restarts has forgotten all of it, and everything comes from the lab until nodes
ask anew; what nodes say here moves no credit and no version: at worst it makes the star.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from archipel.blobs.errors import BlobError
from archipel.blobs.pacing import Meter, Pacer
from archipel.blobs.port import Blobs
from archipel.lab.spread import Member, Spread
from archipel.market.dissemination import MAX_NODES, plan
from archipel.records.documents import Have
from archipel.records.fields import BlobRef
from archipel.records.kinds import TRUSTED
from archipel.records.parcel import SMALL_BLOB_BYTES
from archipel.records.sources import (
    MAX_SOURCES_TOLD,
    BlobSources,
    Peer,
    Serving,
    chunk_bytes,
    num_chunks,
)
from archipel.records.statements import LeaseRequested

logger = logging.getLogger("archipel.lab")

HERE_MS = 600_000
"""A node that asked for work since is expected to want the next version."""
MAX_SPREADS = 64
"""Blobs whose way is remembered; beyond, the one that was asked for least recently is forgotten."""
AT_ONCE_BYTES = 64 * 2**20
"""A lease waits for the chunk digests of a blob up to this size; those of larger ones are there for later leases."""
RECOUNT_MS = 10_000
"""Nodes are counted again after this at the latest: some have gone."""
GROWN = 5 / 4
"""So many more nodes than a plan was made for call for a new one."""


class Chunks:
    """Digests of the chunks of blobs that are here."""

    def __init__(self, blobs: Blobs, *, in_thread: bool = True) -> None:
        self._blobs = blobs
        self._in_thread = in_thread
        self._known: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._making: dict[str, asyncio.Task[None]] = {}

    async def of(self, blob: BlobRef) -> tuple[str, ...] | None:
        """In order; None: they are not made yet, or the blob is gone."""
        if blob.digest not in self._known:
            if not self._in_thread:
                self._keep(blob.digest, self._hashed(blob))
            else:
                making = self._making.get(blob.digest)
                if making is None:
                    making = asyncio.create_task(self._make(blob))
                    self._making[blob.digest] = making
                if blob.size <= AT_ONCE_BYTES:
                    await asyncio.shield(making)
        return self._known.get(blob.digest)

    async def _make(self, blob: BlobRef) -> None:
        try:
            with contextlib.suppress(BlobError, OSError, ValueError):
                self._keep(blob.digest, await asyncio.to_thread(self._hashed, blob))
        finally:
            del self._making[blob.digest]

    def _keep(self, digest: str, chunks: tuple[str, ...]) -> None:
        self._known[digest] = chunks
        if len(self._known) > MAX_SPREADS:
            self._known.popitem(last=False)

    def _hashed(self, blob: BlobRef) -> tuple[str, ...]:
        step, made = chunk_bytes(blob.size), []
        for start in range(0, blob.size, step):
            hasher = hashlib.sha256()
            for part in self._blobs.chunks(blob.digest, start, min(start + step, blob.size)):
                hasher.update(part)
            made.append(hasher.hexdigest())
        return tuple(made)


class Heard(Have):
    """What a node says that it has, and the address that it says so from."""

    host: str = ""

    @classmethod
    def of(cls, have: Have, host: str) -> "Heard":
        """`host`: as the connection tells."""
        return cls.model_construct(**dict(have), host=host)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who is expected to want the next version."""

    at_ms: int
    num_here: int
    uplinks: Sequence[int]
    """Of those that serve."""


class Mesh:
    """Of one lab; `pacer` and `meter` are of all large blobs that it sends."""

    def __init__(
        self,
        blobs: Blobs,
        clock_ms: Callable[[], int],
        uplink: int | None = None,
        *,
        in_thread: bool = True,
    ) -> None:
        """`uplink`: bytes a second that large blobs leave with, at most; None: no limit."""
        self.pacer, self.meter = Pacer(uplink), Meter()
        self._clock_ms = clock_ms
        self._chunks = Chunks(blobs, in_thread=in_thread)
        self._members: OrderedDict[str, Member] = OrderedDict()
        """By when they were heard of last."""
        self._spreads: OrderedDict[str, Spread] = OrderedDict()
        self._crowd: Crowd | None = None

    @property
    def uplink(self) -> int | None:
        """The lab's, bytes a second: as its operator says, else as measured; None: nobody knows."""
        return self.pacer.rate or self.meter.best

    @property
    def num_serving(self) -> int:
        """Nodes that pass versions on."""
        return len(self._crowd_at(self._clock_ms()).uplinks)

    @property
    def spreads(self) -> Mapping[str, Spread]:
        """By digest."""
        return self._spreads

    def heard(self, request: LeaseRequested, have: Have | None) -> None:
        """A node asks for work, and says how it serves and what it fetched; who makes versions fetches none."""
        if not isinstance(have, Heard) or not TRUSTED.isdisjoint(request.kinds):
            return
        did = request.author
        now_ms = self._clock_ms()
        member = self._members.pop(did, None)
        before = None if member is None else member.offered
        member = member or Member()
        self._members[did] = member
        while len(self._members) > MAX_NODES:
            self._members.popitem(last=False)
        address = None if have.serving is None else address_seen(have.host, have.serving)
        member.address = address or ""
        member.offered = have.serving.rate if have.serving is not None and address else 0
        member.heard_ms = now_ms
        self._crowd = None if member.offered != before else self._crowd
        for said in have.fetched:
            spread = self._spreads.get(said.digest)
            if spread is not None:
                spread.heard(did, said, now_ms)

    async def sources(self, did: str, wanted: Iterable[BlobRef]) -> tuple[BlobSources, ...]:
        """Where a node may have large blobs from; what is not named comes from the lab."""
        large = [blob for blob in dict.fromkeys(wanted) if blob.size > SMALL_BLOB_BYTES]
        told = [await self._source(did, blob) for blob in large[:MAX_SOURCES_TOLD]]
        return tuple(each for each in told if each is not None)

    async def _source(self, did: str, blob: BlobRef) -> BlobSources | None:
        now_ms = self._clock_ms()
        if self.uplink is None or not self._crowd_at(now_ms).uplinks:
            return None
        chunks = await self._chunks.of(blob)
        if chunks is None or len(chunks) != num_chunks(blob.size) or did not in self._members:
            return None
        spread = self._spread(blob, now_ms)
        peers = spread.place(did, now_ms)
        if spread.is_star or not (peers or self._members[did].offered):
            return None
        return BlobSources(
            digest=blob.digest,
            chunks=chunks,
            peers=tuple(Peer(node=each, address=self._members[each].address) for each in peers),
            limit_ms=spread.limit_ms(did, chunk_bytes(blob.size)),
        )

    def _spread(self, blob: BlobRef, now_ms: int) -> Spread:
        lab_uplink, crowd = self.uplink or 1, self._crowd_at(now_ms)
        spread = self._spreads.pop(blob.digest, None)
        expected = max(crowd.num_here, 1 if spread is None else len(spread.places) + 1)
        if spread is None or expected > spread.planned_for * GROWN:
            made = plan(blob.size, chunk_bytes(blob.size), lab_uplink, crowd.uplinks, expected)
            told = {"digest": blob.digest, "nodes": expected, "plan": made.reckoned}
            logger.info("spread", extra=told)
            if spread is None:
                spread = Spread(made, lab_uplink, expected, self._members)
            else:
                spread.planned_anew(made, lab_uplink, expected)
        self._spreads[blob.digest] = spread
        while len(self._spreads) > MAX_SPREADS:
            self._spreads.popitem(last=False)
        return spread

    def _crowd_at(self, now_ms: int) -> Crowd:
        """Counted anew when somebody came, or serves otherwise than before."""
        if self._crowd is None or now_ms - self._crowd.at_ms > RECOUNT_MS:
            here = [each for each in self._members.values() if now_ms - each.heard_ms <= HERE_MS]
            uplinks = [each.uplink for each in here if each.serves(now_ms)]
            self._crowd = Crowd(now_ms, len(here), uplinks)
        return self._crowd


def address_seen(host: str, serving: Serving) -> str | None:
    """Where a node listens that asks from `host`; None: no number that others could dial."""
    try:
        seen = ip_address(host)
    except ValueError:
        return None
    if isinstance(seen, IPv6Address):
        seen = seen.ipv4_mapped or seen
    if seen.is_unspecified or seen.is_multicast or getattr(seen, "scope_id", None):
        return None
    shown = f"[{seen}]" if isinstance(seen, IPv6Address) else str(seen)
    return f"{shown}:{serving.port}"
