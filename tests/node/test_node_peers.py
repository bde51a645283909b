"""Versions from other nodes: nobody is believed, nothing hangs, and the lab is always there in the end."""

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from agents import settings, until
from archipel.blobs import BlobStore
from archipel.node.agent import Agent
from archipel.node.blob_door import MAX_HEAD_BYTES, MAX_PER_ADDRESS, BadHead, BlobDoor, read_head
from archipel.node.client import LabReader
from archipel.node.peers import Peers
from archipel.node.sharing import Shared
from archipel.records.fields import BlobRef
from archipel.records.sources import BlobSources, Fetched, Peer, chunk_bytes, num_chunks
from live import live
from people import identity, ref
from stub_worker import StubWorker
from world import World

SIZE = 5 * 256 * 1024 + 77
DATA = random.Random(7).randbytes(SIZE)
STEP = chunk_bytes(SIZE)
BLOB = ref(DATA)
FAST = 10**9


def chunk_digests(data: bytes) -> tuple[str, ...]:
    return tuple(
        hashlib.sha256(data[at : at + STEP]).hexdigest() for at in range(0, len(data), STEP)
    )


def told(*ports: int, limit_ms: int = 5000, data: bytes = DATA) -> BlobSources:
    """What an honest lab says: the chunks' digests, and peers at these ports."""
    return BlobSources(
        digest=BLOB.digest,
        chunks=chunk_digests(data),
        peers=tuple(
            Peer(node=identity(f"peer {port}").did, address=f"127.0.0.1:{port}") for port in ports
        ),
        limit_ms=limit_ms,
    )


class Node:
    """As much of one as fetches and serves."""

    def __init__(self, url: str, folder: Path, rate: int = FAST) -> None:
        self.lab = LabReader(url)
        self.store = BlobStore(folder, is_lasting=False)
        self.shared = Shared(self.store)
        self.shared.publish(BLOB.digest, BLOB.size)
        self.peers = Peers(self.lab, self.store, self.shared)
        self.door = BlobDoor(self.shared, "127.0.0.1", 0, rate)

    @property
    def port(self) -> int:
        assert self.door.serving is not None
        return self.door.serving.port

    async def fetch(self, sources: BlobSources | None = None) -> bytes:
        if sources is not None:
            self.peers.lay([sources])
        await self.peers.fetch(BLOB)
        return (await self.lab.fetch(BLOB, self.store)).read_bytes()


@contextlib.asynccontextmanager
async def nodes(world: World, folder: Path, *rates: int) -> AsyncIterator[list[Node]]:
    """Nodes that serve, beside a lab that has the blob."""
    if not world.blobs.exists(BLOB.digest):
        world.put(DATA)
    async with contextlib.AsyncExitStack() as opened:
        url = await opened.enter_async_context(live(world))
        made = [Node(url, folder / f"n{number}", rate) for number, rate in enumerate(rates)]
        for each in made:
            await opened.enter_async_context(each.door.open())
            await opened.enter_async_context(each.lab)
            await each.lab.meet()
        yield made


def told_by(node: Node) -> dict[str, Fetched]:
    return {each.source: each for each in node.peers.news()}


