"""The server on a real socket: it ends in good order, and who reads, sends or does nothing keeps nobody else waiting."""

import asyncio
import json
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import datetime
from typing import Any

import httpx
import pytest

from archipel import connections
from archipel.serve import bodies
from archipel.serve.access import Access
from archipel.serve.door import make_door
from archipel.serve.question import Broken, Ended, Question, Said
from archipel.serve.server import DoorServer, Ending, listening
from serve.served_process import address  # noqa: F401  a fixture

LIMIT_S = 10.0
PIECE = "x" * 65_536
BODY = json.dumps(
    {"model": "talker", "messages": [{"role": "user", "content": "hi"}], "stream": True}
).encode()


class Talk:
    """An answer that goes on until the test ends it."""

    num_prompt_tokens, num_tokens = 1, 0

    def __init__(self, talker: "Talker", question: Question) -> None:
        self.question, self._talker = question, talker

    async def told(self) -> AsyncIterator[Said | Ended]:
        while not self._talker.is_done.is_set():
            self.num_tokens += 1
            yield Said(0, self._talker.text)
            await asyncio.sleep(0.002)
            if self._talker.is_cut:
                raise Broken("the server ends; ask again when it is back")
        yield Ended(0, "stop", self.num_tokens)

    def leave(self) -> None:
        self._talker.num_left += 1


class Talker:
    """Something that answers to a name."""

    name, since, fingerprint, positions, chat_template = "talker", 0, "", 9, None

    def __init__(self) -> None:
        self.is_done, self.is_cut, self.num_left, self.text = asyncio.Event(), False, 0, "x"

    def counts(self) -> dict[str, int]:
        return {"waiting": 0, "running": 0}

    async def ask(self, question: Question, key: str, now: datetime) -> Talk:
        return Talk(self, question)

    def cut(self) -> None:
        self.is_cut = True


class Place:
    """A server that runs."""

    def __init__(self, server: DoorServer, port: int, running: "asyncio.Task[None]") -> None:
        self.server, self.port, self.running = server, port, running
        self._writers: list[asyncio.StreamWriter] = []

    async def call(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        self._writers.append(writer)
        writer.write(data)
        return reader, writer

    async def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def asking(self) -> bytes:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
        return f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY

    async def is_well(self) -> bool:
        reader, _ = await self.call(
            f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n\r\n".encode()
        )
        return (await reader.read()).startswith(b"HTTP/1.1 200")


@asynccontextmanager
async def opened(talker: Talker, **ending: Any) -> AsyncIterator[Place]:
    listener = listening("127.0.0.1", 0)
    door = make_door({"talker": talker}, Access())
    server = DoorServer(door, Ending(cut=talker.cut, **ending), is_loopback=True)
    running = asyncio.create_task(server._serve([listener]))
    while not server.started:  # noqa: ASYNC110  uvicorn offers no event for it
        await asyncio.sleep(0.005)
    place = Place(server, listener.getsockname()[1], running)
    try:
        async with asyncio.timeout(LIMIT_S):
            yield place
    finally:
        talker.is_done.set()
        await place.hang_up()
        server.should_exit = True
        await running


def told(story: Callable[[], Any]) -> Any:
    return asyncio.run(story())


def test_an_answer_under_way_is_ended_and_nobody_new_is_taken() -> None:
    heard: list[str] = []

    async def story() -> bytes:
        talker = Talker()
        async with opened(talker, say=heard.append) as place:
            reader, _ = await place.call(place.asking())
            await reader.readuntil(b'"x"')
            idle, _ = await place.call()
            place.server.handle_exit(signal.SIGTERM, None)
            assert await idle.read() == b"", "who says nothing is let go at once"
            with pytest.raises(OSError):
                await place.call()
            assert not place.running.done()
            talker.is_done.set()
            rest = await reader.read()
            await place.running
            return rest

    assert b"data: [DONE]" in told(story)
    assert "1 under way have 30 s" in heard[0]


def test_an_answer_that_takes_longer_than_the_end_may_is_cut_off_with_a_word() -> None:
    async def story() -> bytes:
        async with opened(Talker(), within_s=0.2) as place:
            reader, _ = await place.call(place.asking())
            await reader.readuntil(b'"x"')
            place.server.handle_exit(signal.SIGTERM, None)
            rest = await reader.read()
            await place.running
            return rest

    assert b"the server ends" in told(story)


def test_told_twice_it_ends_at_once() -> None:
    async def story() -> float:
        async with opened(Talker()) as place:
            reader, _ = await place.call(place.asking())
            await reader.readuntil(b'"x"')
            begun = time.monotonic()
            place.server.handle_exit(signal.SIGINT, None)
            await asyncio.sleep(0.2)
            place.server.handle_exit(signal.SIGINT, None)
            await place.running
            assert place.server.force_exit
            return time.monotonic() - begun

    assert told(story) < 2


@pytest.mark.parametrize("reads", [0, 1])
def test_who_takes_nothing_or_a_byte_at_a_time_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    """And its answer left, so that it holds no place in the engine."""
    monkeypatch.setattr(connections, "STALL_S", 0.15)

    async def story() -> None:
        talker = Talker()
        talker.text = PIECE
        async with opened(talker) as place:
            with socket.create_connection(("127.0.0.1", place.port)) as slow:
                slow.setblocking(False)
                await asyncio.get_running_loop().sock_sendall(slow, place.asking())
                while not talker.num_left:
                    if reads:
                        await asyncio.get_running_loop().sock_recv(slow, reads)
                    await asyncio.sleep(0.02)
                assert await place.is_well()

    told(story)


def test_a_body_that_comes_a_byte_at_a_time_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_LIMIT_S", 0.15)

    async def story() -> bytes:
        async with opened(Talker()) as place:
            data = place.asking()
            reader, writer = await place.call(data[: -len(BODY)])
            saying = asyncio.create_task(reader.readuntil(b"}}"))
            for byte in BODY:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
                if saying.done():
                    break
            assert await place.is_well()
            return await saying

    said = told(story)
    assert said.startswith(b"HTTP/1.1 400")
    assert b"was not here within" in said


def test_bodies_on_their_way_hold_so_much_memory_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "MAX_ARRIVING_BYTES", 200)

    async def story() -> bytes:
        async with opened(Talker()) as place:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n"
            waits, writer = await place.call(head + b"x" * 80)
            while bodies._arriving["local"] < 80:  # noqa: ASYNC110  it is on its way
                await asyncio.sleep(0.005)
            reader, _ = await place.call(head + b"x" * 30)
            said = await reader.readuntil(b"}}")
            writer.write(b"x" * 19)
            assert b" 400 " in await waits.readuntil(b"\r\n"), "it was read, and is no JSON"
            assert not bodies._arriving["local"]
            return said

    assert told(story).startswith(b"HTTP/1.1 429")


