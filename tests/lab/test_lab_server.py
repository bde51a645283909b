"""The server on a real socket: silent connections end, crowded addresses are cut, waiting nodes are let go."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from archipel import connections
from archipel.connections import descriptors
from archipel.lab import refusals
from archipel.lab.api import make_api
from archipel.lab.requests import address_of
from archipel.lab.server import LabServer
from archipel.ledger.storage import EntryRow, HeadRow, LedgerStopped, LedgerUnavailable
from door import Door, problem
from world import World

ASK = b"GET /healthz HTTP/1.1\r\nHost: lab.test\r\n\r\n"
LIMIT_S = 10.0


@asynccontextmanager
async def serving(world: World, per_address: int = 9) -> AsyncIterator[tuple[LabServer, "Call"]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = LabServer(make_api(world.lab), world.lab, per_address)
        running = asyncio.create_task(server._serve([listener]))
        while not server.started:  # noqa: ASYNC110  uvicorn offers no event for it
            await asyncio.sleep(0.005)
        calls: list[Caller] = []

        async def call() -> Caller:
            calls.append(await Caller.call(listener.getsockname()[1]))
            return calls[-1]

        try:
            yield server, call
        finally:
            for each in calls:
                await each.close()
            server.should_exit = True
            await running


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def call(cls, port: int) -> "Caller":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, data: bytes = ASK) -> bytes:
        """The whole answer; empty when the connection was cut."""
        try:
            self.writer.write(data)
            async with asyncio.timeout(LIMIT_S):
                head = await self.reader.readuntil(b"\r\n\r\n")
                return head + await self.reader.readexactly(3)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def ended(self) -> bool:
        """Wait until the other side ends it."""
        try:
            async with asyncio.timeout(LIMIT_S):
                return await self.reader.read() == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


Call = Callable[[], Awaitable[Caller]]


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTT", ASK[:-2]])
def test_a_head_that_is_never_finished_ends_the_connection(
    world: World, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_LIMIT_S", 0.05)

    async def story() -> bool:
        async with serving(world) as (_, call):
            caller = await call()
            caller.writer.write(said)
            return await caller.ended()

    assert world.await_(story())


def test_a_head_in_pieces_is_answered_and_the_connection_serves_again(world: World) -> None:
    async def story() -> list[bytes]:
        async with serving(world) as (_, call):
            caller = await call()
            caller.writer.write(ASK[:9])
            await caller.writer.drain()
            await asyncio.sleep(0.01)
            return [await caller.ask(ASK[9:]), await caller.ask()]

    for answer in world.await_(story()):
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"ok\n")


def test_a_request_that_waits_for_work_is_not_cut_by_the_limit_on_heads(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_LIMIT_S", 0.4)
    world.open_run()
    request = world.provider("node").request()
    ask = b"POST /leases?wait_s=0.8 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(
        request
    )

    async def story() -> bytes:
        async with serving(world) as (_, call):
            caller = await call()
            caller.writer.write(ask + request)
            async with asyncio.timeout(LIMIT_S):
                return await caller.reader.readuntil(b"\r\n\r\n")

    assert world.await_(story()).startswith(b"HTTP/1.1 204")


def test_who_takes_nothing_of_an_answer_is_cut_and_its_file_closed(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STALL_S", 0.3)
    disk_world = World(quick_folder)
    digest = disk_world.put(bytes(32 * 1024 * 1024)).digest

    async def story() -> None:
        async with serving(disk_world) as (_, call):
            caller = await call()
            caller.writer.write(f"GET /blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await caller.reader.readuntil(b"\r\n\r\n")
            assert _is_open(digest)
            async with asyncio.timeout(LIMIT_S):
                while _is_open(digest):  # noqa: ASYNC110  the kernel tells nobody
                    await asyncio.sleep(0.02)

    disk_world.await_(story())
    disk_world.close()


def _is_open(digest: str) -> bool:
    name = digest[-40:]  # its first digits are folders
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return any(name in str(link.readlink()) for link in links)


def test_an_address_has_so_many_connections_and_one_that_ends_makes_room(world: World) -> None:
    async def story() -> None:
        async with serving(world, per_address=2) as (_, call):
            first, second = await call(), await call()
            assert (await first.ask()).endswith(b"ok\n")
            assert (await second.ask()).endswith(b"ok\n")
            third = await call()
            assert await third.ask() == b""
            assert (await first.ask()).endswith(b"ok\n"), "the others go on"
            await first.close()
            async with asyncio.timeout(LIMIT_S):
                while not (await (await call()).ask()).endswith(b"ok\n"):  # noqa: ASYNC110  it ends by itself
                    await asyncio.sleep(0.01)

    world.await_(story())


def test_an_end_lets_waiting_nodes_go_with_an_answer(world: World) -> None:
    world.open_run()
    request = world.provider("node").request()
    ask = b"POST /leases?wait_s=60 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(request)

    async def story() -> bytes:
        async with serving(world) as (server, call):
            caller = await call()
            caller.writer.write(ask + request)
            async with asyncio.timeout(LIMIT_S):
                while not len(world.lab._leasing._waiting):  # noqa: ASYNC110  a request on its way
                    await asyncio.sleep(0.005)
                server.should_exit = True
                return await caller.reader.readuntil(b"\r\n\r\n")

    assert world.await_(story()).startswith(b"HTTP/1.1 204")


def test_a_body_that_never_comes_is_cut_off_with_an_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.lab.requests.BODY_LIMIT_S", 0.05)
    ask = b"POST /records HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"

    async def story() -> bytes:
        async with serving(world) as (_, call):
            caller = await call()
            caller.writer.write(ask)
            async with asyncio.timeout(LIMIT_S):
                return await caller.reader.readuntil(b"}")

    answer = world.await_(story())
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"send it again" in answer


def test_an_upload_that_falls_silent_is_cut_off_and_may_be_resumed(
    quick_folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from door import Door
    from people import ref

    monkeypatch.setattr("archipel.lab.blob_routes.UPLOAD_IDLE_LIMIT_S", 0.05)
    world = World(quick_folder)
    door, data = Door(world), b"0123456789"
    headers = door.offer(world.operator, data, None)
    path = f"/blobs/{ref(data).digest}"

    async def story() -> bytes:
        async with serving(world) as (_, call):
            caller = await call()
            head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
            head += f"Archipel-Offer: {headers['Archipel-Offer']}\r\n\r\n"
            caller.writer.write(head.encode() + data[:4])
            async with asyncio.timeout(LIMIT_S):
                return await caller.reader.readuntil(b"}")

    answer = world.await_(story())
    assert b"resume later" in answer
    assert door.get(path + "/state", headers=headers).json() == {"complete": False, "offset": 4}
    rest = {**headers, "Upload-Offset": "4"}
    assert door.request("PUT", path, headers=rest, content=data[4:]).status_code == 201
    door.close()
    world.close()


def test_a_process_asks_for_all_the_files_it_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(64, 128)]
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(connections.resource, "setrlimit", lambda _, new: limits.append(new))
    assert descriptors() == 128
    assert limits == [(64, 128), (128, 128)]
    assert descriptors() == 128
    assert len(limits) == 2, "it has them already"

    def refuses(_: int, __: object) -> None:
        raise OSError("no")

    limits.append((64, 128))
    monkeypatch.setattr(connections.resource, "setrlimit", refuses)
    assert descriptors() == 64


def test_a_request_from_nowhere_has_a_name_for_its_address() -> None:
    from starlette.requests import Request

    assert address_of(Request({"type": "http", "client": ("10.0.0.1", 5)})) == "10.0.0.1"
    assert address_of(Request({"type": "http", "client": None})) == "nowhere"


class Doubtful:
    """In place of a database's `append`: stores what it is given, and then says that it could not."""

    def __init__(self, world: World) -> None:
        self._append = world.storage.append

    def __call__(self, entries: list[EntryRow], head: HeadRow) -> None:
        self._append(entries, head)
        raise LedgerUnavailable("the connection broke")


