"""Work that needs more bytes than a machine can hold rests there, and the machine does other runs' work."""

import errno
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from agents import at_a_lab, complete, learning, until
from archipel.blobs import BlobStore, StorageFull
from archipel.blobs.errors import named_errors
from archipel.node.agent import Agent
from archipel.node.cache import Cache, DoesNotFit
from archipel.node.setbacks import failure_of
from archipel.records.statements import LeaseReturned
from world import World

QUOTA = 200_000


def anchored(world: World, name: str, num_bytes: int) -> None:
    """An open run whose version 0 is so large."""
    world.open_run(name, max_groups_per_lease=1)
    learner = world.learner()
    granted = learner.ask()
    assert granted is not None
    learner.answer(granted, anchor=learner.put(os.urandom(num_bytes)))


@pytest.mark.usefixtures("stub")
def test_a_run_too_large_for_a_machine_rests_on_it_and_another_run_is_done(
    world: World,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    anchored(world, "large", QUOTA + 1)
    monkeypatch.setattr("archipel.lab.failures.FIRST_REST_MS", 600_000)
    monkeypatch.setattr("agents.BlobStore", partial(BlobStore, quota_bytes=QUOTA))

    async def story(agent: Agent) -> None:
        await until(complete(world), learning(world))

    with caplog.at_level("ERROR", "archipel.node"):
        agent = at_a_lab(world, folder, story, max_groups_per_lease=1)
    tried = [each for each in world.statements() if isinstance(each, LeaseReturned)]
    assert {(each.work.partition(".")[0], each.fault) for each in tried} == {("large", "machine")}
    assert len(tried) <= 2, "it rests after its second failure in a row"
    assert f"can hold {QUOTA} for it, its cache emptied" in tried[0].reason
    assert not [each for each in caplog.records if each.message == "trouble"]
    assert world.run("large").troubles == ()
    assert agent.totals.outcomes()


def test_files_that_fit_one_by_one_and_not_together_do_not_fit(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, quota_bytes=QUOTA)
    cache = Cache(store, 10**9)
    cache.use([store.put_bytes(os.urandom(QUOTA // 2))])
    with pytest.raises(DoesNotFit, match=f"needs {QUOTA + 1} bytes") as failed:
        cache.give_up(StorageFull("no room"), QUOTA + 1)
    assert failure_of(failed.value).fault == "machine"
    assert store.used().total_bytes == 0
    cache.use([store.put_bytes(os.urandom(QUOTA // 2))])
    cache.give_up(StorageFull("no room"), QUOTA)
    assert store.used().total_bytes == 0, "an emptied cache has room for it: it is tried again"


def test_a_file_larger_than_this_user_may_have_does_not_fit_either(tmp_path: Path) -> None:
    cache = Cache(BlobStore(tmp_path), 10**9)
    with pytest.raises(StorageFull) as full, named_errors("cannot write"):
        raise OSError(errno.EFBIG, "File too large")
    with pytest.raises(DoesNotFit, match="larger than this file system or user may have"):
        cache.give_up(full.value, 10)


SMALL_DISK = """
import sys
from pathlib import Path
from archipel.blobs import BlobStore
home = Path(sys.argv[1])
store = BlobStore(home / "blobs")
empty = store.capacity()
assert 2_000_000 < empty < 3_145_728, empty
store.put_bytes(bytes(1_000_000))
assert abs(store.capacity() - empty) < 65_536, "what is in the store counts as free"
(home / "ballast").write_bytes(bytes(1_000_000))
assert store.capacity() < empty - 900_000, "what others put there does not"
try:
    with (home / "more").open("wb", buffering=0) as more:
        while more.write(bytes(4096)) == 4096:
            pass
except OSError:
    pass
assert store.capacity() > 2**30, "a disk that is full says nothing of its size"
print("right")
"""


def test_what_a_store_could_hold_is_what_the_disk_leaves_unless_others_filled_it(
    tmp_path: Path,
) -> None:
    mount = f"mount -t tmpfs -o size=3m tmpfs {tmp_path}"
    flags = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    if subprocess.run(["unshare", *flags, "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system")
    script = f'{mount} && exec "$0" -c "$1" {tmp_path}'
    done = subprocess.run(
        ["unshare", *flags, "sh", "-c", script, sys.executable, SMALL_DISK],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "right\n", done.stderr
