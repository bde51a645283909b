"""Talking to a lab: every call has a deadline, every failure one of two names.

`LabUnreachable` may pass and is retried by the caller; `LabRefused` is the lab's considered no. Bytes
that arrive are hashed before anybody sees them; interrupted transfers go on where they stopped.
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx

from archipel.blobs import BlobStore
from archipel.blobs.errors import BlobBusy, BlobIncomplete
from archipel.identity import Envelope, Identity, sign
from archipel.records.fields import BlobRef
from archipel.records.statements import (
    RECORD_TYPE,
    AnyStatement,
    BlobOffered,
    LeaseGranted,
    LeaseRequested,
    Statement,
    WorkKind,
    encode,
)

CONNECT_LIMIT_S = 10.0
READ_LIMIT_S = 60.0
"""Silence on a connection that lasts longer counts as unreachable."""
CHUNK_BYTES = 1024 * 1024
MAX_JSON_BYTES = 64 * 1024 * 1024
MAX_TRANSFER_ATTEMPTS = 5


class LabUnreachable(Exception):
    """No answer: the network, or the lab is down. Trying again later may help."""


class LabRefused(Exception):
    """The lab's answer is no; trying the same again will not help."""

    def __init__(self, problem: str, detail: str, status: int) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem = problem
        self.detail = detail
        self.status = status


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
        self._http = httpx.AsyncClient(base_url=self.url, timeout=limits, trust_env=False)

    async def close(self) -> None:
        """Drop the connections."""
        await self._http.aclose()

    async def greet(self) -> dict[str, Any]:
        """Learn who the lab is; must precede any statement."""
        info: dict[str, Any] = await self.get("/lab")
        self.lab = str(info["lab"])
        return info

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

    async def lease(self, kinds: tuple[WorkKind, ...], wait_s: float) -> LeaseGranted | None:
        """Ask for work and wait for it up to `wait_s`."""
        request = self._statement(LeaseRequested, {"kinds": kinds})
        answer = await self._json(
            "POST",
            "/leases",
            params={"wait_s": f"{wait_s:.3f}"},
            content=self.signed(request).to_json(),
            timeout=httpx.Timeout(wait_s + READ_LIMIT_S, connect=CONNECT_LIMIT_S),
        )
        if not answer:
            return None
        return LeaseGranted.model_validate_json(base64.b64decode(answer["payload"]))

    async def get(self, path: str, **params: Any) -> Any:
        """A JSON document."""
        return await self._json("GET", path, params=params)

    async def fetch(self, blob: BlobRef, store: BlobStore) -> Path:
        """Bring a blob into `store`, resuming what an earlier attempt left; returns its path."""
        for attempt in range(MAX_TRANSFER_ATTEMPTS):
            if store.exists(blob.digest):
                return store.path(blob.digest)
            try:
                await self._fetch_rest(blob, store)
            except LabUnreachable:
                if attempt == MAX_TRANSFER_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(0.2 * 2**attempt)
        return store.path(blob.digest)

    async def upload(self, path: Path, blob: BlobRef, work: str | None) -> None:
        """Send a file, from where an interrupted upload stopped."""
        await self._upload(lambda offset: _chunks(path, offset), blob, work)

    async def upload_bytes(self, data: bytes, blob: BlobRef, work: str | None) -> None:
        """Send bytes at hand."""
        await self._upload(lambda offset: data[offset:], blob, work)

    async def _upload(
        self, rest: Callable[[int], bytes | AsyncIterator[bytes]], blob: BlobRef, work: str | None
    ) -> None:
        offer = self._statement(BlobOffered, {"blob": blob, "work": work})
        headers = {"Archipel-Offer": base64.b64encode(self.signed(offer).to_json()).decode()}
        for attempt in range(MAX_TRANSFER_ATTEMPTS):
            try:
                state = await self._json("GET", f"/blobs/{blob.digest}/state", headers=headers)
                if state["complete"]:
                    return
                offset = int(state["offset"])
                await self._json(
                    "PUT",
                    f"/blobs/{blob.digest}",
                    headers={**headers, "Upload-Offset": str(offset)},
                    content=rest(offset),
                )
            except LabUnreachable:
                if attempt == MAX_TRANSFER_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(0.2 * 2**attempt)
            else:
                self.bytes_up += blob.size - offset
                return

    async def _fetch_rest(self, blob: BlobRef, store: BlobStore) -> None:
        offset = store.partial_offset(blob.digest)
        if offset >= blob.size:
            store.discard_partial(blob.digest)
            offset = 0
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            async with self._http.stream("GET", f"/blobs/{blob.digest}", headers=headers) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise _refusal(answer)
                resumed = offset if answer.status_code == httpx.codes.PARTIAL_CONTENT else 0
                with store.writer(blob.digest, blob.size, resumed) as writer:
                    async for chunk in answer.aiter_bytes(CHUNK_BYTES):
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
        try:
            answer = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise LabUnreachable(f"{self.url}: {error or type(error).__name__}") from None
        if answer.status_code >= 400:
            raise _refusal(answer)
        if len(answer.content) > MAX_JSON_BYTES:
            raise LabRefused("oversized-answer", f"{len(answer.content)} bytes of JSON", 200)
        return answer.json() if answer.content else None


def _refusal(answer: httpx.Response) -> Exception:
    """A 5xx without a problem document is a lab in trouble; everything else is a considered no."""
    try:
        problem = answer.json()
        kind, detail = str(problem["type"]).rsplit("/", 1)[-1], str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        if answer.status_code >= 500:
            return LabUnreachable(f"status {answer.status_code} from {answer.url}")
        return LabRefused("unexpected-answer", f"status {answer.status_code}", answer.status_code)
    if answer.status_code in (502, 503, 504, 507):
        return LabUnreachable(f"{kind}: {detail}")
    return LabRefused(kind, detail, answer.status_code)


async def _chunks(path: Path, offset: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
