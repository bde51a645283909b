"""The short way to a lab gives the answers and the errors that httpx's own way gives, whatever the other side does."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.node.line import MAX_HEAD_BYTES, Line

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BODY = b"a question"
FORMS = {
    "length": (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: 1\r\n\r\n", b"hello"),
    "empty": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "chunks": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"",
    ),
    "after 103": (
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 409 No\r\ncontent-length: 2\r\n\r\n",
        b"no",
    ),
    "until the end": (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello", b""),
    "cut": (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", b""),
    "cut chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe", b""),
    "cut head": (b"HTTP/1.1 200 OK\r\ncontent-le", b""),
    "nothing": (b"", b""),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", b""),
}
ENDS = {"until the end", "cut", "cut chunk", "cut head", "nothing", "no HTTP"}


async def heard(reader: asyncio.StreamReader) -> bytes:
    """One question's body."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
    return await reader.readexactly(int(fields[b"content-length"]))


@contextlib.asynccontextmanager
async def serving(handle: Handle):
    """The address of a server; how many connections it took."""
    taken: list[int] = []

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(1)
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.transport.abort()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(counted(reader, writer)))

    tasks: list[asyncio.Future[None]] = []
    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", taken
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def told(transport: httpx.AsyncBaseTransport, url: str, limit_s: float = 5.0):
    """(status, a header, body) or the kind of error."""
    async with httpx.AsyncClient(transport=transport, timeout=limit_s) as client:
        try:
            answer = await client.post(url, content=BODY)
        except httpx.TransportError as error:
            return type(error)
        return answer.status_code, answer.headers.get("x-a"), answer.content


def said_in(parts: list[bytes], then_ends: bool) -> Handle:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await heard(reader) == BODY
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        if not then_ends:
            await reader.read()

    return handle


@given(st.sampled_from(sorted(FORMS)), st.lists(st.integers(0, 120), max_size=4))
@settings(max_examples=30, deadline=None)
def test_whatever_comes_in_whatever_pieces_means_the_same_either_way(
    form: str, cuts: list[int]
) -> None:
    data = b"".join(FORMS[form])
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(bounds)]

    async def story() -> None:
        async with serving(said_in(parts, form in ENDS)) as (url, _):
            theirs = httpx.AsyncHTTPTransport(verify=False)
            ours = Line(httpx.AsyncHTTPTransport(verify=False))
            assert await told(ours, url) == await told(theirs, url)

    asyncio.run(story())


@pytest.mark.parametrize("ends", [False, True], ids=["kept", "closed by the other side"])
@pytest.mark.parametrize("unasked", [b"", b"HTTP/1.1 408 Late\r\ncontent-length: 0\r\n\r\n"])
def test_a_connection_is_used_again_if_it_stands_and_nothing_came_unasked(
    ends: bool, unasked: bytes
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await heard(reader)
            writer.write(b"".join(FORMS["length"]) + unasked)
            if ends:
                return

    async def story() -> None:
        async with serving(handle) as (url, taken):
            line = Line(httpx.AsyncHTTPTransport(verify=False))
            async with httpx.AsyncClient(transport=line) as client:
                for _ in range(3):
                    assert (await client.post(url, content=BODY)).content == b"hello"
                    await asyncio.sleep(0.02)
            assert len(taken) == (3 if ends or unasked else 1)

    asyncio.run(story())


def test_two_questions_at_once_have_a_connection_each() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = await heard(reader)
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    async def story() -> None:
        async with serving(handle) as (url, taken):
            line = Line(httpx.AsyncHTTPTransport(verify=False))
            async with httpx.AsyncClient(transport=line) as client:
                for _ in range(2):
                    asked = [client.post(url, content=word) for word in (b"one", b"other")]
                    assert [each.content for each in await asyncio.gather(*asked)] == [
                        b"one",
                        b"other",
                    ]
            assert len(taken) == 2

    asyncio.run(story())


def test_silence_refusal_and_endless_heads_have_the_names_that_they_have_there() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + b"x-a: 1\r\n" * MAX_HEAD_BYTES)
        await reader.read()

    def line() -> Line:
        return Line(httpx.AsyncHTTPTransport(verify=False))

    async def story() -> None:
        async with serving(silent) as (url, _):
            assert await told(line(), url, 0.1) is httpx.ReadTimeout
        assert await told(line(), url) is httpx.ConnectError
        async with serving(endless) as (url, _):
            assert await told(line(), url) is httpx.RemoteProtocolError

    asyncio.run(story())


def test_a_long_answer_is_not_held_in_memory_before_anybody_takes_it() -> None:
    size = 64 * 1024 * 1024
    written = [0]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while written[0] < size:
            writer.write(bytes(65536))
            written[0] += 65536
            await writer.drain()

    async def story() -> None:
        async with serving(handle) as (url, _):
            line = Line(httpx.AsyncHTTPTransport(verify=False))
            async with (
                httpx.AsyncClient(transport=line) as client,
                client.stream("POST", url, content=BODY) as answer,
            ):
                await asyncio.sleep(0.2)
                assert written[0] < size // 2
                assert answer.status_code == httpx.codes.OK

    asyncio.run(story())
