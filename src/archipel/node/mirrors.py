"""Blobs from mirrors that the operator names: folders of blobs behind any web server, asked before the lab.

A mirror has a blob at `<address>/blobs/ab/cdef...`, as a lab's own folder has it. Law: a mirror is never believed: bytes are
hashed as they come, one that gives others is asked no more, one that drips or breaks off is left for longer each time, and what
no mirror has the caller fetches from the lab, from where the transfer stands.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

import httpx

from archipel.blobs import BlobStore
from archipel.blobs.errors import BlobBusy, BlobIncomplete, BlobTooLarge, DigestMismatch
from archipel.node.exchange import open_client
from archipel.records.fields import BlobRef

logger = logging.getLogger("archipel.node")

REST_S, MAX_REST_S = 60.0, 86_400.0
"""A mirror that did not answer, or not in time, is not asked so long: twice as long if it does not the next time either."""
PACE_S, MIN_BYTES_PER_S = 20.0, 65_536
"""After so long it has brought so many bytes a second, or the lab is asked for the rest."""


class Mirrors:
    """In the order in which they are asked."""

    def __init__(
        self,
        urls: Iterable[str],
        store: BlobStore,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock_s = clock_s
        self._asked_from: dict[str, float] = {url.rstrip("/"): 0.0 for url in urls}
        """Mirror -> when it may be asked again; one that gave other bytes is not here any more."""
        self._failed: dict[str, int] = {}
        """Mirror -> how often in a row it did not answer in time."""
        self._http: dict[str, httpx.AsyncClient] = {}
        self.bytes_down = 0

    @property
    def resting(self) -> tuple[str, ...]:
        """Mirrors that are not asked now, because they did not answer."""
        now_s = self._clock_s()
        return tuple(url for url, from_s in self._asked_from.items() if now_s < from_s)

    async def fetch(self, blob: BlobRef) -> None:
        """Bring what a mirror has; whether it is whole, the store says.

        Raises:
            StorageFull, StorageFailed: this machine's disk.
        """
        for url in list(self._asked_from):
            if self._store.exists(blob.digest):
                return
            if self._clock_s() >= self._asked_from.get(url, float("inf")):
                await self._from(url, blob)

    async def close(self) -> None:
        """Let go of all connections."""
        for http in self._http.values():
            await http.aclose()
        self._http.clear()

    async def _from(self, url: str, blob: BlobRef) -> None:
        try:
            await self._rest(url, blob)
        except asyncio.CancelledError:  # the lease is over, and this mirror was still at it
            self._rests(url)
            raise
        except (DigestMismatch, BlobTooLarge) as error:
            self._asked_from.pop(url, None)
            logger.warning(
                "mirror gives other bytes and is asked no more",
                extra={"mirror": url, "reason": str(error)},
            )
        except (httpx.HTTPError, BlobIncomplete) as error:
            self._rests(url)
            said = {"mirror": url, "reason": str(error) or type(error).__name__}
            logger.info("mirror does not answer", extra=said)
        except BlobBusy as error:
            logger.info("mirror left", extra={"mirror": url, "reason": str(error)})

    def _rests(self, url: str) -> None:
        if url in self._asked_from:
            times = self._failed[url] = self._failed.get(url, 0) + 1
            rest_s = min(REST_S * 2.0 ** min(times - 1, 16), MAX_REST_S)
            self._asked_from[url] = self._clock_s() + rest_s

    async def _rest(self, url: str, blob: BlobRef) -> None:
        """All that is missing of a blob, if this mirror has it."""
        http = self._http.setdefault(url, open_client(url))
        start = self._store.partial_offset(blob.digest)
        if start >= blob.size:
            self._store.discard(blob.digest)
            start = 0
        self._store.require_room(blob.size - start)
        name = blob.digest.removeprefix("sha256:")
        headers = {"Range": f"bytes={start}-"} if start else {}
        async with http.stream("GET", f"/blobs/{name[:2]}/{name[2:]}", headers=headers) as answer:
            if answer.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                return
            resumed = start if answer.status_code == httpx.codes.PARTIAL_CONTENT else 0
            writer = await asyncio.to_thread(self._store.writer, blob.digest, blob.size, resumed)
            began_s, came = self._clock_s(), 0
            with writer:
                async for chunk in answer.aiter_raw():
                    writer.write(chunk)
                    came += len(chunk)
                    self.bytes_down += len(chunk)
                    taken_s = self._clock_s() - began_s
                    if taken_s > PACE_S and came < taken_s * MIN_BYTES_PER_S:
                        raise httpx.ReadTimeout(f"{came} bytes came in {taken_s:.0f} s")
                await asyncio.to_thread(writer.commit)
            self._failed.pop(url, None)
