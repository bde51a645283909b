"""What strangers' runs keep on a machine: within a quota, the run at work last of all to go, nobody else's to read."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from agents import settings
from archipel.node.home import ready_home
from archipel.node.lasting import Lasting
from archipel.node.worker import Worker, WorkerLost
from archipel.work.messages import DoWork, Ready, to_line

KEPT = 40_000


def keep(root: Path, folder: str, used_at_s: int, size: int = KEPT) -> Path:
    """A run that left something, last worked for at this time."""
    own = root / folder
    own.mkdir(parents=True)
    (own / "state").write_bytes(os.urandom(size))
    os.utime(own, (used_at_s, used_at_s))
    return own


def test_the_run_worked_for_longest_ago_goes_first_and_the_one_at_work_never(
    tmp_path: Path,
) -> None:
    oldest, older, newest = (
        keep(tmp_path, name, at) for name, at in (("c", 1), ("a", 2), ("b", 3))
    )
    lasting = Lasting(tmp_path, 3 * KEPT)
    assert lasting.excess("c") == 0
    assert [oldest.exists(), older.exists(), newest.exists()] == [True, False, True]
    assert Lasting(tmp_path, KEPT // 2).excess("c") > 0
    assert [oldest.exists(), newest.exists()] == [True, False]
    assert lasting.excess(None) == 0
    assert oldest.exists()


def test_beginning_makes_a_folder_of_the_owners_alone_the_one_used_last(tmp_path: Path) -> None:
    keep(tmp_path, "old", 1)
    own = keep(tmp_path, "own", 0)
    own.chmod(0o755)
    lasting = Lasting(tmp_path, 2 * KEPT + 20_000)
    lasting.begin("own")
    lasting.begin("new")
    assert {each.stat().st_mode & 0o777 for each in (own, tmp_path / "new")} == {0o700}
    keep(tmp_path, "more", 2**33)
    assert lasting.excess("new") == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["more", "new", "own"]


def test_nothing_kept_is_no_failure_and_a_stray_file_goes_like_a_folder(tmp_path: Path) -> None:
    assert Lasting(tmp_path / "none", 1).excess("run") == 0
    (tmp_path / "stray").write_bytes(bytes(KEPT))
    (tmp_path / "link").symlink_to(tmp_path.parent)
    assert Lasting(tmp_path, 0).excess(None) == 0
    assert not list(tmp_path.iterdir())
    assert tmp_path.parent.is_dir()


def test_a_strangers_child_has_a_memory_with_a_bound_and_the_trusted_role_one_without(
    tmp_path: Path,
) -> None:
    stranger = ready_home(settings(tmp_path, "http://lab"), ())
    trusted = ready_home(settings(tmp_path, "http://lab", "role", kinds=("update",)), ())
    assert stranger.memory is not None
    assert stranger.memory.stat().st_mode & 0o777 == 0o700
    assert stranger.max_lasting_bytes == 8 * 2**30
    assert trusted.max_lasting_bytes is None


def test_what_was_kept_outlasts_a_new_child_and_a_new_agent(tmp_path: Path) -> None:
    made = settings(tmp_path, "http://lab")
    memory = ready_home(made, ()).memory
    assert memory is not None
    own = keep(memory, "run-0", 1)
    ready_home(made, ())
    Lasting(memory, made.lasting_bytes).begin("run-0")
    assert len((own / "state").read_bytes()) == KEPT


READY = (
    f"import sys, time; sys.stdin.readline(); sys.stdout.buffer.write({to_line(Ready(protections=()))!r});"
    "sys.stdout.flush()"
)


def test_a_child_that_keeps_more_than_it_may_is_ended_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        made = replace(settings(tmp_path, "http://lab"), lasting_bytes=KEPT)
        setup = ready_home(made, ())
        assert setup.memory is not None
        others = keep(setup.memory, "others", 1)
        own = setup.memory / "run-0"
        many = f"{READY}\nimport os\nos.mkdir({str(own)!r})\nopen({str(own / 'state')!r}, 'wb').write(bytes({2 * KEPT}))\ntime.sleep(60)"
        monkeypatch.setattr("archipel.node.worker.program", lambda ranks, setup: ["-c", many])
        monkeypatch.setattr("archipel.node.lasting.WATCH_S", 0.05)
        worker = await Worker.start(setup, {}, tmp_path / "log")
        message = DoWork.model_construct(folder="run-0")
        with pytest.raises(WorkerLost, match=f"at most {KEPT} are allowed; raise --lasting-gb"):
            await worker.work(message, 30.0)
        assert not worker.alive
        assert not others.exists()

    asyncio.run(story())
