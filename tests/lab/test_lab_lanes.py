"""The short way through the door is the same door: same answers, same refusals, and bounds on what waits."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from uvicorn.server import ServerState

from archipel import connections
from archipel.connections import Connections, guarded
from archipel.lab.doorman import DoorLimits, Doorman, Rate
from archipel.lab.handouts import Shelf
from archipel.lab.refusals import Busy
from archipel.lab.waiting import Waiter, Waiting
from archipel.records.statements import LeaseRequested
from door import Door, problem
from memory import MemoryBlobs
from people import identity, ref
from world import World


@pytest.fixture
def door(quick_folder: Path) -> Iterator[Door]:
    world = World(quick_folder)
    made = Door(world)
    yield made
    made.close()
    world.close()


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b'{"payload":""}', b"x" * 70_000])
def test_what_is_refused_is_refused_alike_on_both_ways(door: Door, body: bytes) -> None:
    short = door.request("POST", "/records", content=body)
    long = door.request("POST", "/records?unusual=1", content=body)
    assert short.status_code == long.status_code >= 400
    assert problem(short) == problem(long)
    assert short.json() == long.json()


@pytest.mark.parametrize("wait_s", ["-1", "61", "soon", "", "60.1", "1e3", "00000001"])
def test_a_wait_that_is_none_is_explained_by_the_framework(door: Door, wait_s: str) -> None:
    answer = door.request("POST", f"/leases?wait_s={wait_s}", content=b"{}")
    assert answer.status_code in (400, 422)
    assert problem(answer) in ("invalid-request", "malformed-record")


def test_other_methods_find_no_lane(door: Door) -> None:
    assert door.request("PUT", "/records", content=b"{}").status_code == 405
    assert door.get("/leases").status_code == 200


def test_a_head_that_never_ends_is_cut_and_a_long_body_is_not() -> None:
    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]  # ASGI
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        text = str(size).encode()
        head = [(b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": text})

    async def story() -> None:
        config = uvicorn.Config(app, lifespan="off")
        config.load()
        protocol = guarded(Connections(10, 10))

        def made() -> asyncio.Protocol:
            return protocol(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]

        listening = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        size = 20 * connections.MAX_HEAD_BYTES
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(20):
            writer.write(bytes(connections.MAX_HEAD_BYTES))
            await writer.drain()
        assert (await asyncio.wait_for(reader.readuntil(b"%d" % size), 10)).endswith(b"%d" % size)
        writer.write(b"GET / HTTP/1.1\r\nX-Endless: ")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await pour_until_cut(reader, writer)
        writer.close()
        listening.close()

    asyncio.run(story())


async def pour_until_cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for _ in range(40):
        writer.write(b"x" * connections.MAX_HEAD_BYTES)
        await writer.drain()
        await asyncio.sleep(0)
    await asyncio.wait_for(reader.readexactly(1), 10)


def test_who_claims_another_s_key_uses_up_nothing_of_its_owner_s() -> None:
    limits = DoorLimits(per_key=Rate(2, 0), joins_per_address=Rate(3, 0))
    doorman = Doorman(limits, lambda: 0.0)
    for _ in range(2):
        doorman.statement("did:owner", "liar's address", is_newcomer=False, is_idle=False)
    with pytest.raises(Busy):
        doorman.statement("did:owner", "liar's address", is_newcomer=False, is_idle=False)
    doorman.statement("did:owner", "its own address", is_newcomer=False, is_idle=False)
    for _ in range(3):
        doorman.statement("did:new", "an address", is_newcomer=True, is_idle=False)
    with pytest.raises(Busy):
        doorman.statement("did:newer", "an address", is_newcomer=True, is_idle=False)


def test_a_node_waits_once_whatever_kinds_it_asks_for() -> None:
    async def story() -> None:
        loop, waiting = asyncio.get_running_loop(), Waiting()

        def waiter(name: str, seq: int, *kinds: str) -> Waiter:
            did = identity(name).did
            asked = LeaseRequested(lab=did, author=did, seq=seq, kinds=kinds, holding=())
            return Waiter(asked, loop.create_future())

        first, newer = waiter("a", 1, "rollout"), waiter("a", 2, "update", "rollout")
        other = waiter("b", 1, "rollout")
        for each in (first, other, newer):
            waiting.join(each)
        assert len(waiting) == 2
        assert waiting.of(first.request.author) is newer
        assert set(map(id, waiting.able({"rollout"}))) == {id(newer), id(other)}
        waiting.leave(first)
        assert len(waiting) == 2
        waiting.leave(newer)
        assert waiting.all() == [other]
        assert list(waiting.able({"update"})) == []

    asyncio.run(story())


def test_the_shelf_gives_the_store_s_bytes_and_keeps_no_more_than_it_may() -> None:
    store = MemoryBlobs()
    all_data = [bytes([number]) * 100 for number in range(5)]
    digests = [store.put_bytes(data) for data in all_data]
    blobs = [ref(data) for data in all_data]
    shelf = Shelf(store, max_bytes=250)  # type: ignore[arg-type]  # enough of a store
    for blob, data in zip(blobs, all_data, strict=True):
        assert asyncio.run(shelf.read([blob])) == (data,)
    for digest in digests:
        store.discard(digest)
    assert asyncio.run(shelf.read([blobs[4], blobs[0], blobs[3]])) == (all_data[4], all_data[3])


def test_the_shelf_reads_all_that_it_lacks_in_one_go_and_beside_the_event_loop() -> None:
    class Watched(MemoryBlobs):
        def __init__(self) -> None:
            super().__init__()
            self.threads: list[int] = []

        def read_bytes(self, digest: str, max_bytes: int) -> bytes:
            self.threads.append(threading.get_ident())
            return super().read_bytes(digest, max_bytes)

    store = Watched()
    blobs = [ref(data) for data in (b"one", b"two", b"three")]
    for data in (b"one", b"two", b"three"):
        store.put_bytes(data)
    shelf = Shelf(store)  # type: ignore[arg-type]  # enough of a store
    assert asyncio.run(shelf.read(blobs)) == (b"one", b"two", b"three")
    assert len(store.threads) == 3
    assert len(set(store.threads)) == 1
    assert threading.get_ident() not in store.threads
    assert asyncio.run(shelf.read(blobs[1:])) == (b"two", b"three")
    assert len(store.threads) == 3, "now they are on the shelf"
