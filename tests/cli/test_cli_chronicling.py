"""The chronicle's own process: what it writes is the ledger's, from wherever it goes on; it ends with its lab."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from archipel.cli import beside, chronicling
from archipel.cli.chronicling import Chronicling, keep
from archipel.dashboard.chronicle.file import ChronicleUnusable
from archipel.dashboard.chronicle.reading import Chronicle
from archipel.dashboard.chronicle.writing import ChronicleWriter
from small_ledger import LAB, grow


def told(folder: Path) -> dict[str, str]:
    return {
        "ledger": str(folder / "ledger.sqlite"),
        "blobs": str(folder / "blobs"),
        "chronicle": str(folder / "chronicle.sqlite"),
        "lab": LAB.did,
    }


def size_of(path: Path) -> int:
    """Entries that the chronicle has; 0 while it is being made."""
    try:
        return Chronicle(path).size
    except ChronicleUnusable:
        return 0


def kept(folder: Path, size: int) -> None:
    """Keep the chronicle until it has so many entries."""
    over = threading.Event()
    failed: list[BaseException] = []

    def go_on() -> None:
        try:
            keep(told(folder), over)
        except Exception as error:  # noqa: BLE001  shown by the test
            failed.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    until = time.monotonic() + 10
    while thread.is_alive() and size_of(folder / "chronicle.sqlite") < size:
        assert time.monotonic() < until
        time.sleep(0.01)
    over.set()
    thread.join(10)
    if failed:
        raise failed[0]


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chronicling, "LOOK_S", 0.01)
    monkeypatch.setattr(chronicling, "BATCH", 3)


@pytest.mark.usefixtures("_at_once")
def test_a_chronicle_goes_on_where_it_ended_and_is_the_same_as_one_from_the_beginning(
    tmp_path: Path,
) -> None:
    grow(tmp_path, 0, 5)
    kept(tmp_path, 6)
    grow(tmp_path, 5, 3)
    kept(tmp_path, 9)
    in_two = Chronicle(tmp_path / "chronicle.sqlite").growth()
    for name in ("", "-wal", "-shm"):
        (tmp_path / f"chronicle.sqlite{name}").unlink(missing_ok=True)
    kept(tmp_path, 9)
    assert Chronicle(tmp_path / "chronicle.sqlite").growth() == in_two
    assert in_two[-1].size == 9


@pytest.mark.usefixtures("_at_once")
def test_a_chronicle_that_knows_more_than_the_ledger_is_refused_with_a_sentence(
    tmp_path: Path,
) -> None:
    grow(tmp_path, 0, 5)
    kept(tmp_path, 6)
    for path in [*tmp_path.glob("ledger.*")]:
        path.unlink()
    grow(tmp_path, 0, 2)
    with pytest.raises(ValueError, match="another ledger's; delete it"):
        keep(told(tmp_path), threading.Event())
    with pytest.raises(ValueError, match="is the chronicle of"):
        ChronicleWriter(tmp_path / "chronicle.sqlite", "did:key:zother")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_child_that_dies_is_begun_again_and_all_end_with_the_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "RESTART_S", 0.2)
    grow(tmp_path, 0, 5)
    what = told(tmp_path)
    path = tmp_path / "chronicle.sqlite"
    pids: list[int] = []
    with Chronicling(what["ledger"], tmp_path / "blobs", path, LAB.did) as child:
        until = time.monotonic() + 60
        while size_of(path) < 6:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert child._child is not None
        pids.append(child._child.pid)
        assert os.getpriority(os.PRIO_PROCESS, pids[0]) >= beside.NICE
        assert what["ledger"].encode() not in Path(f"/proc/{pids[0]}/cmdline").read_bytes()
        os.kill(pids[0], signal.SIGKILL)
        grow(tmp_path, 5, 3)
        while size_of(path) < 9:
            assert time.monotonic() < until
            time.sleep(0.05)
        pids.append(child._child.pid)
    assert pids[0] != pids[1]
    assert not any(map(alive, pids))


@pytest.mark.slow
def test_what_a_child_cannot_do_is_told_once_in_ten_seconds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "chronicle.sqlite").write_bytes(b"somebody's file, not a chronicle" * 99)
    grow(tmp_path, 0, 2)
    what = told(tmp_path)
    with Chronicling(what["ledger"], tmp_path / "blobs", tmp_path / "chronicle.sqlite", LAB.did):
        until = time.monotonic() + 60
        while not caplog.records:
            assert time.monotonic() < until
            time.sleep(0.05)
    (line,) = caplog.records
    assert "ChronicleUnusable" in json.dumps(line.__dict__.get("reason"))
