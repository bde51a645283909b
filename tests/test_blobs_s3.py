"""Blobs in a bucket, against a real server: what is put comes back, what is sent resumes, what is unneeded goes."""

import asyncio
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from archipel.blobs import BlobIncomplete, BlobStore, DigestMismatch, StorageFull, s3_writing
from archipel.blobs.errors import BadDigest, BlobMissing, StorageFailed
from archipel.blobs.port import LabBlobs
from archipel.blobs.s3 import S3Blobs
from archipel.blobs.s3_bucket import Bucket, sent_of
from archipel.blobs.s3_place import place_of
from live import BadNetwork
from s3_server import S3Server, s3_server

pytestmark = pytest.mark.slow

DATA = bytes(range(256)) * 4000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
OTHER = bytes(len(DATA))
HOUR_S = 3600.0


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def url(server: S3Server) -> str:
    return server.fresh()


_OPEN = ExitStack()
"""Connections, closed after each test."""


@pytest.fixture
def store(server: S3Server, url: str, tmp_path: Path) -> Iterator[S3Blobs]:
    yield opened(server, url, tmp_path)
    _OPEN.close()


def opened(server: S3Server, url: str, folder: Path, quota: int = 10 * 2**20) -> S3Blobs:
    return S3Blobs(reached(url, server), BlobStore(folder / "arriving"), quota, quota // 4)


def reached(url: str, server: S3Server, silence_limit_s: float = 30.0) -> Bucket:
    bucket = Bucket(place_of(url), server.credentials, silence_limit_s=silence_limit_s)
    _OPEN.callback(bucket.close)
    return bucket


def swept(store: S3Blobs, *live: str, now_s: float, dry: bool = False) -> int:
    ages = {"now_s": now_s, "older_than_s": HOUR_S, "idle_s": HOUR_S}
    return store.sweep(live, **ages, dry=dry).num_whole


def test_what_is_put_comes_back_under_its_hash_also_after_a_restart(
    store: S3Blobs, server: S3Server, url: str, tmp_path: Path
) -> None:
    as_port: LabBlobs = store
    assert as_port.put_bytes(DATA) == DIGEST == as_port.put_bytes(DATA)
    for each in (store, opened(server, url, tmp_path)):
        assert each.exists(DIGEST)
        assert each.size(DIGEST) == len(DATA) == each.used().whole_bytes
        assert each.read_bytes(DIGEST, len(DATA)) == DATA
        assert b"".join(each.chunks(DIGEST, 300, 70_000)) == DATA[300:70_000]
        assert each.digests() == [DIGEST]
    with store.open(DIGEST) as file:
        file.seek(1000)
        assert (file.read(10), file.read(0), file.read(7)) == (
            DATA[1000:1010],
            b"",
            DATA[1010:1017],
        )
        file.seek(len(DATA) - 3)
        assert (file.read(), file.read(9)) == (DATA[-3:], b"")
    assert list(store.chunks(store.put_bytes(b""))) == []


def test_what_is_not_here_is_missing(store: S3Blobs) -> None:
    for ask in (store.size, store.open, lambda digest: store.read_bytes(digest, 9)):
        with pytest.raises(BlobMissing):
            ask(DIGEST)
    assert not store.exists(DIGEST)
    assert not store.keep(DIGEST)
    with pytest.raises(BadDigest):
        store.size("../secret")


@pytest.mark.parametrize("at_once", [2**28, 0])
def test_a_stream_that_was_cut_goes_on_and_only_whole_bytes_get_a_name(
    store: S3Blobs,
    server: S3Server,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    monkeypatch.setattr(s3_writing, "AT_ONCE_BYTES", at_once)
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA[:1000])
    with pytest.raises(BlobIncomplete), store.writer(DIGEST, len(DATA), 1000) as writer:
        writer.commit()
    assert not store.exists(DIGEST)
    again = opened(server, url, tmp_path)
    assert again.partial_offset(DIGEST) == 1000
    with again.writer(DIGEST, len(DATA), 1000) as writer:
        writer.write(DATA[1000:])
        assert not again.exists(DIGEST)
        writer.commit()
    assert again.read_bytes(DIGEST, len(DATA)) == DATA
    assert again.used().partial_bytes == 0 == again.partial_offset(DIGEST)
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(OTHER)
        with pytest.raises(DigestMismatch):
            writer.commit()


def test_a_quota_is_kept_and_its_reserve_is_for_the_privileged(store: S3Blobs) -> None:
    size = 8 * 2**20
    with pytest.raises(StorageFull):
        store.writer(DIGEST, size)
    with store.writer(DIGEST, size, privileged=True), pytest.raises(StorageFull):
        store.put_bytes(bytes(3 * 2**20), privileged=True)
    assert store.room(privileged=True) == 10 * 2**20, "what did not come takes no room"


def test_a_sweep_takes_what_is_old_and_unneeded_and_nothing_else(
    store: S3Blobs, server: S3Server, url: str
) -> None:
    live, idle, offered = (store.put_bytes(text) for text in (b"live", b"idle", b"offered"))
    foreign = reached(url, server)
    foreign.put("lab/readme", sent_of(b"of somebody else"))
    foreign.begin_parts("lab/00/" + "0" * 62)
    now_s = time.time()
    assert swept(store, live, now_s=now_s) == 0, "all is younger than the grace"
    later_s = now_s + 2 * HOUR_S
    store._clock_s = lambda: later_s
    assert store.keep(offered)
    assert swept(store, live, now_s=later_s, dry=True) == 1
    assert store.exists(idle)
    assert swept(store, live, now_s=later_s) == 1
    assert store.digests() == sorted((live, offered))
    assert foreign.uploads("lab/") == ()
    assert foreign.size("lab/readme") == 16
    store.discard(offered)
    assert not store.exists(offered)
    assert swept(store, live, now_s=later_s) == 1, "what was discarded goes with the next sweep"


def test_what_the_store_holds_is_believed_only_when_it_is_hashed(
    store: S3Blobs, server: S3Server, url: str
) -> None:
    store.put_bytes(DATA)
    raw = reached(url, server)
    raw.put(store._key(DIGEST), sent_of(OTHER))
    with pytest.raises(DigestMismatch, match="fetch it again"):
        store.read_bytes(DIGEST, len(DATA))
    assert not store.exists(DIGEST)
    store.put_bytes(DATA)
    raw.put(store._key(DIGEST), sent_of(DATA[:500]))
    with pytest.raises(BlobIncomplete):
        store.read_bytes(DIGEST, len(DATA))
    raw.delete(store._key(DIGEST))
    with pytest.raises(BlobMissing):
        store.read_bytes(DIGEST, len(DATA))


def test_a_read_that_is_cut_goes_on_where_it_stopped(
    store: S3Blobs, server: S3Server, url: str, tmp_path: Path
) -> None:
    store.put_bytes(DATA)

    async def read() -> tuple[bytes, BadNetwork]:
        # Whether or not connections are kept, one of these two is cut in the middle of the bytes.
        network = BadNetwork(server.endpoint, [len(DATA) // 2] * 2, upwards=False)
        async with network.open() as endpoint:
            there = url.replace(server.endpoint, endpoint)
            cut = await asyncio.to_thread(opened, server, there, tmp_path / "cut")
            data = await asyncio.to_thread(cut.read_bytes, DIGEST, len(DATA))
            cut.close()
            if relaying := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(relaying, timeout=10.0)
        return data, network

    data, network = asyncio.run(read())
    assert data == DATA
    assert not network._cuts
    assert network.bytes_down < len(DATA) * 1.2, "not from the beginning"


def test_a_store_that_is_down_or_refuses_is_named_and_nothing_is_lost(
    store: S3Blobs, server: S3Server, url: str, tmp_path: Path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        down = f"s3://bucket?endpoint=http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StorageFailed, match="silent for too long"):
            reached(down, server, 0.05).size("x")
    with pytest.raises(StorageFailed, match="NoSuchBucket"):
        opened(server, url.replace("s3://", "s3://un"), tmp_path)
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA)
        store._bucket, up = reached(down, server, 0.05), store._bucket
        with pytest.raises(StorageFailed, match="see to the store"):
            writer.commit()
    assert not store.exists(DIGEST)
    assert store.partial_offset(DIGEST) == len(DATA)
    store._bucket = up
    with store.writer(
        DIGEST, len(DATA), len(DATA)
    ) as writer:  # its sender comes again, with nothing left
        writer.commit()
    assert store.read_bytes(DIGEST, len(DATA)) == DATA


def test_two_who_send_the_same_and_a_sweep_between_leave_what_was_sent(store: S3Blobs) -> None:
    store.put_bytes(b"old")
    later_s = time.time() + 2 * HOUR_S
    over = threading.Event()

    def sweep() -> None:
        while not over.is_set():
            swept(store, now_s=later_s)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        store._clock_s = lambda: later_s
        for number in range(20):
            digest = store.put_bytes(b"%d" % number)
            assert store.read_bytes(digest, 9) == b"%d" % number
            store._index.touch(digest, 0.0)  # old at once: the sweep takes it while it is put again
            assert store.read_bytes(store.put_bytes(b"%d" % number), 9) == b"%d" % number
    finally:
        over.set()
        sweeper.join()
