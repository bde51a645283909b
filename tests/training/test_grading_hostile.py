"""What a text does to its grader ends with its grading: nothing outside, and no other's reward, shows it."""

import os
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from archipel.records.recipe import EnvironmentSection
from archipel.training.grading import Grader, GraderUnavailable, Submission

WORTH = 0.25

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="confinement takes Linux"
)

ATTEMPT = """
import os, sys, json, socket, threading, signal, resource, ctypes, time
from pathlib import Path
def attempt(action):
    global reward
    try:
        action()
        reward = 1.0
    except BaseException:
        pass
"""

OUTSIDE = {
    "write": "attempt(lambda: open(FOLDER + '/written', 'w'))",
    "append": "attempt(lambda: open(KEY, 'a'))",
    "truncate": "attempt(lambda: os.truncate(KEY, 0))",
    "read a private file": "attempt(lambda: open(KEY).read())",
    "touch a private file": "attempt(lambda: os.utime(KEY, (1, 1)))",
    "mark a private file": "attempt(lambda: os.setxattr(KEY, 'user.mark', b'x'))",
    "open a private file": "attempt(lambda: os.chmod(KEY, 0o644))",
    "list": "attempt(lambda: os.listdir(FOLDER))",
    "temporary": "attempt(lambda: open('/dev/shm/archipel-must-not-exist', 'w'))",
    "tcp": "attempt(lambda: socket.socket())",
    "unix": "attempt(lambda: socket.socket(socket.AF_UNIX))",
    "fork": "attempt(lambda: os.fork() or os._exit(0))",
    "spawn": "attempt(lambda: os.posix_spawn('/bin/true', ['true'], {}))",
    "system": "reward = float(os.system('true') == 0)",
    "kill the grading process": "attempt(lambda: os.kill(os.getppid(), 9))",
    "kill its parent": "attempt(lambda: os.kill(PARENT, 0))",
    "kill all": "attempt(lambda: os.kill(-1, 0))",
    "limit the parent": "attempt(lambda: resource.prlimit(PARENT, resource.RLIMIT_NOFILE, (0, 0)))",
    "limit the process": "attempt(lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1)))",
    "slow the process": "attempt(lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19))",
    "pin the process": "attempt(lambda: os.sched_setaffinity(os.getppid(), {0}))",
    "memory of the process": "attempt(lambda: open(f'/proc/{os.getppid()}/mem', 'rb'))",
    "its channel": "attempt(lambda: open(f'/proc/{os.getppid()}/fd/1', 'wb'))",
    "its requests": "attempt(lambda: open(f'/proc/{os.getppid()}/fd/0', 'rb'))",
    "lasting memory": "reward = float(ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) >= 0)",
    "file in memory": "attempt(lambda: os.write(os.memfd_create('x'), b'x'))",
    "more memory": "attempt(lambda: [bytearray(2**28) for _ in range(64)])",
    "more descriptors": "attempt(lambda: [os.pipe() for _ in range(1000)])",
}
INSIDE = {
    "patch the object": "environment.worth = 1.0",
    "patch the class": "type(environment).worth = 1.0\ntype(environment).grade = lambda *_: 1.0",
    "patch the module": "sys.modules[type(environment).__module__].WORTH = 1.0",
    "patch the contract": "import archipel.work.grading.cell as c\nc.judged = lambda *_: {'reward': 1.0}",
    "patch what is built in": "import builtins\nbuiltins.float = lambda *_: 1.0\njson.dumps = str",
    "leave a thread": "threading.Thread(target=time.sleep, args=(99,)).start()",
    "leave a handler": "import atexit\natexit.register(lambda: open(FOLDER + '/late', 'w'))",
    "print": 'print(\'{"number": 1, "reward": 1.0}\' * 99, flush=True)',
    "complain": "sys.stderr.write('x' * 99)",
}
LOSING = {
    "exit": "sys.exit(0)",
    "leave": "os._exit(0)",
    "kill itself": "os.kill(os.getpid(), 9)",
    "crash": "ctypes.string_at(0)",
    "close": "os.closerange(0, 999)",
    "flood": "[os.write(3, b'x' * 4096) for _ in range(99)]",
    "speak for others": '[os.write(fd, b\'{"number": 1, "reward": 1.0}\\n\' * 3) for fd in range(3, 4)]',
    "speak nonsense": "os.write(3, b'[' * 100_000 + b'\\n')",
    "say too much": "reward = 7.0",
    "hang": "time.sleep(99)",
    "spin": "while True: pass",
    "compute for ever in C": "9**9**9",
}


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes graders of the hostile environment."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def make(limit_s: float = 10.0, **options: Any) -> Grader:
        section = EnvironmentSection(name="hostile", time_limit_s=limit_s)
        return Grader(section, 0, factory="hostile_environment:make", **options)

    return make


