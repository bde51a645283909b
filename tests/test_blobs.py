"""Properties of the blob store."""

import fcntl
import hashlib
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.blobs import (
    BlobBusy,
    BlobIncomplete,
    BlobStore,
    BlobTooLarge,
    DigestMismatch,
    StorageFull,
)
from archipel.blobs.errors import BadDigest, BlobMissing
from archipel.blobs.port import Blobs
from archipel.blobs.store import CHUNK_BYTES

DATA = bytes(range(256)) * 40
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


DIGEST = digest_of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", max_blob_bytes=100_000, quota_bytes=200_000)


def partials(store: BlobStore) -> list[Path]:
    return list(store._layout.partials.iterdir())


def test_what_is_put_comes_back_under_its_hash(store: BlobStore) -> None:
    as_port: Blobs = store
    assert as_port.put_bytes(DATA) == DIGEST == as_port.put_bytes(DATA)
    assert store.exists(DIGEST)
    assert store.size(DIGEST) == len(DATA) == store.used().total_bytes
    assert store.read_bytes(DIGEST, len(DATA)) == DATA
    assert store.digests() == [DIGEST]
    assert store.path(DIGEST).stat().st_mode & 0o777 == 0o444
    assert store.path(DIGEST).relative_to(store._layout.root).parts == (DIGEST[7:9], DIGEST[9:])
    assert partials(store) == []


def test_the_empty_blob_is_a_blob(store: BlobStore) -> None:
    with store.writer(EMPTY, 0) as writer:
        writer.commit()
    assert list(store.chunks(EMPTY)) == []
    assert store.read_bytes(EMPTY, 0) == b"" == b"".join(store.chunks(EMPTY, 0, 0))
    assert store.put_bytes(b"") == EMPTY


@given(st.lists(st.binary(max_size=50), max_size=12), st.integers(min_value=0, max_value=12))
def test_a_stream_cut_anywhere_and_resumed_is_the_same_blob(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], cut: int
) -> None:
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    data = b"".join(chunks)
    digest = digest_of(data)
    with store.writer(digest, len(data)) as writer:
        for chunk in chunks[:cut]:
            writer.write(chunk)
    assert not store.exists(digest)
    offset = BlobStore(store._layout.root).partial_offset(digest)  # as after a restart
    assert offset == len(b"".join(chunks[:cut]))
    with store.writer(digest, len(data), offset) as writer:
        assert writer.offset == offset
        for chunk in chunks[cut:]:
            writer.write(chunk)
        writer.commit()
    assert store.read_bytes(digest, len(data)) == data
    assert partials(store) == []


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, None), (0, 0), (1, 2), (100, 5000), (len(DATA), None), (5000, len(DATA))],
)
def test_a_range_is_a_slice(store: BlobStore, start: int, stop: int | None) -> None:
    store.put_bytes(DATA)
    assert b"".join(store.chunks(DIGEST, start, stop)) == DATA[start:stop]


@pytest.mark.parametrize(
    ("start", "stop"), [(-1, 2), (3, 2), (0, len(DATA) + 1), (len(DATA) + 1, None)]
)
def test_a_range_outside_the_blob_is_refused(
    store: BlobStore, start: int, stop: int | None
) -> None:
    store.put_bytes(DATA)
    with pytest.raises(ValueError, match="not inside"):
        store.chunks(DIGEST, start, stop)


def test_chunks_are_bounded(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    digest = store.put_bytes(bytes(2 * CHUNK_BYTES + 1))
    assert [len(chunk) for chunk in store.chunks(digest)] == [CHUNK_BYTES, CHUNK_BYTES, 1]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "sha256:",
        DIGEST[7:],
        DIGEST.upper(),
        DIGEST + "0",
        DIGEST[:-1],
        DIGEST + "\n",
        "sha512:" + DIGEST[7:],
        "sha256:../../../../etc/passwd",
        "sha256:" + "../" * 21 + "a",
        "sha256:" + "/" * 64,
    ],
)
def test_only_a_digest_names_a_blob(store: BlobStore, name: str) -> None:
    calls = [
        lambda: store.exists(name),
        lambda: store.size(name),
        lambda: store.open(name),
        lambda: store.path(name),
        lambda: store.chunks(name),
        lambda: store.read_bytes(name, 10),
        lambda: store.discard(name),
        lambda: store.partial_offset(name),
        lambda: store.discard(name),
        lambda: store.writer(name, 3),
    ]
    for call in calls:
        with pytest.raises(BadDigest):
            call()


