"""Signs of servers: seen while their process lives, gone with it, and never another's process told to end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from archipel.serve.running import (
    NotRunning,
    Running,
    Sign,
    running_of,
    those_that_run,
    told_to_end,
)

LIMIT_S = 20


def running(pid: int = os.getpid(), port: int = 8450, since: int = 1) -> Running:
    return Running(name="tiny", address=f"http://127.0.0.1:{port}", port=port, pid=pid, since=since)


def test_a_sign_is_seen_as_long_as_it_is_up_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    later, first = running(since=2), running(port=9000)
    signs = [Sign.put_up(tmp_path, each) for each in (later, first)]
    assert those_that_run(tmp_path) == [first, later]
    assert {each.path.stat().st_mode & 0o777 for each in signs} == {0o600}
    for sign in signs:
        sign.take_down()
    assert list(tmp_path.iterdir()) == []
    assert those_that_run(tmp_path) == []


def test_the_sign_of_a_process_that_was_killed_is_removed_and_its_number_told_nothing(
    tmp_path: Path,
) -> None:
    """Whoever has that number now is another: here it is this test itself."""
    words = "from serve.test_serve_running import put_up_and_wait as f; import sys; f(sys.argv[1])"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.defpath}
    command = [sys.executable, "-c", words, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (found,) = those_that_run(tmp_path)
        assert found == running(pid=os.getpid())
        process.kill()
    with pytest.raises(NotRunning):
        told_to_end(tmp_path, found, signal.SIGURG)  # which would hurt nobody
    assert those_that_run(tmp_path) == []
    assert list(tmp_path.iterdir()) == [], "a stale one is cleared away"


def put_up_and_wait(folder: str) -> None:
    """In a process of its own, under its parent's number."""
    Sign.put_up(Path(folder), running(pid=os.getppid()))
    print("up", flush=True)
    signal.pause()


def test_a_link_in_place_of_a_sign_is_not_followed(tmp_path: Path) -> None:
    """Where it leads somebody might hold a lock, under any number."""
    elsewhere, own = tmp_path / "elsewhere", tmp_path / "own"
    for folder in (elsewhere, own):
        folder.mkdir()
    sign = Sign.put_up(elsewhere, running())
    (own / sign.path.name).symlink_to(sign.path)
    assert those_that_run(own) == []
    with pytest.raises(NotRunning):
        told_to_end(own, running(), signal.SIGURG)
    sign.take_down()
    assert (own / sign.path.name).is_symlink(), "and is not ours to remove"


def test_what_waits_to_be_written_to_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1-2.server")
    assert those_that_run(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the system holds no processes")
def test_a_process_is_held_while_it_is_told_to_end_and_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by its number alone, it might be another by then."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: told.append((pid, number)))
    held: list[int] = []
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda process, number: held.append(number))
    sign = Sign.put_up(tmp_path, running())
    before = set(Path("/proc/self/fd").iterdir())
    told_to_end(tmp_path, running(), signal.SIGUSR1)
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert held == [signal.SIGUSR1]
    assert {number for _, number in told} == {0}, "only whether it is there was asked by number"
    monkeypatch.delattr(os, "pidfd_open")
    told_to_end(tmp_path, running(), signal.SIGUSR1)
    assert told[-1] == (os.getpid(), signal.SIGUSR1), "where there is no other way"
    sign.take_down()


def test_a_server_is_told_to_end(tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        sign = Sign.put_up(tmp_path, running())
        told_to_end(tmp_path, running(), signal.SIGUSR1)
        sign.take_down()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"\xff", running().model_dump_json().encode().replace(b"8450", b"-1")],
)
def test_what_is_no_sign_is_refused_and_passed_over(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match="no server's file"):
        running_of(data)
    (tmp_path / "1-2.server").write_bytes(data)
    assert those_that_run(tmp_path) == []
