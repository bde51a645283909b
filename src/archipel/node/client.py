"""Talking to a lab: every call has a deadline, every failure one of two names.

`LabUnreachable` may pass and is retried by the caller; `LabRefused` is the lab's considered no. Bytes
that arrive are hashed before anybody sees them; interrupted transfers go on where they stopped.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from archipel.blobs import BlobStore
from archipel.blobs.errors import BlobBusy, BlobIncomplete, BlobTooLarge, DigestMismatch
from archipel.identity import Envelope, Identity, IdentityError, sign, verify
from archipel.node import documents
from archipel.node.exchange import LabRefused, LabUnreachable, bounded_body, refusal
from archipel.records.fields import MAX_SEQ, BlobRef
from archipel.records.statements import (
    RECORD_TYPE,
    AnyStatement,
    BlobOffered,
    InvalidRecord,
    LeaseGranted,
    LeaseRequested,
    Statement,
    WorkKind,
    decode,
    encode,
)

CONNECT_LIMIT_S = 10.0
READ_LIMIT_S = 60.0
"""Silence on a connection that lasts longer counts as unreachable."""
CHUNK_BYTES = 1024 * 1024
MAX_TRANSFER_ATTEMPTS = 5
FIRST_PAUSE_S = 0.2
"""Between attempts at a transfer, doubling."""
LAST_SEQ = MAX_SEQ - 2**32
"""A lab that claims to have heard this from us leaves us no numbers to speak with."""
JUST_SEND_BYTES = 1024 * 1024
"""Up to this size, asking what the lab has already costs more than sending it again."""
NO_COMPRESSION = {"Accept-Encoding": "identity"}
"""Sizes are bounded as they travel; nothing swells on arrival."""

Rest = Callable[[int], bytes | AsyncIterator[bytes]]
"""The bytes from an offset on."""
D = TypeVar("D", bound=BaseModel)


class LabClient:
    """One identity's connection to one lab."""

    def __init__(self, url: str, identity: Identity, clock_ns: Callable[[], int] = time.time_ns):
        self.url = url.rstrip("/")
        self.identity = identity
        self.lab = ""
        self.bytes_down = 0
        self.bytes_up = 0
        self._clock_ns = clock_ns
        self._last_seq = 0
        self._speaking = asyncio.Lock()
        limits = httpx.Timeout(READ_LIMIT_S, connect=CONNECT_LIMIT_S)
        self._http = httpx.AsyncClient(
            base_url=self.url, timeout=limits, trust_env=False, headers=NO_COMPRESSION
        )

    async def close(self) -> None:
        """Drop the connections."""
        await self._http.aclose()

    async def greet(self) -> None:
        """Learn who the lab is and which number it heard last from us; must precede any statement."""
        facts = await self.read(documents.LabFacts, "/lab")
        spoken = await self.read(documents.KeyFacts, f"/keys/{self.identity.did}")
        try:
            self.lab = documents.lab_did(facts)
        except documents.BadDocument as error:
            raise LabRefused("unexpected-answer", str(error), 200) from None
        if spoken.last_seq > LAST_SEQ:
            raise LabRefused("unexpected-answer", f"last_seq is {spoken.last_seq}", 200)
        self._last_seq = max(self._last_seq, spoken.last_seq)

    def next_seq(self) -> int:
        """Microseconds, or one more than the last: greater than any before, also after a restart."""
        self._last_seq = max(self._last_seq + 1, self._clock_ns() // 1000)
        return self._last_seq

    def signed(self, statement: Statement) -> Envelope:
        """The statement in its envelope."""
        return sign(self.identity, encode(statement), RECORD_TYPE)

    async def submit(self, kind: type[Statement], **fields: Any) -> dict[str, Any]:
        """Say something that changes the lab's state; returns the receipt.

        One at a time: statements must arrive in the order of their numbers.
        """
        async with self._speaking:
            statement = self._statement(kind, fields)
            content = self.signed(statement).to_json()
            receipt: dict[str, Any] = await self._json("POST", "/records", content=content)
            return receipt

    async def lease(
        self, kinds: tuple[WorkKind, ...], wait_s: float, holding: tuple[str, ...] = ()
    ) -> LeaseGranted | None:
        """Ask for work and wait for it up to `wait_s`.

        `holding` names the leases at hand; the lab takes any other of ours back.
        """
        request = self._statement(LeaseRequested, {"kinds": kinds, "holding": holding})
        answer = await self._exchange(
            "POST",
            "/leases",
            params={"wait_s": f"{wait_s:.3f}"},
            content=self.signed(request).to_json(),
            timeout=httpx.Timeout(wait_s + READ_LIMIT_S, connect=CONNECT_LIMIT_S),
        )
        return self._grant(answer, request.seq) if answer else None

    def _grant(self, data: bytes, request_seq: int) -> LeaseGranted:
        """The lab's own word that this lease is ours, for this request."""
        try:
            envelope = Envelope.from_json(data)
            signer = verify(envelope, RECORD_TYPE)
            grant = decode(envelope.payload)
        except (IdentityError, InvalidRecord) as error:
            raise LabRefused("bad-grant", str(error), 200) from None
        is_ours = (
            isinstance(grant, LeaseGranted)
            and (signer, grant.author, grant.lab) == (self.lab,) * 3
            and (grant.node, grant.request_seq) == (self.identity.did, request_seq)
        )
        if not is_ours or not isinstance(grant, LeaseGranted):
            raise LabRefused("bad-grant", f"{grant.kind} by {signer} is no lease for us", 200)
        return grant

    async def get(self, path: str, **params: Any) -> Any:
        """A JSON document as it came."""
        return await self._json("GET", path, params=params)

    async def read(self, kind: type[D], path: str, **options: Any) -> D:
        """A document of a known form.

        Raises:
            LabRefused: it has another form.
        """
        try:
            return documents.read(kind, await self._exchange("GET", path, **options))
        except documents.BadDocument as error:
            raise LabRefused("unexpected-answer", f"{path}: {error}", 200) from None

    async def read_all(self, kind: type[D], path: str, **params: Any) -> list[D]:
        """A list of documents of a known form.

        Raises:
            LabRefused: it has another form.
        """
        listed = await self._json("GET", path, params=params)
        try:
            return [documents.read(kind, json.dumps(each).encode()) for each in listed]
        except (documents.BadDocument, TypeError) as error:
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
            try:
                await self._fetch_rest(blob, store)
            except (LabUnreachable, DigestMismatch, BlobTooLarge) as error:
                if attempt == MAX_TRANSFER_ATTEMPTS - 1:
                    raise _given_up(error) from None
                await asyncio.sleep(FIRST_PAUSE_S * 2**attempt)
        return store.path(blob.digest)

    async def upload(self, path: Path, blob: BlobRef, work: str | None) -> None:
        """Send a file, from where an interrupted upload stopped."""
        await self.send(lambda offset: _chunks(path, offset), blob, work)

    async def upload_bytes(self, data: bytes, blob: BlobRef, work: str | None) -> None:
        """Send bytes at hand."""
        await self.send(lambda offset: data[offset:], blob, work)

    async def send(self, rest: Rest, blob: BlobRef, work: str | None) -> None:
        """Upload `blob`; a large or interrupted one from where the lab says it stopped."""
        offer = self._statement(BlobOffered, {"blob": blob, "work": work})
        headers = {"Archipel-Offer": base64.b64encode(self.signed(offer).to_json()).decode()}
        for attempt in range(MAX_TRANSFER_ATTEMPTS):
            try:
                offset = 0
                if attempt or blob.size > JUST_SEND_BYTES:
                    path = f"/blobs/{blob.digest}/state"
                    state = await self.read(documents.UploadState, path, headers=headers)
                    if state.complete:
                        return
                    offset = state.offset
                await self._json(
                    "PUT",
                    f"/blobs/{blob.digest}",
                    headers={**headers, "Upload-Offset": str(offset)},
                    content=rest(offset),
                )
            except LabUnreachable:
                if attempt == MAX_TRANSFER_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(FIRST_PAUSE_S * 2**attempt)
            else:
                self.bytes_up += blob.size - offset
                return

    async def _fetch_rest(self, blob: BlobRef, store: BlobStore) -> None:
        offset = store.partial_offset(blob.digest)
        if offset >= blob.size:
            store.discard(blob.digest)
            offset = 0
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            async with self._http.stream("GET", f"/blobs/{blob.digest}", headers=headers) as answer:
                if answer.status_code >= 400:
                    body = await bounded_body(answer)
                    raise refusal(answer.status_code, body, self.url)
                resumed = offset if answer.status_code == httpx.codes.PARTIAL_CONTENT else 0
                writer = await asyncio.to_thread(store.writer, blob.digest, blob.size, resumed)
                with writer:
                    async for chunk in answer.aiter_raw():  # no size: a cut must not lose a buffer
                        writer.write(chunk)
                        self.bytes_down += len(chunk)
                    await asyncio.to_thread(writer.commit)
        except (httpx.HTTPError, BlobIncomplete, BlobBusy) as error:
            raise LabUnreachable(f"{self.url}: {error or type(error).__name__}") from None

    def _statement(self, kind: type[Statement], fields: dict[str, Any]) -> AnyStatement:
        if not self.lab:
            raise RuntimeError("greet the lab before speaking to it")
        return kind(lab=self.lab, author=self.identity.did, seq=self.next_seq(), **fields)  # type: ignore[return-value]  # every Statement subclass is in the union

    async def _json(self, method: str, path: str, **options: Any) -> Any:
        data = await self._exchange(method, path, **options)
        try:
            return json.loads(data) if data else None
        except (ValueError, RecursionError):
            raise LabUnreachable(f"{self.url}: what answers there is no lab") from None

    async def _exchange(self, method: str, path: str, **options: Any) -> bytes:
        try:
            async with self._http.stream(method, path, **options) as answer:
                body = await bounded_body(answer)
        except httpx.HTTPError as error:
            raise LabUnreachable(f"{self.url}: {error or type(error).__name__}") from None
        if answer.status_code >= 400:
            raise refusal(answer.status_code, body, self.url)
        return body


def _given_up(error: Exception) -> Exception:
    """Bytes that do not hash to their name time after time are no accident of the network."""
    if isinstance(error, LabUnreachable):
        return error
    return LabRefused("wrong-digest", str(error), 200)


async def _chunks(path: Path, offset: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
