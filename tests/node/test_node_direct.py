"""Following a lab to its store: bytes go there once, nothing of the lab's goes along, and what fails comes from the lab."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from archipel.blobs import BlobStore
from archipel.blobs.landing import Landing, LandingPart
from archipel.node.client import LabClient
from archipel.node.direct import NotFollowed, target_of
from archipel.node.exchange import LabRefused
from archipel.node.uploads import send_bytes
from archipel.records.documents import UploadState
from archipel.records.landing import Landing as LandingDocument
from live import live
from people import identity, ref
from world import World

DATA = bytes(range(251)) * 6000
BLOB = ref(DATA)
LAB = "http://127.0.0.1:8440"


class Away:
    """A store at a socket of its own, and what a lab does with it."""

    def __init__(self, blobs: BlobStore) -> None:
        self.url, self.blobs = "", blobs
        self.held: dict[str, bytes] = {}
        self.asked: list[Request] = []
        self.is_broken = self.moves_on = False
        self.step = 1_000_000

    def address(self, digest: str, life_s: int) -> str:
        return f"{self.url}/{digest[7:]}"

    def open(self, digest: str, size: int, life_s: float, *, privileged: bool = False) -> Landing:
        starts = range(0, size, self.step)
        parts = tuple(
            LandingPart(f"{self.url}/{digest[7:]}.{start}", start, min(start + self.step, size))
            for start in starts
        )
        return Landing("0" * 32, parts, False, 2e9)

    def land(self, name: str, tags: tuple[str, ...]) -> None:
        assert [len(tag.strip('"')) for tag in tags] == [32, 32]
        self.blobs.put_bytes(b"".join(self.held[each] for each in sorted(self.held)))

    def abandon(self, name: str) -> None:
        self.held.clear()

    async def answer(self, request: Request) -> Response:
        self.asked.append(request)
        key = request.path_params["key"]
        if self.moves_on:
            return RedirectResponse(f"{self.url}/elsewhere")
        if self.is_broken:
            return Response(b"no" * 1000, 200 if request.method == "GET" else 503)
        if request.method == "PUT":
            body = await request.body()
            assert int(request.headers["content-length"]) == len(body)
            self.held[key] = body
            return Response(headers={"etag": f'"{hashlib.md5(body).hexdigest()}"'})
        start = int(request.headers.get("range", "bytes=0-")[6:-1])
        return Response(DATA[start:], 206 if start else 200)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        app = Starlette(routes=[Route("/{key}", self.answer, methods=["GET", "PUT"])])
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            serving = asyncio.create_task(server._serve([listener]))
            while not server.started:  # noqa: ASYNC110  uvicorn offers no event for it
                await asyncio.sleep(0.005)
            try:
                yield
            finally:
                server.should_exit = True
                await serving


@pytest.fixture
def away(world: World) -> Away:
    made = Away(world.blobs)
    world.blobs.direct = made  # type: ignore[misc,assignment]
    return made


async def passed(client: LabClient, way: str) -> int:
    """Bytes that passed by the lab, as it tells."""
    text = (await client.http.get("/metrics")).text
    line = next(x for x in text.splitlines() if f'direct_bytes_total{{way="{way}"' in x)
    return int(float(line.split()[1]))


def test_a_download_follows_the_lab_and_goes_on_where_it_stopped(
    world: World, away: Away, folder: Path
) -> None:
    world.blobs.put_bytes(DATA)
    store = BlobStore(folder / "node")
    with store.writer(BLOB.digest, BLOB.size) as writer:
        writer.write(DATA[:1000])

    async def story() -> None:
        async with live(world) as url, away.served(), LabClient(url, identity("node")) as client:
            path = await client.fetch(BLOB, store)
            assert path.read_bytes() == DATA
            assert await passed(client, "out") == len(DATA) - 1000
            plain = await client.http.get(f"/blobs/{BLOB.digest}")
            assert (plain.status_code, plain.content) == (200, DATA), "who does not follow"
            small = world.blobs.put_bytes(b"small")
            told = await client.http.get(f"/blobs/{small}", headers=client.direct.asks)
            assert told.content == b"small"

    asyncio.run(story())
    (asked,) = away.asked
    assert asked.headers["range"] == "bytes=1000-"
    assert not [name for name in asked.headers if name.startswith("archipel")]


@pytest.mark.parametrize("trouble", ["is_broken", "moves_on", "url"])
def test_a_store_that_fails_is_left_alone_and_the_lab_asked(
    world: World, away: Away, folder: Path, trouble: str
) -> None:
    world.blobs.put_bytes(DATA)
    store = BlobStore(folder / "node")

    async def story() -> None:
        async with live(world) as url, away.served(), LabClient(url, identity("node")) as client:
            setattr(away, trouble, "http://store.invalid" if trouble == "url" else True)
            assert (await client.fetch(BLOB, store)).read_bytes() == DATA
            assert not client.direct.is_on
            assert client.direct.asks == {}
            store.discard(BLOB.digest)
            await client.fetch(BLOB, store)

    asyncio.run(story())
    assert len(away.asked) == (0 if trouble == "url" else 1), "once, and never where it sends us"


@pytest.mark.parametrize("trouble", ["", "is_broken", "url"])
def test_an_upload_lands_in_the_store_or_comes_to_the_lab(
    world: World, away: Away, trouble: str
) -> None:
    async def story() -> None:
        async with (
            live(world) as url,
            away.served(),
            LabClient(url, identity("operator")) as client,
        ):
            await client.greet()
            if trouble:
                setattr(away, trouble, "ftp://store" if trouble == "url" else True)
            await send_bytes(client, DATA, BLOB)
            assert world.blobs.read_bytes(BLOB.digest, BLOB.size) == DATA
            assert await passed(client, "in") == (0 if trouble else len(DATA))
            assert client.direct.is_on == (not trouble)
            assert client.bytes_up == len(DATA)

    asyncio.run(story())
    assert [len(away.held[key]) for key in sorted(away.held)] == (
        [] if trouble else [10**6, 506_000]
    )


def test_whoever_may_not_upload_gets_no_landing_and_no_other_senders(
    world: World, away: Away
) -> None:
    async def story() -> None:
        async with live(world) as url, LabClient(url, identity("operator")) as client:
            await client.greet()
            async with LabClient(url, identity("nobody")) as other:
                await other.greet()
                path = f"/blobs/{BLOB.digest}/landing"
                with pytest.raises(LabRefused, match="not-"):
                    await other.read(LandingDocument, path, "POST", headers=other.offer(BLOB, None))
                offer = client.offer(BLOB, None)
                made = await client.read(LandingDocument, path, "POST", headers=offer)
                landed = f"{path}/{made.name}"
                for who, said, to, problem in (
                    (other, b"{}", landed, "not-"),
                    (client, b'{"tags":[""]}', landed, "malformed-record"),
                    (client, b"{}", f"{path}/{'1' * 32}", "no-landing"),
                ):
                    headers = who.offer(BLOB, None)
                    with pytest.raises(LabRefused, match=problem):
                        await who.read(UploadState, to, "POST", headers=headers, content=said)
            world.blobs.direct = None  # type: ignore[misc]
            with pytest.raises(LabRefused, match="no-landing"):
                await client.read(LandingDocument, path, "POST", headers=client.offer(BLOB, None))

    asyncio.run(story())


@pytest.mark.parametrize(
    ("url", "lab"),
    [
        ("https://store.example.org/b/k?X-Amz-Signature=1", "https://lab.example.org"),
        ("http://127.0.0.1:9000/b/k", LAB),
        ("http://[::1]:9000/b/k", "http://localhost:1"),
    ],
)
def test_an_address_is_followed_by_tls_or_on_our_own_machine(url: str, lab: str) -> None:
    assert target_of(url, lab) == url


@pytest.mark.parametrize(
    ("url", "lab"),
    [
        ("http://store.example.org/b", LAB),
        ("http://192.168.0.1/b", "http://192.168.0.2"),
        ("http://127.0.0.1:9000/b", "https://lab.example.org"),
        ("http://127.0.0.1.example.org/b", LAB),
        ("https://key:word@store.example.org/b", LAB),
        ("file:///etc/passwd", LAB),
        ("https:///b", LAB),
        ("https://store:0/b", LAB),
        ("https://store:99999/b", LAB),
        ("https://[::1/b", LAB),
        ("https://store/\r\nb", LAB),
        ("https://store/" + "b" * 9000, LAB),
        ("", LAB),
    ],
)
def test_no_other_is(url: str, lab: str) -> None:
    with pytest.raises(NotFollowed):
        target_of(url, lab)