def test_a_missing_blob_says_so(store: BlobStore) -> None:
    for call in (store.size, store.open, store.path, store.chunks):
        with pytest.raises(BlobMissing, match=DIGEST):
            call(DIGEST)
    with pytest.raises(BlobMissing):
        store.read_bytes(DIGEST, 10)
    assert not store.exists(DIGEST)
    assert store.partial_offset(DIGEST) == 0
    store.discard(DIGEST)


def test_other_bytes_than_named_are_refused_and_removed(store: BlobStore) -> None:
    for wrong in (DATA[:-1] + b"x", b"x" + DATA[1:]):
        with store.writer(DIGEST, len(DATA)) as writer:
            writer.write(wrong)
            with pytest.raises(DigestMismatch, match="dropped"):
                writer.commit()
        assert not store.exists(DIGEST)
        assert store.used().total_bytes == 0
        assert store.partial_offset(DIGEST) == 0


def test_a_partial_file_that_rotted_is_found_out_on_resume(store: BlobStore) -> None:
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA[:100])
    store._layout.partial(DIGEST).write_bytes(b"x" * 100)
    with store.writer(DIGEST, len(DATA), 100) as writer:
        writer.write(DATA[100:])
        with pytest.raises(DigestMismatch):
            writer.commit()
    assert store.partial_offset(DIGEST) == 0


def test_a_partial_file_longer_than_announced_is_found_out(store: BlobStore) -> None:
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA)
    with store.writer(DIGEST, 10, len(DATA)) as writer, pytest.raises(DigestMismatch):
        writer.commit()
    assert store.used().total_bytes == 0


def test_too_few_bytes_are_kept_for_later(store: BlobStore) -> None:
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA[:77])
        with pytest.raises(BlobIncomplete, match="77 of"):
            writer.commit()
    assert store.partial_offset(DIGEST) == 77
    store.discard(DIGEST)
    assert store.partial_offset(DIGEST) == store.used().total_bytes == 0


def test_more_bytes_than_announced_are_never_written(store: BlobStore) -> None:
    with store.writer(DIGEST, 100) as writer:
        writer.write(DATA[:100])
        with pytest.raises(BlobTooLarge, match="announced 100"):
            writer.write(DATA[100:])
    assert store.used().total_bytes == 0


@pytest.mark.parametrize("size", [-1, 100_001, 2**63])
def test_a_blob_over_the_cap_is_refused_before_its_first_byte(store: BlobStore, size: int) -> None:
    with pytest.raises(BlobTooLarge):
        store.writer(DIGEST, size)
    assert partials(store) == []


def test_a_put_over_the_cap_leaves_nothing(store: BlobStore) -> None:
    with pytest.raises(BlobTooLarge):
        store.put_bytes(bytes(100_001))
    assert store.used().total_bytes == 0


@pytest.mark.parametrize("offset", [1, 49, 51, len(DATA)])
def test_a_stream_that_starts_elsewhere_is_sent_to_the_right_place(
    store: BlobStore, offset: int
) -> None:
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA[:50])
    with pytest.raises(BlobBusy, match="ends at 50"):
        store.writer(DIGEST, len(DATA), offset)
    assert store.partial_offset(DIGEST) == 50


def test_starting_anew_forgets_the_interrupted_stream(store: BlobStore) -> None:
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(b"garbage")
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA)
        writer.commit()
    assert store.exists(DIGEST)


