"""Reading a lab, with no key: `LabReader`, which `client.LabClient` speaks through too.

Law: bytes that arrive are hashed before anybody sees them; interrupted transfers go on where they stopped.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from archipel.blobs import BlobStore
from archipel.blobs.errors import BlobBusy, BlobIncomplete, BlobTooLarge, DigestMismatch
from archipel.node.direct import Direct, StoreFailed
from archipel.node.exchange import (
    NO_ANSWER_FROM,
    Bounds,
    LabRefused,
    LabUnreachable,
    believed,
    bounded_body,
    given_up,
    refusal,
    unreachable,
)
from archipel.node.sealed import Founding, founding_of
from archipel.node.turning import Asking
from archipel.records import documents
from archipel.records.document import BadDocument, read_document
from archipel.records.fields import BlobRef

MAX_TRANSFER_ATTEMPTS = 5
FIRST_PAUSE_S = 0.2
"""Between attempts at a transfer, doubling."""
NOBODY_S = Founding("", frozenset())
"""Before a lab was met."""

D = TypeVar("D", bound=BaseModel)


class LabReader(Asking):
    """Asks a lab, at one of its addresses; needs no key. An address that no lab can have is `BadAddress`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.direct = Direct(lambda: self.url)
        self.founding = NOBODY_S
        """Whose lab it is, once it was met."""
        self.bytes_down = 0

    async def close(self) -> None:
        """Drop the connections."""
        await self.direct.close()
        await super().close()

    async def meet(self) -> documents.LabFacts:
        """Learn who the lab is and who may open runs at it; returns all that it says of itself.

        Raises:
            LabRefused: `bad-founding`, its own key does not say so.
        """
        facts = await self.read(documents.LabFacts, "/lab")
        self.founding = believed(lambda: founding_of(facts))
        return facts

    @property
    def lab(self) -> str:
        """Its key; empty before it was met."""
        return self.founding.lab

    @property
    def operators(self) -> frozenset[str]:
        """Who may open runs there."""
        return self.founding.operators

    async def get(self, path: str, **params: Any) -> Any:
        """A JSON document as it came."""
        data = await self._exchange("GET", path, params=params)
        try:
            return json.loads(data) if data else None
        except (ValueError, RecursionError):
            raise LabUnreachable(f"{self.url}: what answers there is no lab") from None

    async def get_bytes(self, path: str, most: Bounds, **params: Any) -> bytes:
        """An answer as it came, if it is within bounds."""
        return await self._exchange("GET", path, most, params=params)

    async def read(self, kind: type[D], path: str, method: str = "GET", **options: Any) -> D:
        """A document of a known form.

        Raises:
            LabRefused: it has another form.
        """
        try:
            return read_document(kind, await self._exchange(method, path, **options))
        except BadDocument as error:
            raise LabRefused("unexpected-answer", f"{path}: {error}", 200) from None

    async def read_all(self, kind: type[D], path: str, **params: Any) -> list[D]:
        """A list of documents of a known form.

        Raises:
            LabRefused: it has another form.
        """
        listed = await self.get(path, **params)
        try:
            return [read_document(kind, json.dumps(each).encode()) for each in listed]
        except (BadDocument, TypeError) as error:
            raise LabRefused("unexpected-answer", f"{path}: {error}", 200) from None

    async def fetch(self, blob: BlobRef, store: BlobStore) -> Path:
        """Bring a blob into `store`, resuming what an earlier attempt left; returns its path.

        Raises:
            StorageFull: it would not fit; nothing was asked of the lab.
            LabUnreachable, LabRefused: from the lab.
        """
        for attempt in range(MAX_TRANSFER_ATTEMPTS):
            if store.exists(blob.digest):
                return store.path(blob.digest)
            store.require_room(blob.size - store.partial_offset(blob.digest))
            asked = self.url
            try:
                await self._fetch_rest(blob, store)
            except (LabUnreachable, DigestMismatch, BlobTooLarge) as error:
                self.leave(asked)
                if attempt == MAX_TRANSFER_ATTEMPTS - 1:
                    raise given_up(error) from None
                await asyncio.sleep(FIRST_PAUSE_S * 2**attempt)
        return store.path(blob.digest)

    async def _fetch_rest(self, blob: BlobRef, store: BlobStore) -> None:
        try:
            await self._fetch_on(blob, store)
        except StoreFailed:  # the lab is asked for the bytes themselves
            await self._fetch_on(blob, store)

    async def _fetch_on(self, blob: BlobRef, store: BlobStore) -> None:
        offset = store.partial_offset(blob.digest)
        if offset >= blob.size:
            store.discard(blob.digest)
            offset = 0
        try:
            async with self.opened(blob.digest, offset) as answer:
                if answer.status_code >= NO_ANSWER_FROM:
                    raise refusal(answer, await bounded_body(answer), self.url)
                resumed = offset if answer.status_code == httpx.codes.PARTIAL_CONTENT else 0
                writer = await asyncio.to_thread(store.writer, blob.digest, blob.size, resumed)
                with writer:
                    async for chunk in answer.aiter_raw():  # no size: a cut must not lose a buffer
                        writer.write(chunk)
                        self.bytes_down += len(chunk)
                    await asyncio.to_thread(writer.commit)
        except (httpx.HTTPError, BlobIncomplete, BlobBusy) as error:
            raise unreachable(self.url, error) from None

    @asynccontextmanager
    async def opened(self, digest: str, offset: int) -> AsyncIterator[httpx.Response]:
        """The answer with a blob's bytes from `offset` on: the lab's, or that of the store it sends us to.

        Raises StoreFailed: whatever went wrong with the store's answer, also in the block.
        """
        span = {"Range": f"bytes={offset}-"} if offset else {}
        follows = self.direct.asks
        async with self.http.stream("GET", f"/blobs/{digest}", headers=span | follows) as answer:
            target = self.direct.target(answer) if follows else None
            if target is None:
                yield answer
                return
        async with self.direct.reading(target, offset) as given:
            yield given
