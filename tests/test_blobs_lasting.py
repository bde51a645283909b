"""Properties of a blob store over a long life: what is swept, what is counted, who always has room."""

import errno
import os
import resource
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from archipel.blobs import BlobStore, StorageFull
from archipel.blobs import account as account_module
from archipel.blobs.errors import BlobMissing, StorageFailed, TooManyOpenFiles
from archipel.blobs.writer import BlobWriter
from archipel.records.canonical import sha256_digest

DATA = bytes(range(256)) * 40
DIGEST = sha256_digest(DATA)
HOUR = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", quota_bytes=200_000, reserve_bytes=50_000)


def on_disk(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def aged(store: BlobStore) -> None:
    """Every file is two hours old."""
    then = time.time() - 2 * HOUR
    for path in on_disk(store._layout.root):
        os.utime(path, (then, then))


def sweep(store: BlobStore, *live: str):
    return store.sweep(live, now_s=time.time(), older_than_s=HOUR, idle_s=HOUR)


def half(store: BlobStore, data: bytes = DATA) -> BlobWriter:
    writer = store.writer(sha256_digest(data), len(data))
    writer.write(data[: len(data) // 2])
    return writer


def test_a_sweep_takes_what_is_old_and_not_live_and_nothing_else(store: BlobStore) -> None:
    old, live = store.put_bytes(b"old"), store.put_bytes(b"live")
    half(store).close()
    aged(store)
    young = store.put_bytes(b"young")
    half(store, b"still coming").close()
    before = on_disk(store._layout.root), store.used()
    would_go = store.sweep([live], now_s=time.time(), older_than_s=HOUR, idle_s=HOUR, dry=True)
    assert (on_disk(store._layout.root), store.used()) == before
    report = sweep(store, live)
    assert would_go == report
    assert (report.num_whole, report.num_partial) == (1, 1)
    assert report.num_bytes == len(b"old") + len(DATA) // 2
    assert store.digests() == sorted([live, young])
    assert not store.exists(old)
    assert store.partial_offset(DIGEST) == 0
    assert store.partial_offset(sha256_digest(b"still coming")) == 6


@pytest.mark.parametrize("offer", [lambda s: s.put_bytes(DATA), lambda s: s.keep(DIGEST)])
def test_a_blob_that_is_offered_again_is_young_again(store: BlobStore, offer) -> None:
    store.put_bytes(DATA)
    aged(store)
    assert offer(store)
    assert sweep(store).num_whole == 0
    assert store.exists(DIGEST)


def test_a_blob_sent_again_while_the_sweep_looks_at_it_stays(store: BlobStore) -> None:
    store.put_bytes(DATA)
    aged(store)

    def asked_while_it_is_offered(digest: str) -> bool:
        assert store.keep(digest)
        return False

    store.sweep(asked_while_it_is_offered, now_s=time.time(), older_than_s=HOUR, idle_s=HOUR)
    assert store.exists(DIGEST)


def test_what_a_writer_holds_is_neither_swept_nor_discarded(store: BlobStore) -> None:
    shared, private = half(store), half(store)
    aged(store)
    assert sweep(store).num_partial == 0
    dry = store.sweep((), now_s=time.time(), older_than_s=HOUR, idle_s=HOUR, dry=True)
    assert dry.num_partial == 0
    assert store.discard(DIGEST) == 0
    private.write(DATA[len(DATA) // 2 :])
    private.commit()
    shared.close()
    assert store.read_bytes(DIGEST, len(DATA)) == DATA


def test_a_reader_reads_to_the_end_what_is_swept_under_its_hands(store: BlobStore) -> None:
    store.put_bytes(DATA)
    chunks = store.chunks(DIGEST)
    aged(store)
    assert sweep(store).num_whole == 1
    assert b"".join(chunks) == DATA
    with pytest.raises(BlobMissing):
        store.chunks(DIGEST)


def test_a_clock_that_jumps_back_removes_nothing(store: BlobStore) -> None:
    store.put_bytes(DATA)
    report = store.sweep((), now_s=time.time() - HOUR, older_than_s=0, idle_s=0)
    assert report.num_whole == 0
    assert store.exists(DIGEST)


def test_discarding_forgets_both_forms_and_says_how_many_bytes_that_freed(store: BlobStore) -> None:
    store.put_bytes(DATA)
    assert store.discard(DIGEST) == len(DATA)
    half(store).close()
    assert store.discard(DIGEST) == len(DATA) // 2
    assert store.discard(DIGEST) == 0
    assert on_disk(store._layout.root) == []


def test_starting_anew_gives_back_what_the_interrupted_stream_held(store: BlobStore) -> None:
    half(store).close()
    with store.writer(DIGEST, len(DATA)):
        assert store.used().total_bytes == 0
    assert store.room(privileged=True) == 200_000
    assert on_disk(store._layout.root) == []


class Killed(BaseException):
    """Stands for SIGKILL between two file operations."""


@pytest.mark.parametrize("survived", range(4))
def test_a_sweep_killed_between_any_two_removals_leaves_a_store(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    live = store.put_bytes(b"live")
    for number in range(3):
        store.put_bytes(b"%d" % number)
    half(store).close()
    aged(store)
    unlink, left = Path.unlink, iter(range(survived))

    def killing(path: Path, missing_ok: bool = False) -> None:
        if next(left, None) is None:
            raise Killed
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killing)
        with pytest.raises(Killed):
            sweep(store, live)
    again = BlobStore(store._layout.root)
    assert again.verify_all() == []
    assert again.exists(live)
    report = sweep(again, live)
    assert report.num_whole + report.num_partial == 4 - survived
    assert again.digests() == [live]


def test_sweeps_beside_writers_and_readers_lose_nothing_that_is_live(tmp_path: Path) -> None:
    """Threads put, read and sweep at once: a blob just put is young, so it can always be read."""
    store, faults, done = BlobStore(tmp_path), [], threading.Event()
    old = [store.put_bytes(b"old %d" % number) for number in range(200)]
    aged(store)

    def put(seed: int) -> None:
        for number in range(30):
            data = b"%d" % ((number * seed) % 7) * 500
            if store.read_bytes(store.put_bytes(data), 500) != data:
                faults.append(data)

    def sweep_on() -> None:
        while not done.is_set():
            sweep(store)

    sweeper = threading.Thread(target=sweep_on)
    writers = [threading.Thread(target=put, args=(seed,)) for seed in (1, 2, 3)]
    for thread in (sweeper, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    sweeper.join()
    assert faults == []
    assert not set(old) & set(store.digests())
    assert store.used().total_bytes == sum(path.stat().st_size for path in on_disk(tmp_path))


def test_strangers_leave_the_reserve_to_the_privileged(store: BlobStore) -> None:
    assert store.room() == 150_000
    assert store.room(privileged=True) == 200_000
    store.put_bytes(bytes(150_000))
    with pytest.raises(StorageFull, match="0 are left"):
        store.put_bytes(b"a stranger's")
    with pytest.raises(StorageFull):
        store.writer(DIGEST, len(DATA))
    store.put_bytes(b"w" * (50_000 - len(DATA)), privileged=True)
    with store.writer(DIGEST, len(DATA), privileged=True) as writer:
        with pytest.raises(StorageFull):
            store.put_bytes(b"no more", privileged=True)
        writer.write(DATA)
        writer.commit()
    assert store.used().total_bytes == 200_000


def test_a_reserve_larger_than_the_quota_is_a_mistake_that_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reserve of 11"):
        BlobStore(tmp_path, quota_bytes=10, reserve_bytes=11)


def test_a_refused_upload_leaves_no_file_and_no_folder_walk(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_bytes(bytes(150_000))
    files = on_disk(store._layout.root)

    def walked(*arguments: object) -> None:
        raise AssertionError("an upload walked the folder")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", walked)
        patch.setattr(Path, "iterdir", walked)
        with pytest.raises(StorageFull):
            store.writer(DIGEST, len(DATA))
        store.writer(DIGEST, len(DATA), privileged=True).close()
        assert store.used().whole_bytes == 150_000
    assert on_disk(store._layout.root) == files


def test_a_sweep_finds_out_what_others_removed(store: BlobStore) -> None:
    store.put_bytes(bytes(100_000))
    store.put_bytes(DATA)
    store.path(DIGEST).unlink()
    assert store.used().total_bytes == 100_000 + len(DATA)
    sweep(store)
    assert store.used().total_bytes == 100_000


def test_some_of_the_disk_is_left_to_others(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 1_000_000

    class Disk:
        f_blocks, f_frsize, f_bavail = size, 1, 120_000

    monkeypatch.setattr(account_module.os, "statvfs", lambda path: Disk)
    assert store.room(privileged=True) == 120_000 - size // account_module.FREE_DISK_SHARE
    with store.writer(DIGEST, len(DATA)):
        assert store.room() == 100_000 - len(DATA)
    with pytest.raises(StorageFull, match=r"150000 bytes are to come and 100000 fit"):
        store.require_room(150_000)
    Disk.f_blocks = 0
    assert store.room() == 150_000


def test_a_folder_that_vanished_is_not_mistaken_for_missing_blobs(store: BlobStore) -> None:
    store.put_bytes(DATA)
    shutil.rmtree(store._layout.root)
    calls = [
        lambda: store.exists(DIGEST),
        lambda: store.keep(DIGEST),
        lambda: store.size(DIGEST),
        lambda: store.open(DIGEST),
        lambda: store.read_bytes(DIGEST, 10**6),
        lambda: store.partial_offset(DIGEST),
        lambda: store.put_bytes(DATA),
        lambda: store.writer(DIGEST, 3),
        lambda: store.room(),
        lambda: sweep(store),
        lambda: store.digests(),
    ]
    for call in calls:
        with pytest.raises(StorageFailed, match="folder is gone"):
            call()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EROFS, StorageFailed),
        (errno.EACCES, StorageFailed),
        (errno.EIO, StorageFailed),
    ],
)
def test_what_the_disk_says_has_a_name_of_ours(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def failing(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            with pytest.raises(kind, match=f"{len(DATA)} of {len(DATA)} bytes"):
                writer.commit()
    assert store.partial_offset(DIGEST) == len(DATA) == store.used().partial_bytes
    assert store.room(privileged=True) == 200_000 - len(DATA)


def test_too_many_open_files_is_a_refusal_that_passes(store: BlobStore) -> None:
    store.put_bytes(DATA)
    held, (soft, hard) = [], resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        with suppress(OSError):
            for _ in range(256):
                held.append(os.open("/dev/null", os.O_RDONLY))
        for call in (
            lambda: store.open(DIGEST),
            lambda: store.writer(sha256_digest(b"x"), 1),
            lambda: store.put_bytes(b"x"),
            lambda: sweep(store),
        ):
            with pytest.raises(TooManyOpenFiles, match="open files"):
                call()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert store.read_bytes(store.put_bytes(b"x"), 1) == b"x"


PIECES = [bytes([65 + index]) * (1 + 70 * index) for index in range(6)]
QUOTA, RESERVE = 600, 150
pieces = st.sampled_from(PIECES)
digests = st.sampled_from([sha256_digest(piece) for piece in PIECES])


class StoreLife(RuleBasedStateMachine):
    """Any interleaving of uploads, resumptions, removals, sweeps and restarts."""

    @initialize()
    def opened(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.writers: list[tuple[BlobWriter, bytes, bool]] = []
        self.whole: set[str] = set()
        self.young: set[str] = set()
        self.restarted()

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.everything_dead()
            shutil.rmtree(self.root)

    @rule()
    def restarted(self) -> None:
        for writer, _, _ in self.writers:
            writer.close()
        self.writers.clear()
        self.store = BlobStore(self.root, quota_bytes=QUOTA, reserve_bytes=RESERVE)

    @rule(data=pieces, privileged=st.booleans())
    def put(self, data: bytes, privileged: bool) -> None:
        room = self.store.room(privileged=privileged)
        try:
            digest = self.store.put_bytes(data, privileged=privileged)
        except StorageFull:
            assert room < len(data)
            return
        self.arrived(digest)

    @rule(data=pieces, privileged=st.booleans(), is_resumed=st.booleans())
    def begin(self, data: bytes, privileged: bool, is_resumed: bool) -> None:
        digest = sha256_digest(data)
        if any(each == data for _, each, _ in self.writers):
            is_resumed = False
        offset = self.store.partial_offset(digest) if is_resumed else 0
        try:
            writer = self.store.writer(digest, len(data), offset, privileged=privileged)
        except StorageFull:
            return
        assert writer.offset == offset
        self.writers.append((writer, data, privileged))

    @precondition(lambda self: self.writers)
    @rule(which=st.integers(0, 9), num_bytes=st.integers(0, 400))
    def write(self, which: int, num_bytes: int) -> None:
        writer, data, _ = self.writers[which % len(self.writers)]
        writer.write(data[writer.offset : writer.offset + num_bytes])

    @precondition(lambda self: self.writers)
    @rule(which=st.integers(0, 9))
    def commit(self, which: int) -> None:
        writer, data, _ = self.writers.pop(which % len(self.writers))
        writer.write(data[writer.offset :])
        writer.commit()
        self.arrived(sha256_digest(data))

    @precondition(lambda self: self.writers)
    @rule(which=st.integers(0, 9))
    def stop(self, which: int) -> None:
        self.writers.pop(which % len(self.writers))[0].close()

    @rule(data=pieces)
    def discard(self, data: bytes) -> None:
        self.store.discard(sha256_digest(data))
        self.whole.discard(sha256_digest(data))

    @rule(data=pieces)
    def keep(self, data: bytes) -> None:
        digest = sha256_digest(data)
        assert self.store.keep(digest) == (digest in self.whole)
        if digest in self.whole:
            self.young.add(digest)

    @rule()
    def grow_old(self) -> None:
        self.young.clear()
        aged(self.store)

    @rule(live=st.sets(digests))
    def swept(self, live: set[str]) -> None:
        sweep(self.store, *live)
        self.whole &= live | self.young

    def arrived(self, digest: str) -> None:
        self.whole.add(digest)
        self.young.add(digest)

    def everything_dead(self) -> None:
        for writer, _, _ in self.writers:
            writer.close()
        self.store.sweep((), now_s=time.time() + 1, older_than_s=0, idle_s=0)
        assert on_disk(self.root) == []
        assert self.store.used().total_bytes == 0
        assert self.store.room(privileged=True) == QUOTA

    @invariant()
    def nothing_live_is_lost_and_every_byte_is_counted(self) -> None:
        if not hasattr(self, "root"):
            return
        assert self.store.digests() == sorted(self.whole)
        sizes = [path.stat().st_size for path in (self.root / "partial").iterdir()]
        used = self.store.used()
        assert used.partial_bytes == sum(sizes)
        assert used.total_bytes == sum(path.stat().st_size for path in on_disk(self.root))
        announced = sum(len(data) - writer.offset for writer, data, _ in self.writers)
        assert used.total_bytes + announced <= QUOTA
        if not any(privileged for _, _, privileged in self.writers):
            assert self.store.room() == max(0, QUOTA - RESERVE - used.total_bytes - announced)


TestStoreLife = StoreLife.TestCase
TestStoreLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.fixture
def cache(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "cache", is_lasting=False)


def _left_by_a_power_cut(store: BlobStore, data: bytes) -> BlobStore:
    """What the next process finds where the file had its name, and the disk not its bytes."""
    path = store.path(store.put_bytes(DATA))
    path.chmod(0o600)
    path.write_bytes(data)
    return BlobStore(store._layout.root, is_lasting=False)


@pytest.mark.parametrize(
    "data", [b"", bytes(len(DATA)), DATA[:-1]], ids=["empty", "zeros", "short"]
)
@pytest.mark.parametrize(
    "look",
    [lambda s: s.exists(DIGEST), lambda s: s.keep(DIGEST), lambda s: s.path(DIGEST).is_file()],
    ids=["exists", "keep", "path"],
)
def test_what_a_power_cut_damaged_is_not_here_and_comes_again(
    cache: BlobStore, data: bytes, look
) -> None:
    store = _left_by_a_power_cut(cache, data)
    assert not store.is_at_hand(DIGEST)
    with suppress(BlobMissing):
        assert not look(store)
    assert store.used().total_bytes == 0
    assert store.put_bytes(DATA) == DIGEST
    assert store.path(DIGEST).read_bytes() == DATA


def test_what_an_earlier_process_left_whole_is_hashed_once(cache: BlobStore) -> None:
    cache.put_bytes(DATA)
    assert cache.is_at_hand(DIGEST)
    store = BlobStore(cache._layout.root, is_lasting=False)
    assert store.exists(DIGEST)
    assert store.is_at_hand(DIGEST)
    store.discard(DIGEST)
    assert not store.is_at_hand(DIGEST)


def test_only_what_lasts_waits_for_the_disk(
    store: BlobStore, cache: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []
    monkeypatch.setattr(os, "fsync", waits.append)
    cache.put_bytes(DATA)
    assert not waits
    store.put_bytes(DATA)
    assert len(waits) >= 2  # the bytes and the name
