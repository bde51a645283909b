"""Large blobs, chunk by chunk, from where the lab says that they lie: from peers, and from the lab itself.

Law: nobody is believed. A chunk is hashed before it is written or passed on; a peer that sends other bytes, another
length or nothing in time is dropped at once and named to the lab; what is missing in the end, the caller fetches from
the lab, into the same partial file; and the whole blob is hashed as any other.
"""

import asyncio
import hashlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from urllib.parse import urlsplit

import httpx

from archipel.blobs import BlobStore
from archipel.blobs.errors import BlobBusy, DigestMismatch
from archipel.blobs.writer import BlobWriter
from archipel.node.addresses import NotDialled, peer_url
from archipel.node.client import LabReader
from archipel.node.direct import StoreFailed
from archipel.node.exchange import NO_COMPRESSION
from archipel.node.sharing import Shared
from archipel.records.fields import BlobRef
from archipel.records.sources import (
    MAX_FETCHES_TOLD,
    BlobSources,
    Fetched,
    Peer,
    chunk_bytes,
    num_chunks,
)

logger = logging.getLogger("archipel.node")

AHEAD = 3
"""Chunks asked of a peer at the same time, so that its line is never idle."""
BUSY_OR_WITHOUT = frozenset({404, 429})
CONNECT_LIMIT_S = 3.0
LOOKUP_LIMIT_S = 5.0
MAX_DROPPED = 1024
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Peers speak none: what they send is hashed, and no secret goes to them. It trusts nobody, and is made in no time."""


class PeerFailed(Exception):
    """A peer sent other than was asked for, or nothing in time: it is dropped."""


class NotThere(Exception):
    """A peer does not have it, or has too many that ask: no fault of its."""


class Arrival:
    """One blob on its way in: chunks in order, each hashed before it counts."""

    def __init__(
        self, blob: BlobRef, told: BlobSources, writer: BlobWriter, shared: Shared
    ) -> None:
        self.blob, self.told = blob, told
        self.step = chunk_bytes(blob.size)
        self.count = 0
        """Chunks that are here."""
        self._writer, self._shared = writer, shared

    @property
    def is_whole(self) -> bool:
        """Nothing of it is missing."""
        return self.count == len(self.told.chunks)

    @property
    def num_bytes(self) -> int:
        """Of it that are here."""
        return min(self.count * self.step, self.blob.size)

    def span(self, number: int) -> tuple[int, int]:
        """Bytes [start, stop) of a chunk."""
        return number * self.step, min((number + 1) * self.step, self.blob.size)

    async def take(self, chunk: bytes) -> None:
        """The next one. Raises PeerFailed: it is another."""
        await asyncio.to_thread(self._kept, chunk)
        self.count += 1
        self._shared.came(self.blob.digest, self.num_bytes)

    def _kept(self, chunk: bytes) -> None:
        if hashlib.sha256(chunk).hexdigest() != self.told.chunks[self.count]:
            raise PeerFailed(f"chunk {self.count} of {self.blob.digest} is another than the lab's")
        self._writer.write(chunk)


class Peers:
    """Where blobs lie, as the lab said beside the lease at hand."""

    def __init__(self, lab: LabReader, store: BlobStore, shared: Shared) -> None:
        self._lab, self._store, self._shared = lab, store, shared
        self._told: dict[str, BlobSources] = {}
        self._fetched: list[Fetched] = []
        self._dropped: dict[str, None] = {}
        """Nodes that sent other bytes than they were asked for: nothing is fetched from them again."""
        self._labs: tuple[str, ...] = ()
        self.bytes_from_peers = 0

    def lay(self, sources: Iterable[BlobSources]) -> None:
        """These came beside the lease at hand."""
        self._told = {each.digest: each for each in sources}

    def forget(self) -> None:
        """The lab is another one."""
        self._told, self._fetched, self._labs = {}, [], ()

    def news(self) -> tuple[Fetched, ...]:
        """What came from whom since this was asked last."""
        news, self._fetched = self._fetched[-MAX_FETCHES_TOLD:], []
        return tuple(news)

    async def fetch(self, blob: BlobRef) -> None:
        """Bring what can be brought by chunks; the caller fetches the rest, if there is one, from the lab.

        Raises:
            StorageFull, StorageFailed: this machine's disk.
        """
        told = self._told.pop(blob.digest, None)
        if told is None or len(told.chunks) != num_chunks(blob.size):
            return
        if self._store.exists(blob.digest) or self._store.partial_offset(blob.digest):
            return  # a transfer that was cut is finished by the lab
        self._store.require_room(blob.size)
        try:
            with await asyncio.to_thread(self._store.writer, blob.digest, blob.size, 0) as writer:
                self._shared.begins(blob.digest, writer.path)
                arrival = Arrival(blob, told, writer, self._shared)
                await self._from_all(arrival)
                if arrival.is_whole:
                    await asyncio.to_thread(writer.commit)
        except BlobBusy:
            return  # another process fills it
        except DigestMismatch as error:
            logger.warning("the lab's chunks are not the blob's", extra={"reason": str(error)})
        finally:
            self._shared.ends(blob.digest)

    async def _from_all(self, arrival: Arrival) -> None:
        for peer in arrival.told.peers:
            if not arrival.is_whole and peer.node not in self._dropped:
                await self._from(peer, arrival)
        if not arrival.is_whole:
            await self._counted(self._lab.lab, arrival, self._of_lab(arrival))

    async def _from(self, peer: Peer, arrival: Arrival) -> None:
        try:
            url = await self._url(peer)
        except NotDialled as error:
            logger.info("peer not dialled", extra={"peer": peer.node, "reason": str(error)})
            return
        before = arrival.count
        await self._counted(peer.node, arrival, self._of_peer(url, arrival))
        self.bytes_from_peers += arrival.num_bytes - min(before * arrival.step, arrival.blob.size)

    async def _counted(self, source: str, arrival: Arrival, chunks: AsyncIterator[bytes]) -> None:
        """Take all that a source gives, and note how fast."""
        began_s, before, is_bad = time.monotonic(), arrival.num_bytes, False
        try:
            async with aclosing(chunks):  # type: ignore[type-var]  # both are generators
                async for chunk in chunks:
                    await arrival.take(chunk)
                    self._lab.bytes_down += len(chunk)
        except (PeerFailed, httpx.HTTPError, TimeoutError) as error:
            is_bad = True
            if isinstance(error, PeerFailed):
                self._drop(source)
                if source == self._lab.lab:
                    self._lab.direct.failed(str(error))
            said = {"peer": source, "reason": str(error) or type(error).__name__}
            logger.info("source dropped", extra=said)
        except NotThere:
            pass
        self._fetched.append(
            Fetched(
                digest=arrival.blob.digest,
                source=source,
                bytes=arrival.num_bytes - before,
                ms=round((time.monotonic() - began_s) * 1000),
                is_whole=arrival.is_whole,
                is_bad=is_bad,
            )
        )

    def _drop(self, source: str) -> None:
        if source != self._lab.lab and len(self._dropped) < MAX_DROPPED:
            self._dropped[source] = None

    async def _of_peer(self, url: str, arrival: Arrival) -> AsyncIterator[bytes]:
        """Chunk after chunk, some asked for ahead."""
        limits = httpx.Timeout(arrival.told.limit_ms / 1000 * AHEAD, connect=CONNECT_LIMIT_S)
        last = len(arrival.told.chunks)
        async with httpx.AsyncClient(
            base_url=url, timeout=limits, trust_env=False, headers=NO_COMPRESSION, verify=NO_TLS
        ) as http:
            asked = [
                asyncio.create_task(self._chunk(http, arrival, number))
                for number in range(arrival.count, min(arrival.count + AHEAD, last))
            ]
            next_one = arrival.count + len(asked)
            try:
                while asked:
                    chunk = await asked.pop(0)
                    if next_one < last:
                        asked.append(asyncio.create_task(self._chunk(http, arrival, next_one)))
                        next_one += 1
                    yield chunk
            finally:
                for task in asked:
                    task.cancel()
                await asyncio.gather(*asked, return_exceptions=True)

    async def _chunk(self, http: httpx.AsyncClient, arrival: Arrival, number: int) -> bytes:
        start, stop = arrival.span(number)
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        body = bytearray()
        async with asyncio.timeout(arrival.told.limit_ms / 1000 * AHEAD):
            path = f"/blobs/{arrival.blob.digest}"
            async with http.stream("GET", path, headers=headers) as answer:
                if answer.status_code in BUSY_OR_WITHOUT:
                    raise NotThere
                if answer.status_code != httpx.codes.PARTIAL_CONTENT:
                    raise PeerFailed(f"status {answer.status_code}, expected 206")
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > stop - start:
                        raise PeerFailed(f"more than the {stop - start} bytes asked for")
        if len(body) != stop - start:
            raise PeerFailed(f"{len(body)} bytes, expected {stop - start}")
        return bytes(body)

    async def _of_lab(self, arrival: Arrival) -> AsyncIterator[bytes]:
        """The rest in one stream, cut into chunks, so that others may have them before it is whole."""
        start, gathered = arrival.num_bytes, bytearray()
        try:
            async with self._lab.opened(arrival.blob.digest, start) as answer:
                if answer.status_code != (206 if start else 200):
                    raise NotThere  # the plain way says what is wrong
                async for part in answer.aiter_raw():
                    gathered += part
                    while True:
                        first, stop = arrival.span(arrival.count)
                        if arrival.is_whole or len(gathered) < stop - first:
                            break
                        chunk = bytes(gathered[: stop - first])
                        del gathered[: stop - first]
                        yield chunk
        except StoreFailed:
            raise NotThere from None  # the lab itself is asked next

    async def _url(self, peer: Peer) -> str:
        """Raises NotDialled."""
        if not self._labs:
            self._labs = await resolved(urlsplit(self._lab.url).hostname or "")
        return [peer_url(peer.address, seen) for seen in self._labs][-1]


async def resolved(host: str) -> tuple[str, ...]:
    """What a host's name means here, in numbers. Raises NotDialled: nothing now."""
    try:
        async with asyncio.timeout(LOOKUP_LIMIT_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise NotDialled(f"the address {host} is not known: {error}") from None
    return tuple({str(each[4][0]).partition("%")[0] for each in found})