def among_honest(deeds: dict[str, str], folder: Path) -> list[Submission]:
    """Each deed after an honest completion, and one more at the end."""
    texts = []
    for deed in deeds.values():
        known = f"FOLDER, KEY, PARENT = {str(folder)!r}, {str(folder / 'key')!r}, {os.getpid()}\n"
        texts += ["honest", textwrap.dedent(ATTEMPT) + known + deed]
    return [Submission("dev", number, text, True) for number, text in enumerate([*texts, "honest"])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a private key in it."""
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o600)
    os.utime(key, (1_000_000, 1_000_000))
    return tmp_path


def test_no_text_reaches_anything_outside_its_grading(hostile: Any, folder: Path) -> None:
    with hostile() as grader:
        rewards = grader.grade(among_honest(OUTSIDE, folder))
        assert {"file_reads", "file_writes", "network", "processes"} <= set(grader.protections)
    assert dict(zip(OUTSIDE, rewards[1::2], strict=True)) == dict.fromkeys(OUTSIDE, 0.0)
    assert set(rewards[0::2]) == {WORTH}
    key = folder / "key"
    assert [path.name for path in folder.iterdir()] == ["key"]
    assert key.read_text() == "secret"
    assert (key.stat().st_mode & 0o777, key.stat().st_mtime) == (0o600, 1_000_000)
    assert not grader.faults


def test_no_text_changes_a_later_reward(hostile: Any, folder: Path) -> None:
    with hostile() as grader:
        for _ in range(2):
            rewards = grader.grade(among_honest(INSIDE, folder))
            assert set(rewards[0::2]) == {WORTH}, dict(zip(INSIDE, rewards[2::2], strict=True))
    assert [path.name for path in folder.iterdir()] == ["key"]


def test_a_text_that_loses_its_grader_loses_its_own_reward_alone(
    hostile: Any, folder: Path
) -> None:
    with hostile(limit_s=0.5) as grader:
        process = grader._child._process.pid
        rewards = grader.grade(among_honest(LOSING, folder))
        assert grader._child._process.pid == process
    own = dict(zip(LOSING, rewards[1::2], strict=True))
    assert own.pop("speak for others") in (0.0, 1.0)  # its own reward is all that it can forge
    assert set(own.values()) == {0.0}
    assert set(rewards[0::2]) == {WORTH}
    assert grader.faults["timeout"] == 3
    assert sum(grader.faults.values()) >= len(LOSING) - 1


@pytest.mark.slow
def test_slow_texts_take_neither_the_batch_s_time_nor_others_rewards(
    hostile: Any, folder: Path
) -> None:
    slow = {str(number): "time.sleep(99)" for number in range(20)}
    start = time.monotonic()
    with hostile(limit_s=5.0, budget_s=2.0) as grader:
        rewards = grader.grade(among_honest(slow, folder))
    assert time.monotonic() - start < 2.0 + 5.0
    assert rewards == (WORTH, 0.0) * 20 + (WORTH,)
    assert grader.faults == {"timeout": 20}


def test_a_slow_grading_has_what_quick_ones_leave(hostile: Any) -> None:
    texts = ["honest"] * 20 + ["import time; time.sleep(0.5); reward = 0.75"]
    with hostile(limit_s=5.0, budget_s=8.0) as grader:
        rewards = grader.grade([Submission("dev", 0, text, True) for text in texts])
    assert rewards == (WORTH,) * 20 + (0.75,)
    assert not grader.faults


def test_a_text_that_takes_all_threads_costs_the_next_one_nothing(
    hostile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.training.grading_pipe.PROGRAM", "grading_short_of_processes")
    with hostile() as grader:
        process = grader._child._process.pid
        assert grader.grade([Submission("dev", 0, "honest", True)] * 6) == (WORTH,) * 6
        assert grader._child._process.pid == process
    assert not grader.faults


def test_the_grader_may_be_started_by_a_thread_that_ends(hostile: Any) -> None:
    grader = hostile()
    starter = threading.Thread(target=grader.__enter__)
    starter.start()
    starter.join()
    process = grader._child._process.pid
    assert grader.grade([Submission("dev", 0, "honest", True)] * 3) == (WORTH,) * 3
    assert grader._child._process.pid == process
    grader.close()


def test_a_machine_that_cannot_confine_grades_no_text_that_may_be_evaluated(
    hostile: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("archipel.training.grading_pipe.PROGRAM", "grading_without_landlock")
    with pytest.raises(GraderUnavailable, match=r"does not confine them \(file_reads, .* missing"):
        hostile().__enter__()
    with Grader(EnvironmentSection(name="secret_order"), 0, b"secret") as grader:
        assert grader.grade([Submission("dev", 0, "x", True)]) == (0.0,)
        assert "file_reads" not in grader.protections
    assert "not fully confined: no file_reads" in caplog.text
