"""A node on a small disk and in bounded memory: it says what does not fit, and is able to work after."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents import at_a_lab, complete, learning, settings, until
from archipel.blobs import BlobStore, StorageFull
from archipel.cli.doors import child_environment, readable_folders
from archipel.node import operator as operator_module
from archipel.node.agent import Agent
from archipel.node.cache import PARTIAL_IDLE_S, Cache
from archipel.node.client import LabClient
from archipel.node.errands import Errands
from archipel.node.home import MAX_IDLE_MODELS, ready_home
from archipel.node.open_runs import Unprepared
from archipel.node.operator import copy_file
from archipel.node.sealed import folder_of
from archipel.node.settings import MIN_MEMORY_BYTES, default_memory_bound
from archipel.node.worker import Worker
from archipel.records.canonical import sha256_digest
from live import BadNetwork, live
from people import identity, ref
from specimens import SPECS
from world import World

DATA = bytes(range(250)) * 400


def cut(store: BlobStore, data: bytes, num_bytes: int) -> None:
    with store.writer(sha256_digest(data), len(data)) as writer:
        writer.write(data[:num_bytes])


def test_a_blob_that_does_not_fit_is_refused_with_sizes_before_it_is_asked_for(
    world: World, folder: Path
) -> None:
    world.blobs.put_bytes(DATA)
    store = BlobStore(folder / "node", quota_bytes=len(DATA) - 1)

    async def story() -> BadNetwork:
        async with live(world) as url:
            network = BadNetwork(url, [], upwards=False)
            async with network.open() as watched:
                client = LabClient(watched, identity("node"))
                with pytest.raises(StorageFull, match=f"{len(DATA)} bytes .* {len(DATA) - 1} fit"):
                    await client.fetch(ref(DATA), store)
                await client.close()
        return network

    assert world.await_(story()).connections == 0
    assert store.used().total_bytes == 0


def test_a_transfer_that_was_cut_needs_room_for_its_rest_alone(world: World, folder: Path) -> None:
    world.blobs.put_bytes(DATA)
    store = BlobStore(folder / "node", quota_bytes=len(DATA))
    cut(store, DATA, 60_000)

    async def story() -> None:
        async with live(world) as url:
            client = LabClient(url, identity("node"))
            assert (await client.fetch(ref(DATA), store)).read_bytes() == DATA
            assert client.bytes_down == len(DATA) - 60_000
            await client.close()

    world.await_(story())


def test_transfers_that_were_cut_count_and_go_when_nothing_else_makes_room(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    cache = Cache(store, 50_000)
    old, needed = store.put_bytes(b"o" * 20_000), store.put_bytes(b"n" * 20_000)
    cache.use([old])
    cut(store, DATA, 25_000)
    cache.use([needed])
    assert store.digests() == [needed]
    assert store.partial_offset(sha256_digest(DATA)) == 25_000
    larger = store.put_bytes(b"l" * 40_000)
    cache.use([needed, larger])
    assert store.used().partial_bytes == 0
    assert store.exists(needed)


def test_a_transfer_of_a_run_that_is_gone_is_forgotten_after_a_while(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    late_s = 0.0
    cache = Cache(store, 10**9, clock_s=lambda: time.time() + late_s)
    cut(store, DATA, 25_000)
    cache.use([])
    assert store.used().partial_bytes == 25_000
    late_s = PARTIAL_IDLE_S + 60
    cache.use([])
    assert store.used().partial_bytes == 0


def test_a_cache_that_finds_its_disk_full_gives_everything_up(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, quota_bytes=30_000)
    store.put_bytes(b"o" * 5_000)
    cut(store, bytes(25_000), 25_000)
    Cache(store, 10**9)
    assert store.used().total_bytes == 0


@pytest.mark.parametrize("damage", ["empty", "flipped", "absent"])
def test_a_support_file_that_is_not_the_runs_is_fetched_again(
    world: World, folder: Path, damage: str
) -> None:
    world.started()
    made = settings(folder, "http://lab")
    store = BlobStore(made.home / "blobs")

    async def story() -> None:
        async with live(world) as url:
            client = LabClient(url, identity("node"))
            await client.greet()
            opened = world.run().opened
            model = made.home / "models" / folder_of(opened)
            model.mkdir(parents=True)
            files = [file for file in opened.model if not file.name.endswith(".safetensors")]
            assert files
            for file in files:
                damaged = bytes(file.blob.size if damage == "flipped" else 0)
                if damage != "absent":
                    (model / file.name).write_bytes(damaged)
            await Errands(client, store, made)._open(SPECS["rollout"], None)
            for file in files:
                assert sha256_digest((model / file.name).read_bytes()) == file.blob.digest
            await client.close()

    world.await_(story())


@pytest.mark.parametrize("is_full", [True, False])
def test_what_a_preparation_that_failed_has_fetched_makes_room_like_all_the_rest(
    world: World, folder: Path, is_full: bool
) -> None:
    world.started()
    world.blobs.put_bytes(DATA)
    made = settings(folder, "http://lab", cache_bytes=0)
    store = BlobStore(made.home / "blobs")

    async def story() -> None:
        async with live(world) as url:
            client = LabClient(url, identity("node"))
            await client.greet()
            errands = Errands(client, store, made)

            async def failing(*_: object) -> None:
                """After the model's support files and a blob, beside which another lies."""
                errands._supply.lay([b"beside", b"not asked for"])
                await errands._open(SPECS["rollout"], None)
                await errands._supply.fetch(ref(DATA), ref(b"beside"))
                raise StorageFull("full") if is_full else Unprepared("no secret")

            errands._prepared = failing  # type: ignore[assignment,method-assign]  # fails after all it fetched
            with pytest.raises((StorageFull, Unprepared)):
                await errands.prepare(None, None)  # type: ignore[arg-type]  # see above
            assert (store.used().total_bytes == 0) == is_full
            errands._prepared = nothing_needed(errands)  # type: ignore[method-assign]
            await errands.prepare(None, None)  # type: ignore[arg-type]
            assert store.used().total_bytes == 0
            await client.close()

    world.await_(story())