def begins(node: Node, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set once the blob is on its way into this node."""
    has_begun, really = asyncio.Event(), node.shared.begins

    def noted(digest: str, path: Path) -> None:
        really(digest, path)
        has_begun.set()

    monkeypatch.setattr(node.shared, "begins", noted)
    return has_begun


def test_what_is_asked_for_while_the_whole_gets_its_name_is_given(folder: Path) -> None:
    store = BlobStore(folder, is_lasting=False)
    shared = Shared(store)
    shared.publish(BLOB.digest, BLOB.size)
    with store.writer(BLOB.digest, BLOB.size, 0) as writer:
        shared.begins(BLOB.digest, writer.path)
        writer.write(DATA)
        shared.came(BLOB.digest, SIZE)
        writer.commit()
        with asyncio.run(shared.opened(BLOB.digest, SIZE, 1.0)) as file:
            assert file.read() == DATA


def test_a_chain_passes_chunks_on_before_it_has_them_all_and_the_lab_sends_once(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with nodes(world, folder, FAST, FAST, FAST) as (first, second, third):
            has_some, meter = asyncio.Event(), world.lab.mesh.meter
            came = third.shared.came
            begun = [begins(node, monkeypatch) for node in (first, second)]

            async def below(node: Node, above: Node, has_begun: asyncio.Event) -> bytes:
                async with asyncio.timeout(10.0):  # a lab names as a source whoever has begun
                    await has_begun.wait()
                return await node.fetch(told(above.port))

            async def pace(num_bytes: int) -> None:
                if meter.sent >= 2 * STEP:  # the last in the chain must have some of it by now
                    async with asyncio.timeout(10.0):
                        await has_some.wait()

            def noted(digest: str, verified: int) -> None:
                came(digest, verified)
                has_some.set()

            monkeypatch.setattr(world.lab.mesh.pacer, "pace", pace)
            monkeypatch.setattr(third.shared, "came", noted)
            found = await asyncio.gather(
                first.fetch(told()), below(second, first, begun[0]), below(third, second, begun[1])
            )
            assert found == [DATA] * 3
            assert meter.sent == SIZE
            assert first.door.sent == second.door.sent == SIZE
            assert third.peers.bytes_from_peers == SIZE

    world.await_(story())


Liar = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def says(head: bytes, body: bytes = b"", *, then_waits: bool = False) -> Liar:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        await writer.drain()
        if then_waits:
            await reader.read()  # until the other side gives up

    return answer


@contextlib.asynccontextmanager
async def listening(liar: Liar) -> AsyncIterator[int]:
    """Its port."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await liar(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    await asyncio.sleep(0.01)  # the last connections end


def partial(length: int) -> bytes:
    return b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n\r\n" % length


LIARS = {
    "garbage": says(partial(STEP), bytes(STEP)),
    "another chunk": says(partial(STEP), DATA[STEP : 2 * STEP]),
    "too short": says(partial(100), DATA[:100]),
    "too long": says(partial(STEP + 1), DATA[: STEP + 1]),
    "without end": says(b"HTTP/1.1 206 Partial Content\r\n\r\n", bytes(4 * STEP), then_waits=True),
    "silence": says(b"", then_waits=True),
    "half": says(partial(STEP), DATA[: STEP // 2], then_waits=True),
    "hangs up": says(b""),
    "no HTTP": says(b"SSH-2.0-x\r\n"),
    "all of it": says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE, DATA),
    "elsewhere": says(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    ),
}


def test_a_peer_that_lies_or_stalls_is_dropped_and_named_and_the_blob_comes(
    world: World, folder: Path
) -> None:
    async def story() -> None:
        async with nodes(world, folder, FAST) as (node,):
            for lie, liar in LIARS.items():
                async with listening(liar) as port, asyncio.timeout(20.0):
                    assert await node.fetch(told(port, limit_ms=60)) == DATA, lie
                news = told_by(node)
                assert news[identity(f"peer {port}").did].is_bad, lie
                assert news[node.lab.lab].is_whole, lie
                assert not node.shared._arriving
                node.store.discard(BLOB.digest)

    world.await_(story())


def test_what_a_peer_gave_before_it_lied_is_kept_and_others_are_asked_for_the_rest(
    world: World, folder: Path
) -> None:
    async def turncoat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked = read_head(await reader.readuntil(b"\r\n\r\n"))
            data = DATA[asked.start : asked.stop] if asked.start < 2 * STEP else bytes(STEP)
            writer.write(partial(len(data)) + data)
            await writer.drain()

    async def story() -> None:
        async with nodes(world, folder, FAST, FAST) as (node, helper), listening(turncoat) as port:
            helper.store.put_bytes(DATA)
            assert await node.fetch(told(port, helper.port)) == DATA
            news = told_by(node)
            assert news[identity(f"peer {port}").did].bytes == 2 * STEP
            assert helper.door.sent == SIZE - 2 * STEP
            assert world.lab.mesh.meter.sent == 0
            node.store.discard(BLOB.digest)
            assert await node.fetch(told(port, helper.port)) == DATA
            assert identity(f"peer {port}").did not in told_by(node), "it is not asked again"

    world.await_(story())


def test_a_lab_that_lies_of_chunks_only_costs_its_own_line(world: World, folder: Path) -> None:
    async def story() -> None:
        async with nodes(world, folder, FAST, FAST) as (node, helper):
            helper.store.put_bytes(DATA)
            assert await node.fetch(told(helper.port, data=bytes(SIZE))) == DATA
            node.store.discard(BLOB.digest)
            short = told(helper.port).model_copy(update={"chunks": chunk_digests(DATA)[:-1]})
            assert await node.fetch(short) == DATA

    world.await_(story())


async def raw(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(20.0):
        answer = await reader.read(200)
    writer.close()
    return answer.partition(b"\r\n")[0]


def asking(digest: str, first: int, last: int) -> bytes:
    return (
        f"GET /blobs/{digest} HTTP/1.1\r\nHost: x\r\nRange: bytes={first}-{last}\r\n\r\n".encode()
    )


def test_the_door_serves_published_versions_and_nothing_else(world: World, folder: Path) -> None:
    async def story() -> None:
        async with nodes(world, folder, FAST) as (node,):
            node.store.put_bytes(DATA)
            secret = ref(b"somebody's answer, not published" * 100)
            node.store.put_bytes(b"somebody's answer, not published" * 100)
            for data, answer in (
                (asking(BLOB.digest, 0, 99), b"206 Partial Content"),
                (asking(BLOB.digest, SIZE - 1, SIZE - 1), b"206 Partial Content"),
                (asking(secret.digest, 0, 99), b"404 Not Found"),
                (asking(BLOB.digest, 0, SIZE), b"416 Range Not Satisfiable"),
                (asking(BLOB.digest, 0, STEP), b"416 Range Not Satisfiable"),
                (asking(BLOB.digest, 5, 4), b"400 Bad Request"),
                (asking("sha256:../../node.key", 0, 9), b"400 Bad Request"),
                (b"GET /blobs/" + BLOB.digest.encode() + b" HTTP/1.1\r\n\r\n", b"400 Bad Request"),
                (b"PUT" + asking(BLOB.digest, 0, 9)[3:], b"400 Bad Request"),
            ):
                assert await raw(node.port, data) == b"HTTP/1.1 " + answer
            assert await raw(node.port, b"x" * 2 * MAX_HEAD_BYTES) == b""
            node.shared.forget()
            assert await raw(node.port, asking(BLOB.digest, 0, 99)) == b"HTTP/1.1 404 Not Found"

    world.await_(story())


def test_who_opens_connections_without_end_uses_up_its_own_share(
    world: World, folder: Path
) -> None:
    async def story() -> None:
        async with nodes(world, folder, FAST) as (node,):
            held = [
                await asyncio.open_connection("127.0.0.1", node.port)
                for _ in range(MAX_PER_ADDRESS)
            ]
            await asyncio.sleep(0.05)
            assert (
                await raw(node.port, asking(BLOB.digest, 0, 9)) == b"HTTP/1.1 429 Too Many Requests"
            )
            for _, writer in held:
                writer.close()
            await asyncio.sleep(0.05)
            assert b"404" in await raw(node.port, asking(BLOB.digest, 0, 9))

    world.await_(story())


def test_all_who_fetch_from_a_node_together_get_its_rate(world: World, folder: Path) -> None:
    async def story() -> None:
        async with nodes(world, folder, 4 * SIZE, FAST, FAST) as (source, one, other):
            source.store.put_bytes(DATA)
            began = asyncio.get_running_loop().time()
            await asyncio.gather(one.fetch(told(source.port)), other.fetch(told(source.port)))
            assert asyncio.get_running_loop().time() - began > 0.4
            assert source.door.sent == 2 * SIZE

    world.await_(story())


@pytest.mark.parametrize(
    "head",
    [b"", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", asking(BLOB.digest, 0, 1)[:-1], b"\x00" * 40],
)
def test_a_head_that_is_none_is_refused(head: bytes) -> None:
    with pytest.raises(BadHead):
        read_head(head)


def test_chunks_are_few_and_cover_a_blob() -> None:
    for size in (1, STEP, STEP + 1, 2**26, 2**26 + 1, 2**36):
        blob = BlobRef(digest=BLOB.digest, size=size)
        step = chunk_bytes(blob.size)
        assert step >= 256 * 1024
        assert step & (step - 1) == 0
        assert (num_chunks(size) - 1) * step < size <= num_chunks(size) * step
        assert num_chunks(size) <= 256
    assert httpx.codes.PARTIAL_CONTENT == 206


def test_agents_that_serve_spare_the_lab_and_say_how_it_went(
    world: World, folder: Path, stub: type[StubWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.pause_s = 0.1  # else the first has done everything before the others come
    monkeypatch.setattr("archipel.lab.mesh.SMALL_BLOB_BYTES", 0)
    monkeypatch.setattr("archipel.lab.handouts.MAX_NEWS_BYTES", 0)
    world.started(groups_per_update=64, max_groups_per_lease=1)
    world.lab.mesh.pacer.rate = 1000  # so little that the third node is better served by another
    anchor = world.run().chain[0].anchor
    assert anchor is not None
    names = ("first", "second", "third")

    async def story() -> None:
        async with live(world) as url, contextlib.AsyncExitStack() as opened:
            agents, running = {}, []
            for name in names:
                place = ("127.0.0.1", 0) if name != "third" else None
                chosen = settings(folder, url, name, serve_blobs=place)
                store = BlobStore(chosen.home / "blobs", is_lasting=False)
                agents[name] = agent = Agent(chosen, identity(name), store)
                if agent.errands.door is not None:
                    await opened.enter_async_context(agent.errands.door.open())
                running.append(asyncio.create_task(agent.run()))
                await until(lambda store=store: store.exists(anchor.digest))  # type: ignore[misc]
            spread = world.lab.mesh.spreads[anchor.digest]
            third = identity("third").did
            await until(lambda: spread.places[third].is_whole)
            for agent in agents.values():
                agent.stop()
            await asyncio.gather(*running)
        doors = [agents[name].errands.door for name in names]
        assert doors[2] is None
        sent = sum(door.sent for door in doors if door is not None)
        assert sent == anchor.size + world.run().chain[0].manifest.size
        assert spread.places[third].parent in {identity(name).did for name in names[:2]}

    world.await_(story())
    world.check()
