"""What a mirror is asked for, how often, and what of its answers is taken."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from archipel.blobs import BlobStore
from archipel.blobs.errors import StorageFull
from archipel.node.mirrors import MAX_REST_S, PACE_S, Mirrors
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef

DATA = bytes(range(250)) * 4
Answer = Callable[[str], Awaitable[bytes]]
"""What is asked, in small letters -> what comes back."""


def ref(data: bytes = DATA) -> BlobRef:
    return BlobRef(digest=sha256_digest(data), size=len(data))


def says(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


NOT_HERE = says(b"", "404 Not Found")


@asynccontextmanager
async def mirror(answer: Answer | bytes, asked: list[str] | None = None) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if asked is not None:
            asked.append(words)
        writer.write(answer if isinstance(answer, bytes) else await answer(words))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def begun(folder: Path, num_bytes: int, quota_bytes: int = 2**30) -> BlobStore:
    """Here are so many bytes of DATA, of a transfer that was cut short."""
    store = BlobStore(folder, quota_bytes=quota_bytes)
    if num_bytes:
        with store.writer(ref().digest, len(DATA)) as writer:
            writer.write(DATA[:num_bytes])
    assert store.partial_offset(ref().digest) == num_bytes
    return store


@pytest.mark.parametrize(
    ("answer", "num_bytes"),
    [(says(DATA[100:], "206 Partial Content"), len(DATA) - 100), (says(DATA), len(DATA))],
    ids=["from there", "all of it"],
)
def test_only_what_is_missing_is_asked_for_whatever_comes(
    tmp_path: Path, answer: bytes, num_bytes: int
) -> None:
    store, asked = begun(tmp_path, 100), list[str]()

    async def story() -> None:
        async with mirror(answer, asked) as url:
            mirrors = Mirrors((url,), store)
            await mirrors.fetch(ref())
            assert (mirrors.bytes_down, mirrors.resting) == (num_bytes, ())
            await mirrors.close()

    asyncio.run(story())
    assert store.read_bytes(ref().digest, 5000) == DATA
    assert "range: bytes=100-\r\n" in asked[0]


def test_as_many_bytes_as_a_blob_has_that_are_not_it_make_room_for_it(tmp_path: Path) -> None:
    store, asked = begun(tmp_path, len(DATA), quota_bytes=len(DATA) + 100), list[str]()

    async def story() -> None:
        async with mirror(says(DATA), asked) as url:
            mirrors = Mirrors((url,), store)
            await mirrors.fetch(ref())
            await mirrors.close()

    asyncio.run(story())
    assert store.read_bytes(ref().digest, 5000) == DATA
    assert "range:" not in asked[0]


def test_nobody_is_asked_for_what_finds_no_room_nor_for_what_is_here(tmp_path: Path) -> None:
    asked, later = list[str](), list[str]()

    async def story() -> None:
        async with mirror(says(DATA), asked) as one, mirror(says(DATA), later) as other:
            small = Mirrors((one,), BlobStore(tmp_path / "small", quota_bytes=len(DATA) - 1))
            with pytest.raises(StorageFull):
                await small.fetch(ref())
            assert not asked
            mirrors = Mirrors((one, other), BlobStore(tmp_path / "large"))
            await mirrors.fetch(ref())
            for each in (small, mirrors):
                await each.close()

    asyncio.run(story())
    assert (len(asked), later) == (1, [])


def test_a_mirror_that_lied_meanwhile_is_not_asked_by_a_fetch_that_had_it_in_view(
    tmp_path: Path,
) -> None:
    asked, other = list[str](), ref(b"other")

    async def story() -> None:
        began, lied = asyncio.Event(), asyncio.Event()

        async def slow(words: str) -> bytes:
            if ref().digest[9:] in words:
                began.set()
                await lied.wait()
            return NOT_HERE

        async with mirror(slow) as first, mirror(says(b"wrong"), asked) as liar:
            mirrors = Mirrors((first, liar), BlobStore(tmp_path))
            waiting = asyncio.create_task(mirrors.fetch(ref()))
            await asyncio.wait_for(began.wait(), 30)
            await mirrors.fetch(other)
            lied.set()
            await asyncio.wait_for(waiting, 30)
            await mirrors.close()

    asyncio.run(story())
    assert len(asked) == 1


def test_a_mirror_that_ends_early_and_politely_rests_too(tmp_path: Path) -> None:
    async def story() -> None:
        async with mirror(says(DATA[:-1])) as url:
            mirrors = Mirrors((url,), BlobStore(tmp_path))
            await mirrors.fetch(ref())
            assert mirrors.resting == (url,)
            await mirrors.close()

    asyncio.run(story())


def test_a_mirror_that_gives_more_than_a_blob_has_is_asked_no_more(tmp_path: Path) -> None:
    asked: list[str] = []

    async def story() -> None:
        async with mirror(says(DATA + b"x"), asked) as url:
            mirrors = Mirrors((url,), BlobStore(tmp_path))
            for _ in range(2):
                await mirrors.fetch(ref())
            assert mirrors.resting == ()
            await mirrors.close()

    asyncio.run(story())
    assert len(asked) == 1


def test_a_mirror_that_is_slow_at_first_is_waited_for(tmp_path: Path) -> None:
    store, now = BlobStore(tmp_path), [0.0]

    def clock_s() -> float:
        now[0] += PACE_S / 8
        return now[0]

    async def story() -> None:
        async with mirror(says(DATA)) as url:
            mirrors = Mirrors((url,), store, clock_s)
            await mirrors.fetch(ref())
            await mirrors.close()

    asyncio.run(story())
    assert store.exists(ref().digest)


def test_no_mirror_rests_longer_than_a_day_and_one_that_came_back_begins_anew(
    tmp_path: Path,
) -> None:
    store, now, answers = BlobStore(tmp_path), [0.0], [says(b"")]

    async def said(_: str) -> bytes:
        return answers[0]

    async def story() -> None:
        async with mirror(said) as url:
            mirrors = Mirrors((url,), store, lambda: now[0])
            for _ in range(12):
                await mirrors.fetch(ref())
                now[0] += MAX_REST_S
                assert mirrors.resting == ()
            answers[0] = says(DATA)
            await mirrors.fetch(ref())
            assert store.discard(ref().digest)
            answers[0] = says(b"")
            await mirrors.fetch(ref())
            now[0] += 60.0
            assert mirrors.resting == (), "as at the first time"
            await mirrors.close()

    asyncio.run(story())
