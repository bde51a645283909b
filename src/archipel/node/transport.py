"""HTTP/1.1 over the event loop's own streams: what `httpx` sends through, with little in between.

Law: a connection is used again only after a whole exchange; one that failed, was cut short or that the
other side closed is dropped, and nothing is sent twice. Every wait has a limit: httpx's own, per request.
Sources: RFC 9112, as `h11` reads it.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import h11
import httpx

READ_BYTES = 256 * 1024
WRITE_BYTES = 64 * 1024
"""So much of a request is gathered before it is sent."""
MAX_HEAD_BYTES = 64 * 1024
IDLE_LIMIT_S = 30.0
"""Used again within this time; labs keep idle connections longer."""
MAX_IDLE = 8

Origin = tuple[bytes, bytes, int | None]
"""(scheme, host, port)."""


class Transport(httpx.AsyncBaseTransport):
    """Connections to any number of origins."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[Connection]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange; the body of the answer is read by whoever asked."""
        limits: dict[str, float | None] = request.extensions.get("timeout", {})
        origin = (request.url.raw_scheme, request.url.raw_host, request.url.port)
        connection = self._waiting(origin) or await connected(request.url, limits.get("connect"))
        try:
            head = await connection.exchange(request, limits)
        except BaseException:
            connection.drop()
            raise
        return httpx.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=Body(self, origin, connection, limits.get("read")),
            extensions={"http_version": b"HTTP/1.1"},
        )

    def done(self, origin: Origin, connection: "Connection") -> None:
        """An exchange is over: keep its connection if it can serve another."""
        idle = self._idle.setdefault(origin, [])
        if connection.renew() and len(idle) < MAX_IDLE:
            idle.append(connection)
        else:
            connection.drop()

    async def aclose(self) -> None:
        """Drop what is idle."""
        for idle in self._idle.values():
            while idle:
                idle.pop().drop()

    def _waiting(self, origin: Origin) -> "Connection | None":
        """The connection that was used last and is still good."""
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if connection.is_fresh():
                return connection
            connection.drop()
        return None


class Connection:
    """One stream to a server, and where the exchange on it stands."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._used_s = time.monotonic()

    async def exchange(
        self, request: httpx.Request, limits: dict[str, float | None]
    ) -> h11.Response:
        """Send a request; the head of its answer."""
        # Who refuses a long body may answer and close before it has read all of it.
        with contextlib.suppress(httpx.WriteError):
            await self._send(request, limits.get("write"))
        while isinstance(event := await self._next(limits.get("read")), h11.InformationalResponse):
            pass
        if not isinstance(event, h11.Response):
            raise httpx.RemoteProtocolError("the server closed the connection without an answer")
        return event

    async def chunk(self, limit_s: float | None) -> bytes | None:
        """The next bytes of an answer's body; None at its end."""
        event = await self._next(limit_s)
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return None
        raise httpx.RemoteProtocolError(f"{event!r:.80} inside an answer")

    async def _next(self, limit_s: float | None) -> Any:
        """What comes next of an answer."""
        while (event := self._event()) is h11.NEED_DATA:
            try:
                async with asyncio.timeout(limit_s):
                    data = await self._reader.read(READ_BYTES)
            except TimeoutError:
                raise httpx.ReadTimeout(f"silent for {limit_s:.0f} s") from None
            except OSError as error:
                raise httpx.ReadError(str(error)) from None
            self._protocol.receive_data(data)
        return event

    def _event(self) -> Any:
        try:
            return self._protocol.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from None

    def renew(self) -> bool:
        """Whether the exchange is over on both sides and another may follow."""
        if self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE:
            self._protocol.start_next_cycle()
            self._used_s = time.monotonic()
            return True
        return False

    def is_fresh(self) -> bool:
        """Whether nothing has come, not even the end, since the last exchange."""
        is_over = self._reader.at_eof() or self._writer.is_closing()
        is_old = time.monotonic() - self._used_s > IDLE_LIMIT_S
        return not is_over and not is_old and self._reader.exception() is None

    def drop(self) -> None:
        """Close at once; what was not sent stays unsent."""
        self._writer.transport.abort()

    async def _send(self, request: httpx.Request, limit_s: float | None) -> None:
        head = h11.Request(
            method=request.method, target=request.url.raw_path, headers=request.headers.raw
        )
        gathered = bytearray(self._protocol.send(head) or b"")
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101  of an AsyncClient
        async for chunk in request.stream:
            gathered += self._protocol.send(h11.Data(data=chunk)) or b""
            if len(gathered) >= WRITE_BYTES:
                await self._write(bytes(gathered), limit_s)
                gathered.clear()
        gathered += self._protocol.send(h11.EndOfMessage()) or b""
        await self._write(bytes(gathered), limit_s)

    async def _write(self, data: bytes, limit_s: float | None) -> None:
        try:
            async with asyncio.timeout(limit_s):
                self._writer.write(data)
                await self._writer.drain()
        except TimeoutError:
            raise httpx.WriteTimeout(f"nothing was taken for {limit_s:.0f} s") from None
        except OSError as error:
            raise httpx.WriteError(str(error)) from None


class Body(httpx.AsyncByteStream):
    """An answer's bytes as they come; its end gives the connection back."""

    def __init__(
        self, owner: Transport, origin: Origin, connection: Connection, limit_s: float | None
    ) -> None:
        self._owner, self._origin = owner, origin
        self._connection: Connection | None = connection
        self._limit_s = limit_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Chunks; raises httpx's errors when they stop before the end."""
        while self._connection is not None:
            data = await self._connection.chunk(self._limit_s)
            if data is None:
                return
            yield data

    async def aclose(self) -> None:
        """Nobody reads on."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._owner.done(self._origin, connection)


async def connected(url: httpx.URL, limit_s: float | None) -> Connection:
    """A new connection to the server of `url`.

    Raises:
        httpx.ConnectTimeout, httpx.ConnectError: accordingly.
    """
    is_secure = url.scheme == "https"
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(
                url.host,
                url.port or (443 if is_secure else 80),
                limit=READ_BYTES,
                ssl=_verifying() if is_secure else None,
                happy_eyeballs_delay=0.25,
            )
    except TimeoutError:
        raise httpx.ConnectTimeout(f"no connection within {limit_s:.0f} s") from None
    except OSError as error:
        raise httpx.ConnectError(str(error)) from None
    return Connection(reader, writer)


@cache
def _verifying() -> ssl.SSLContext:
    """Certificates are checked as `httpx` does by itself; read when first needed."""
    return httpx.create_ssl_context(trust_env=False)