def nothing_needed(errands: Errands):
    async def prepared(*_: object) -> None:
        errands._supply.lay([])

    return prepared


def test_model_directories_of_runs_long_gone_make_room(world: World, folder: Path) -> None:
    world.started()
    made = settings(folder, "http://lab")
    models = made.home / "models"
    for number in range(MAX_IDLE_MODELS + 3):
        (models / f"old-{number}").mkdir(parents=True)
        (models / f"old-{number}" / "config.json").write_bytes(b"{}")
        os.utime(models / f"old-{number}", (number, number))

    async def story() -> str:
        async with live(world) as url:
            client = LabClient(url, identity("node"))
            await client.greet()
            errands = Errands(client, BlobStore(made.home / "blobs"), made)
            run = await errands._open(SPECS["rollout"], None)
            await client.close()
            return run.folder

    used = world.await_(story())
    assert (models / used).is_dir()
    left = {each.name for each in models.iterdir()} - {used}
    assert left == {f"old-{number}" for number in range(3, MAX_IDLE_MODELS + 3)}


class Killed(BaseException):
    """Stands for SIGKILL or a full disk in the middle of a copy."""


def test_an_interrupted_copy_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "model" / "config.json"
    source.write_bytes(DATA)
    target.parent.mkdir()

    def half(source: Path, aside: Path) -> None:
        aside.write_bytes(source.read_bytes()[:1000])
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(operator_module.shutil, "copyfile", half)
        with pytest.raises(Killed):
            copy_file(source, target)
    assert list(target.parent.iterdir()) == []
    copy_file(source, target)
    assert target.read_bytes() == DATA
    assert list(target.parent.iterdir()) == [target]


