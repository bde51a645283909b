"""A short way for the two questions that nodes live by: a POST with its body at hand, over plain HTTP/1.1.

httpx's own way from a request to the socket (a pool, locks, cancel scopes, a parser in Python) takes several times
as long as all that such a question needs. Everything else (TLS, reading, uploads that stream) goes that way. Law:
the same answers and the same errors; a connection on which anything went wrong is never used again.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

import httptools
import httpx

MAX_HEAD_BYTES = 65_536
"""Of an answer's head."""
MAX_UNREAD_BYTES = 1024 * 1024
"""Of a body in memory, before whoever asked takes it."""
EYEBALLS_S = 0.25
"""Before an address is tried beside the one that does not answer (RFC 8305)."""
MAX_IDLE = 4
"""Connections that are kept: one for the question that waits, one for the answer that leaves meanwhile."""


def client_for(url: str, limits: httpx.Timeout, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """A client of httpx with this short way; nothing is read from this process's environment."""
    line = Line(httpx.AsyncHTTPTransport(trust_env=False))
    return httpx.AsyncClient(
        base_url=url, timeout=limits, headers=headers, trust_env=False, transport=line
    )


class Line(httpx.AsyncBaseTransport):
    """A transport of httpx."""

    def __init__(self, other: httpx.AsyncBaseTransport) -> None:
        """other: for everything else; closed with this."""
        self._other = other
        self._idle: dict[tuple[str, int], list[_Connection]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`. Raises httpx.TransportError."""
        is_short = request.method == "POST" and isinstance(request.stream, httpx.ByteStream)
        if request.url.scheme != "http" or not is_short:
            return await self._other.handle_async_request(request)
        limits = request.extensions.get("timeout", {})
        place = request.url.host, request.url.port or 80
        connection = self._kept(place) or await _connected(*place, limits.get("connect"))
        try:
            await connection.send(_bytes_of(request), limits.get("write"))
            await connection.head(limits.get("read"))
        except BaseException:
            connection.close()
            raise
        body = _Body(connection, limits.get("read"), self, place)
        return httpx.Response(connection.status, headers=connection.headers, stream=body)

    def keep(self, connection: "_Connection", place: tuple[str, int]) -> None:
        """Its answer is here whole."""
        idle = self._idle.setdefault(place, [])
        if connection.is_reusable and len(idle) < MAX_IDLE:
            idle.append(connection)
        else:
            connection.close()

    async def aclose(self) -> None:
        """Drop the connections."""
        for idle in self._idle.values():
            while idle:
                idle.pop().close()
        await self._other.aclose()

    def _kept(self, place: tuple[str, int]) -> "_Connection | None":
        idle = self._idle.get(place, [])
        while idle:
            connection = idle.pop()
            if connection.is_reusable:
                return connection
            connection.close()
        return None


class _Connection(asyncio.Protocol):
    """One question at a time. `httptools` calls the methods whose names begin with `on_`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._news = asyncio.Event()
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._error: Exception | None = None
        self._is_lost, self._is_asked, self._is_paused = False, False, False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.is_whole = False
        self._has_head = self._stays = False
        self._num_bytes = 0

    @property
    def is_reusable(self) -> bool:
        """Whether the other side keeps it open, and has said nothing that was not asked for."""
        return self.is_whole and self._stays and not self._is_lost and self._error is None

    # --- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Some of an answer; what was not asked for is nobody's answer."""
        if not self._is_asked or self.is_whole:
            self._stays = False
            self.close()
            return
        self._num_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._error = httpx.RemoteProtocolError(f"{type(error).__name__}: {error}")
        if not self._has_head and self._num_bytes > MAX_HEAD_BYTES:
            self._error = httpx.RemoteProtocolError(f"a head of more than {MAX_HEAD_BYTES} bytes")
        if self._transport is not None and sum(map(len, self.chunks)) > MAX_UNREAD_BYTES:
            self._transport.pause_reading()
            self._is_paused = True
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side closed, or the network did."""
        self._is_lost = True
        if exc is not None and self._error is None:
            self._error = httpx.ReadError(str(exc))
            self._error.__cause__ = exc
        self._news.set()
        self._can_write.set()

    def pause_writing(self) -> None:
        """Enough is on its way."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """More may leave."""
        self._can_write.set()

    # --- a question and its answer

    async def send(self, data: bytes, limit_s: float | None) -> None:
        """A whole question. Raises httpx.TransportError."""
        self._begin()
        self._is_asked = True
        if self._transport is None or self._is_lost:
            raise httpx.WriteError("the connection is closed")
        self._transport.write(data)
        if self._can_write.is_set():
            return
        try:
            async with asyncio.timeout(limit_s):
                await self._can_write.wait()
        except TimeoutError as error:
            raise httpx.WriteTimeout("") from error

    async def head(self, limit_s: float | None) -> None:
        """The head of its answer. Raises httpx.TransportError."""
        while not self._has_head:
            await self.more(limit_s)

    async def more(self, limit_s: float | None) -> None:
        """What comes next. Raises httpx.TransportError: nothing does, or no HTTP."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        try:
            async with asyncio.timeout(limit_s):
                await self._news.wait()
        except TimeoutError as error:
            raise httpx.ReadTimeout("") from error
        self._news.clear()
        if self._error is not None:
            raise self._error
        if self._is_lost and not self.is_whole:
            self._ended()

    def close(self) -> None:
        """For good."""
        self._is_lost = True
        if self._transport is not None:
            self._transport.abort()

    # --- what the parser tells; of what comes behind a whole answer nothing is taken

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._stays = self._stays and not self.is_whole

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of a head."""
        if not self.is_whole:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """A head is whole; one of an answer that is none yet (1xx) is passed over."""
        if self.is_whole:
            return
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= httpx.codes.OK
        if not self._has_head:
            self.headers = []

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        if not self.is_whole:
            self.chunks.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._has_head and not self.is_whole:
            self.is_whole, self._stays = True, self._parser.should_keep_alive()

    def _ended(self) -> None:
        """The other side closed: the end of a body without a length, or in the middle of something."""
        if not self._has_head:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        names = {name.lower() for name, _ in self.headers}
        if names & {b"content-length", b"transfer-encoding"}:
            raise httpx.RemoteProtocolError(
                "peer closed connection without sending complete message body"
            )
        self.is_whole = True


class _Body(httpx.AsyncByteStream):
    """What is left of an answer; a connection whose answer is read whole is kept."""

    def __init__(
        self, connection: _Connection, limit_s: float | None, line: Line, place: tuple[str, int]
    ) -> None:
        self._connection, self._limit_s = connection, limit_s
        self._line, self._place = line, place
        self._is_open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        connection = self._connection
        while True:
            chunks, connection.chunks = connection.chunks, []
            for chunk in chunks:
                yield chunk
            if connection.is_whole:
                return
            await connection.more(self._limit_s)

    async def aclose(self) -> None:
        """Keep the connection, or drop it in the middle of an answer."""
        if self._is_open:
            self._is_open = False
            self._line.keep(self._connection, self._place)


async def _connected(host: str, port: int, limit_s: float | None) -> _Connection:
    """Raises httpx.ConnectError, httpx.ConnectTimeout."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit_s):
            _, connection = await loop.create_connection(
                _Connection, host, port, happy_eyeballs_delay=EYEBALLS_S
            )
    except TimeoutError as error:
        raise httpx.ConnectTimeout("") from error
    except OSError as error:
        raise httpx.ConnectError(str(error)) from error
    return connection


def _bytes_of(request: httpx.Request) -> bytes:
    """Raises httpx.LocalProtocolError: a line that would be two."""
    lines = [b"POST %s HTTP/1.1" % request.url.raw_path]
    lines += [b"%s: %s" % (name, value) for name, value in request.headers.raw]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise httpx.LocalProtocolError("a line break in a head")
    return b"\r\n".join((*lines, b"", request.content))