def test_the_quota_counts_what_is_announced_and_what_is_partial(store: BlobStore) -> None:
    first = store.writer(DIGEST, 100_000)
    first.write(DATA)
    second = store.writer(EMPTY, 100_000)
    with pytest.raises(StorageFull, match="quota of 200000"):
        store.put_bytes(b"one more")
    second.close()
    store.put_bytes(b"one more")
    first.close()
    while store.used().total_bytes <= 190_000:
        store.put_bytes(b"%d" % store.used().total_bytes * 1000)
    with pytest.raises(StorageFull):
        store.put_bytes(b"x" * 10_000)
    assert store.used().total_bytes <= 200_000
    store.discard(DIGEST)
    store.put_bytes(b"x" * 10_000)
    assert sum(path.name.count(".") for path in partials(store)) == 0


def test_deleting_makes_room(store: BlobStore) -> None:
    digests = [store.put_bytes(bytes([index]) * 100_000) for index in range(2)]
    with pytest.raises(StorageFull):
        store.put_bytes(b"x")
    store.discard(digests[0])
    store.put_bytes(b"x")


def test_writers_of_one_blob_do_not_disturb_each_other(store: BlobStore) -> None:
    first = store.writer(DIGEST, len(DATA))
    first.write(DATA[:100])
    with pytest.raises(BlobBusy):
        store.writer(DIGEST, len(DATA), 100)
    second = store.writer(DIGEST, len(DATA))
    second.write(DATA)
    second.commit()
    assert store.exists(DIGEST)
    first.write(DATA[100:])
    first.commit()
    assert store.read_bytes(DIGEST, len(DATA)) == DATA
    assert partials(store) == []


def test_a_writer_that_gives_up_beside_another_leaves_nothing(store: BlobStore) -> None:
    first = store.writer(DIGEST, len(DATA))
    with store.writer(DIGEST, len(DATA)) as second:
        second.write(DATA[:100])
    assert [path.name for path in partials(store)] == [DIGEST[7:]]
    first.close()