STRANGE = (
    b"\0" * 40, b"GET\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n",
    b"GET http://rebound.example HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET //[ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET /%ff%fe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 30_000,
)  # fmt: skip


def test_what_is_no_request_of_ours_never_fails_it() -> None:
    async def story() -> list[bytes]:
        statuses = []
        async with opened(Talker()) as place:
            for data in STRANGE:
                reader, writer = await place.call(data)
                writer.write_eof()
                try:
                    statuses.append((await reader.read(12))[9:10])
                except ConnectionError:
                    statuses.append(b"")
            assert await place.is_well()
        return statuses

    assert set(told(story)) <= {b"", b"2", b"4"}


def test_idle_connections_keep_nobody_waiting_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_LIMIT_S", 0.3)

    async def story() -> None:
        async with opened(Talker()) as place:
            idle = [await place.call() for _ in range(60)]
            assert await place.is_well()
            assert {await reader.read() for reader, _ in idle} == {b""}
            assert len(place.server.server_state.connections) <= 1

    told(story)


@pytest.mark.slow
def test_ten_thousand_idle_connections_keep_nobody_waiting(address: str) -> None:  # noqa: F811
    """As many as this machine lets a process have, if that is fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = int(address.rpartition(":")[2])
    try:
        with ExitStack() as held:
            number = min(10_000, hard - 500)
            idle = [
                held.enter_context(socket.create_connection(("127.0.0.1", port), LIMIT_S))
                for _ in range(number)
            ]
            begun = time.monotonic()
            assert httpx.get(f"{address}/health", trust_env=False).status_code == 200
            body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
            said = httpx.post(
                f"{address}/v1/chat/completions",
                json=body | {"max_tokens": 5},
                trust_env=False,
                timeout=LIMIT_S,
            )
            took_s = time.monotonic() - begun
            assert said.status_code == 200
            assert took_s < LIMIT_S / 2
            idle[-1].settimeout(connections.HEAD_LIMIT_S + LIMIT_S)
            assert idle[-1].recv(1) == b"", "they end by themselves"
            print(f"{number} idle connections: a question beside them took {took_s:.2f} s")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
