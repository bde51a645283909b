"""The wire between one agent and its lab: counts what goes over it, and lets a story meddle with it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from archipel.node.client import LabReader
from archipel.records.parcel import MAGIC, pack_parcel, unpack_parcel

Document = dict[str, Any]


class Wire:
    """Everything passes as it is, unless a story set `on_answer`."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """Method and path of each."""
        self.on_answer: Callable[[str, Any], Awaitable[Any]] | None = None
        """(method and path, document of the answer) -> what the agent gets to see instead."""
        self.before: Callable[[], None] | None = None
        """Called as a question leaves,"""
        self.after: Callable[[], None] | None = None
        """and as its answer comes."""
        self.add_blobs: list[bytes] = []
        """Beside every lease."""

    def attach(self, lab: LabReader) -> None:
        """From now on `lab` speaks over this wire."""
        lab.http = httpx.AsyncClient(
            transport=_Transport(self), base_url=lab.url, headers=lab.http.headers, timeout=60.0
        )


class _Transport(httpx.AsyncHTTPTransport):
    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        what = f"{request.method} {request.url.path}"
        self._wire.requests.append(what)
        if self._wire.before is not None:
            self._wire.before()
        answer = await super().handle_async_request(request)
        if self._wire.after is not None:
            self._wire.after()
        if what.startswith(("GET /blobs", "PUT")):
            return answer
        data = await answer.aread()
        if answer.status_code == httpx.codes.OK and data:
            data = await self._meddled(what, data)
        return httpx.Response(answer.status_code, stream=httpx.ByteStream(data))

    async def _meddled(self, what: str, data: bytes) -> bytes:
        blobs: list[bytes] | None = None
        if data.startswith(MAGIC):
            data, blobs = unpack_parcel(data)
        if self._wire.on_answer is not None:
            data = json.dumps(await self._wire.on_answer(what, json.loads(data))).encode()
        return data if blobs is None else pack_parcel(data, [*self._wire.add_blobs, *blobs])


def is_receipt_of_answer(what: str, document: Any) -> bool:
    """Whether a lab's answer is a receipt that brings a lease."""
    return what == "POST /records" and bool(document.get("handout"))
