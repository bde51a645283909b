"""The light end of a connection to a lab: HTTP/1.1 by hand over one kept-alive socket, and who speaks.

`Wire` sends one request at a time; `Voice` signs statements with one key. Together they cost a tenth of
what an HTTP client costs, so that a few processes can stand for thousands of nodes.
Law: every request has a deadline, an answer a bound; what is no answer ends the connection.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from archipel.identity import Identity, sign
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.statement import Statement
from archipel.records.statements import RECORD_TYPE, encode

MAX_ANSWER_BYTES = 16 * 2**20
CONNECT_LIMIT_S = 60.0


class WireBroken(RuntimeError):
    """The connection ended, or what came is no HTTP answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came."""

    status: int
    media_type: str
    body: bytes


class Wire(asyncio.Protocol):
    """One connection; `send` may be awaited by one at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._waiting: asyncio.Future[Reply] | None = None
        self._head: tuple[int, str, int] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, host: str, port: int, source: str = "") -> "Wire":
        """A new connection, from `source` if one is given; raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_LIMIT_S):
            local = (source, 0) if source else None
            _, wire = await loop.create_connection(cls, host, port, local_addr=local)
        return wire

    @property
    def is_open(self) -> bool:
        """Neither side has closed it."""
        return self._transport is not None and not self._transport.is_closing()

    async def send(
        self, head: str, body: bytes = b"", *, media_type: str = "", limit_s: float = 60.0
    ) -> Reply:
        """One request; `head` is its method, path and any further header lines.

        Raises:
            WireBroken: the connection ended first. TimeoutError: no whole answer in time.
        """
        if self._transport is None or self._transport.is_closing():
            raise WireBroken("the connection is closed")
        line, _, headers = head.partition("\n")
        kind = f"Content-Type: {media_type}\r\n" if media_type else ""
        more = "".join(f"{each}\r\n" for each in headers.splitlines())
        text = f"{line} HTTP/1.1\r\nHost: lab\r\n{kind}{more}Content-Length: {len(body)}\r\n\r\n"
        waiting = asyncio.get_running_loop().create_future()
        self._waiting = waiting
        self._transport.write(text.encode() + body)
        timer = asyncio.get_running_loop().call_later(limit_s, self._too_late)
        try:
            reply: Reply = await waiting
        finally:
            timer.cancel()
            self._waiting = None
        return reply

    def close(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a stream, as asked
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of `asyncio.Protocol`."""
        self._fail(WireBroken(f"the lab closed the connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        """Part of `asyncio.Protocol`."""
        self._buffer += data
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            try:
                self._head = _read_head(bytes(self._buffer[:end]))
            except ValueError as error:
                self._fail(WireBroken(f"not an HTTP answer: {error}"))
                self.close()
                return
            del self._buffer[: end + 4]
        status, media_type, size = self._head
        if len(self._buffer) >= size:
            body = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._head = None
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(Reply(status, media_type, body))

    def _too_late(self) -> None:
        self._fail(TimeoutError("no answer in time"))
        self.close()

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


def _read_head(head: bytes) -> tuple[int, str, int]:
    """(status, media type, bytes of the body)."""
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    named = dict(line.lower().split(": ", 1) for line in lines[1:])
    size = int(named.get("content-length", "0"))
    if not 0 <= size <= MAX_ANSWER_BYTES:
        raise ValueError(f"a body of {size} bytes")
    return status, named.get("content-type", ""), size


class Voice:
    """One key that speaks to one lab; its numbers follow the clock."""

    def __init__(self, lab: str, identity: Identity) -> None:
        self.lab = lab
        self.identity = identity
        self._last_seq = 0

    @property
    def did(self) -> str:
        """Its name."""
        return self.identity.did

    def say(self, kind: type[Statement], **fields: Any) -> bytes:
        """A signed statement, as an envelope's JSON."""
        self._last_seq = max(self._last_seq + 1, time.time_ns() // 1000)
        statement = kind(lab=self.lab, author=self.did, seq=self._last_seq, **fields)
        return sign(self.identity, encode(statement), RECORD_TYPE).to_json()


def refer(data: bytes) -> BlobRef:
    """What a statement says of these bytes."""
    return BlobRef(digest=sha256_digest(data), size=len(data))
