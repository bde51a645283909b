"""Connections are used again after whole exchanges, and only then; failures have httpx's names."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from archipel.node.transport import MAX_HEAD_BYTES, Transport

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


class Server:
    """Counts connections; `answer` speaks on each of them."""

    def __init__(self, answer: Answer) -> None:
        self.connections = 0
        self._answer = answer

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.client = httpx.AsyncClient(
            base_url=f"http://{host}:{port}", transport=Transport(), trust_env=False, timeout=5.0
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def talk(answer: Answer, ask: Callable[[Server], Awaitable[None]]) -> None:
    async def both() -> None:
        async with Server(answer) as server:
            await ask(server)

    asyncio.run(both())


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await head_of(reader)
        writer.write(OK)


def test_a_connection_serves_one_exchange_after_another() -> None:
    async def ask(server: Server) -> None:
        for _ in range(3):
            assert (await server.client.get("/")).text == "ok"
        assert server.connections == 1

    talk(polite, ask)


def test_exchanges_at_once_have_connections_of_their_own() -> None:
    async def ask(server: Server) -> None:
        answers = await asyncio.gather(*(server.client.get("/") for _ in range(4)))
        assert [each.text for each in answers] == ["ok"] * 4
        assert server.connections == 4

    talk(polite, ask)


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(OK)

    async def ask(server: Server) -> None:
        for _ in range(2):
            assert (await server.client.get("/")).text == "ok"
            await asyncio.sleep(0.05)  # its end has to arrive
        assert server.connections == 2

    talk(once, ask)


def test_an_answer_that_nobody_read_to_its_end_costs_its_connection() -> None:
    async def ask(server: Server) -> None:
        async with server.client.stream("GET", "/") as answer:
            assert answer.status_code == 200
        assert (await server.client.get("/")).text == "ok"
        assert server.connections == 2

    talk(polite, ask)


def test_a_body_travels_as_it_is_in_both_directions() -> None:
    sent = bytes(range(256)) * 2000

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(sent), 10_000):
            yield sent[start : start + 10_000]

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        body = await reader.readexactly(len(sent))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async def ask(server: Server) -> None:
        length = {"Content-Length": str(len(sent))}
        answer = await server.client.put("/", content=chunks(), headers=length)
        assert answer.content == sent

    talk(mirror, ask)


def test_a_refusal_is_heard_though_the_body_was_never_read() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        while await reader.read(2**20):  # until the sender gives up
            pass

    async def ask(server: Server) -> None:
        answer = await server.client.put("/", content=b"x" * 4_000_000)
        assert (answer.status_code, answer.text) == (413, "no")

    talk(refuse, ask)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", httpx.RemoteProtocolError),
        (b"no HTTP at all\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * MAX_HEAD_BYTES, httpx.RemoteProtocolError),
    ],
    ids=["nothing", "cut", "garbage", "endless head"],
)
def test_an_answer_that_is_none_is_an_error_of_the_protocol(
    said: bytes, error: type[Exception]
) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(said)

    async def ask(server: Server) -> None:
        with pytest.raises(error):
            await server.client.get("/")

    talk(say, ask)


def test_silence_ends_at_the_limit() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def ask(server: Server) -> None:
        with pytest.raises(httpx.ReadTimeout):
            await server.client.get("/", timeout=0.05)

    talk(silent, ask)


def test_nobody_there_is_a_connection_error() -> None:
    async def ask(server: Server) -> None:
        with pytest.raises(httpx.ConnectError):
            await server.client.get("http://127.0.0.1:1/")

    talk(polite, ask)