def test_a_lab_whose_ledger_stopped_says_so_to_all_and_ends(world: World) -> None:
    world.started()
    node, door = world.provider("node"), Door(world)
    world.storage.append = Doubtful(world)  # type: ignore[method-assign]  # the database fails
    with pytest.raises(refusals.LedgerStopped, match="not known whether this was recorded"):
        node.leave()
    assert isinstance(world.lab.failure, LedgerStopped)
    assert door.get("/healthz").status_code == 503
    assert problem(door.get("/ledger/entries")) == "ledger-stopped"
    door.close()

    async def story() -> None:
        async with serving(world) as (server, _):
            async with asyncio.timeout(LIMIT_S):
                while not server.lifespan.shutdown_event.is_set():  # noqa: ASYNC110  it ends by itself
                    await asyncio.sleep(0.01)
            assert not server.should_exit, "nobody asked it to end"

    world.await_(story())


@pytest.mark.parametrize("which", ["watch_deadlines", "go_on"])
def test_a_lab_ends_in_good_order_when_something_it_cannot_do_without_has_failed(
    world: World, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    async def fails(_: object) -> None:
        raise ZeroDivisionError("a defect")

    place = {"watch_deadlines": "archipel.lab.lab.Lab", "go_on": "archipel.lab.upkeep.Upkeep"}[
        which
    ]
    monkeypatch.setattr(f"{place}.{which}", fails)
    ended: list[str] = []

    async def end(_: object) -> None:
        ended.append("upkeep")

    monkeypatch.setattr("archipel.lab.upkeep.Upkeep.end", end)

    async def story() -> None:
        async with serving(world) as (server, _), asyncio.timeout(LIMIT_S):
            while not server.lifespan.shutdown_event.is_set():  # noqa: ASYNC110  it ends by itself
                await asyncio.sleep(0.01)

    world.await_(story())
    assert isinstance(world.lab.failure, ZeroDivisionError)
    assert ended == ["upkeep"], "the failure does not skip the rest of an end"
    assert world.lab._leasing._closing