def test_a_file_that_got_its_name_while_we_waited_for_it_is_left_alone(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer commits between our opening the partial file and our locking it."""
    with store.writer(DIGEST, len(DATA)) as first:
        first.write(DATA)
    final = store._layout.final(DIGEST)
    final.parent.mkdir()
    lock = fcntl.flock

    def late_lock(file: object, flags: int) -> None:
        if not final.exists():
            store._layout.partial(DIGEST).rename(final)
        lock(file, flags)

    monkeypatch.setattr(fcntl, "flock", late_lock)
    with store.writer(DIGEST, len(DATA)) as second:
        assert second.offset == 0
        second.write(b"x" * 100)
    assert store.read_bytes(DIGEST, len(DATA)) == DATA
    assert store.partial_offset(DIGEST) == 100


def _race(root: Path, data: bytes, seed: int) -> None:
    store = BlobStore(root)
    step = 500 + seed * 37
    for _ in range(20):
        store.discard(digest_of(data))
        try:
            offset = store.partial_offset(digest_of(data)) if seed % 2 else 0
            with store.writer(digest_of(data), len(data), offset) as writer:
                for start in range(writer.offset, len(data), step):
                    writer.write(data[start : start + step])
                if seed != 3:
                    writer.commit()
        except (BlobBusy, BlobIncomplete):
            continue


def test_processes_and_threads_that_race_for_one_blob_never_damage_it(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("fork")
    racers = [processes.Process(target=_race, args=(tmp_path, DATA, seed)) for seed in range(4)]
    racers += [threading.Thread(target=_race, args=(tmp_path, DATA, seed)) for seed in range(4, 7)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers[:4]] == [0] * 4
    store = BlobStore(tmp_path)
    assert store.verify_all() == []
    store.put_bytes(DATA)
    assert store.read_bytes(DIGEST, len(DATA)) == DATA
    assert all(path.name == DIGEST[7:] for path in partials(store))


def test_a_blob_that_rots_on_the_disk_is_never_believed(store: BlobStore) -> None:
    good, bad = store.put_bytes(b"good"), store.put_bytes(DATA)
    path = store.path(bad)
    path.chmod(0o644)
    path.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(DigestMismatch, match="rotted"):
        store.read_bytes(bad, len(DATA))
    assert store.digests() == [good]
    store.put_bytes(DATA)
    store.path(bad).chmod(0o644)
    store.path(bad).write_bytes(b"")
    assert store.verify_all() == [bad]
    assert store.verify_all() == []
    assert store.digests() == [good]


def test_reading_whole_is_bounded(store: BlobStore) -> None:
    store.put_bytes(DATA)
    with pytest.raises(BlobTooLarge, match="the limit is 10"):
        store.read_bytes(DIGEST, 10)


def test_a_stranger_in_the_folder_is_not_a_blob(store: BlobStore) -> None:
    store.put_bytes(DATA)
    (store._layout.root / "notes").mkdir()
    (store._layout.root / "notes" / "a.txt").write_text("mine")
    assert store.digests() == [DIGEST]
    assert store.verify_all() == []


def test_private_files_of_the_dead_are_removed_and_of_the_living_kept(store: BlobStore) -> None:
    first = store.writer(DIGEST, len(DATA))
    second = store.writer(DIGEST, len(DATA))
    dead = store._layout.partials / f"{DIGEST[7:]}.0123456789abcdef"
    dead.write_bytes(b"left behind")
    BlobStore(store._layout.root)
    assert not dead.exists()
    second.write(DATA)
    second.commit()
    first.close()
    assert store.exists(DIGEST)


WRITE_UNTIL_KILLED = """
import sys, os, signal
from pathlib import Path
from archipel.blobs import BlobStore
writer = BlobStore(Path(sys.argv[1])).writer(sys.argv[2], 10_240)
writer.write(bytes(range(256)) * 10)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_stream_cut_by_a_killed_process_can_be_resumed(store: BlobStore) -> None:
    root = os.fspath(store._layout.root)
    subprocess.run([sys.executable, "-c", WRITE_UNTIL_KILLED, root, DIGEST])
    offset = store.partial_offset(DIGEST)
    assert offset == 2560
    with store.writer(DIGEST, len(DATA), offset) as writer:
        writer.write(DATA[offset:])
        writer.commit()
    assert store.exists(DIGEST)


FULL_DISK = """
import sys, hashlib
from pathlib import Path
from archipel.blobs import BlobStore, StorageFull
root = Path(sys.argv[1])
ballast = root / "ballast"
store = BlobStore(root)
data = bytes(range(256)) * 3000
digest = "sha256:" + hashlib.sha256(data).hexdigest()
ballast.write_bytes(bytes(500_000))
for begin in (store.put_bytes, lambda data: store.writer(digest, len(data))):
    try:
        begin(data)
        raise SystemExit("room was promised that is not there")
    except StorageFull as error:
        assert "768000 bytes do not fit" in str(error), error
    assert list((root / "partial").iterdir()) == []
ballast.unlink()
try:
    with store.writer(digest, len(data)) as writer:
        ballast.write_bytes(bytes(500_000))
        for start in range(0, len(data), 10_000):
            writer.write(data[start : start + 10_000])
        writer.commit()
    raise SystemExit("the disk was not full")
except StorageFull as error:
    assert "disk is full" in str(error), error
assert store.used().partial_bytes == (root / "partial" / digest[7:]).stat().st_size
offset = store.partial_offset(digest)
assert 0 < offset < len(data), offset
assert not store.exists(digest)
assert len(list((root / "partial").iterdir())) == 1
ballast.unlink()
with store.writer(digest, len(data), offset) as writer:
    writer.write(data[offset:])
    writer.commit()
assert store.read_bytes(digest, len(data)) == data
print("recovered")
"""


def test_a_really_full_file_system_is_reported_and_survived(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}"
    flags = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    if subprocess.run(["unshare", *flags, "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system")
    script = f'{mount} && exec "$0" -c "$1" {tmp_path}'
    done = subprocess.run(
        ["unshare", *flags, "sh", "-c", script, sys.executable, FULL_DISK],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "recovered\n", done.stderr