SMALL_DISK = """
import sys
from pathlib import Path
from archipel.blobs import BlobStore, StorageFull
from archipel.node.cache import Cache
from archipel.node.home import ready_home
from archipel.node.operator import copy_file
from archipel.node.settings import NodeSettings
from archipel.records.canonical import sha256_digest
home, outside = Path(sys.argv[1]), Path(sys.argv[2])
settings = NodeSettings(lab_url="http://lab", home=home)
store = BlobStore(home / "blobs")
cache = Cache(store, settings.cache_bytes)
large = bytes(20_000_000)
try:
    store.require_room(len(large))
    raise SystemExit("20 MB fit on 3")
except StorageFull as error:
    assert "20000000 bytes are to come" in str(error), error
room = store.room()
with store.writer(sha256_digest(large[:room]), room) as writer:
    writer.write(large[: room - 1])
try:
    store.put_bytes(b"one file of a small run" * 100)
    raise SystemExit("there was room")
except StorageFull:
    cache.clear()
digest = store.put_bytes(b"one file of a small run" * 100)
assert store.used().partial_bytes == 0
(home / "ballast").write_bytes(bytes(2_000_000))
try:
    copy_file(outside, home / "models" / "config.json")
    raise SystemExit("the disk was not full")
except OSError:
    assert list((home / "models").iterdir()) == []
try:
    with (home / "more").open("wb", buffering=0) as more:
        while more.write(bytes(4096)) == 4096:
            pass
except OSError:
    pass
try:
    ready_home(settings, ())
    raise SystemExit("the disk was not full")
except OSError as error:
    assert str(error).startswith("no temporary file can be written into"), error
Cache(BlobStore(home / "blobs"), settings.cache_bytes)
assert not store.exists(digest)
(home / "ballast").unlink()
ready_home(settings, ())
print("recovered")
"""


def test_a_disk_smaller_than_a_blob_leaves_a_node_that_can_work(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    home.mkdir()
    outside.write_bytes(bytes(2_000_000))
    mount = f"mount -t tmpfs -o size=3m tmpfs {home}"
    flags = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    if subprocess.run(["unshare", *flags, "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system")
    script = f'{mount} && exec "$0" -c "$1" {home} {outside}'
    done = subprocess.run(
        ["unshare", *flags, "sh", "-c", script, sys.executable, SMALL_DISK],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "recovered\n", done.stderr


@pytest.mark.usefixtures("stub")
def test_a_node_without_a_temporary_folder_waits_with_a_sentence_and_works_on(
    world: World, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = Path.write_bytes, [OSError(28, "No space left on device")] * 2

    def failing(path: Path, data: bytes) -> int:
        if path.name == "probe" and full:
            raise full.pop()
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", failing)

    async def story(agent: Agent) -> None:
        await until(complete(world), learning(world))

    with caplog.at_level("ERROR", "archipel.node"):
        at_a_lab(world, folder, story)
    reasons = [record.reason for record in caplog.records if record.message == "trouble"]
    assert len(reasons) == 2
    assert all("no temporary file can be written" in reason for reason in reasons)


def test_memory_is_bounded_by_the_machine_unless_asked_otherwise(folder: Path) -> None:
    made = settings(folder, "http://lab").memory_bound()
    assert made is not None
    assert made <= max(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), MIN_MEMORY_BYTES)
    assert settings(folder, "http://lab", max_memory_bytes=5).memory_bound() == 5
    assert settings(folder, "http://lab", device="cuda").memory_bound() is None
    assert default_memory_bound(32 * 2**30) == 24 * 2**30
    assert default_memory_bound(2**30) == MIN_MEMORY_BYTES


@pytest.mark.slow
def test_the_real_child_starts_and_measures_under_the_smallest_default_bound(folder: Path) -> None:
    made = settings(
        folder,
        "http://lab",
        max_memory_bytes=MIN_MEMORY_BYTES,
        environment=child_environment() | {"PYTHONPATH": str(readable_folders()[0])},
        readable=readable_folders(),
    )

    async def story() -> None:
        setup = ready_home(made, ())
        environment = {**made.environment, "TMPDIR": str(setup.scratch)}
        worker = await Worker.start(setup, environment, folder / "child.log")
        try:
            assert "memory" in worker.protections or not sys.platform.startswith("linux")
            assert (await worker.benchmark()).values["tokens_per_s"] > 0
        finally:
            await worker.close()

    asyncio.run(story())
