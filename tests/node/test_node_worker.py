"""The child from outside: whatever it does, its answer never counts for another question."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from agents import settings, until
from archipel.node import worker as worker_module
from archipel.node.home import ready_home
from archipel.node.ranks import Ranks
from archipel.node.worker import Worker, WorkerLost, WorkRefused
from archipel.work.messages import Done, Failed, ProgressMessage, Ready, to_line
from archipel.work.remembered import AskRemembered, Remembered

FOREVER_S = 60.0
"""Longer than any test."""


def say(*messages: Done | Failed | ProgressMessage | Ready) -> str:
    """A program's statement that says these."""
    return f"sys.stdout.buffer.write({b''.join(map(to_line, messages))!r}); sys.stdout.flush()"


HEAR = "sys.stdin.readline()"
READY = f"import sys, time; {HEAR}; {say(Ready(protections=()))}"
SILENT = f"{READY}; sys.stdin.read()"
LATE = f"{READY}; {HEAR}; time.sleep({FOREVER_S})"
DONE = Done(files={}, values={"remembered": [{"version": 3}]})
REFUSED = Failed(reason="out of memory")


async def started(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> Worker:
    monkeypatch.setattr("archipel.node.worker.program", lambda ranks, setup: ["-c", program])
    return await Worker.start(ready_home(settings(folder, "http://lab"), ()), {}, folder / "log")


def is_gone(pid: int) -> bool:
    """Ended, whether or not its parent has noticed yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_data_of_a_new_recipe_takes_a_new_child_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "questions.jsonl"
    data.write_text("x")

    async def story() -> list[bool]:
        worker = await started(tmp_path, monkeypatch, SILENT)
        first = worker._process.pid
        try:
            seen = [
                await worker.let_read([str(tmp_path / "gone.jsonl")]),
                await worker.let_read([str(data)]),
                await worker.let_read([str(data), *map(str, worker._start.setup.readable)]),
            ]
            return [*seen, worker.alive, is_gone(first), data in worker._start.setup.readable]
        finally:
            await worker.close()

    assert asyncio.run(story()) == [False, True, False, True, True, True]


def test_a_child_that_fills_the_disk_is_ended_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        made = replace(settings(tmp_path, "http://lab"), max_scratch_bytes=100_000)
        setup = ready_home(made, ())
        many = (
            f"{READY}\n"
            "for number in range(9):\n"
            f"    open({str(setup.scratch)!r} + f'/{{number}}', 'wb').write(bytes(20_000))\n"
            f"time.sleep({FOREVER_S})"
        )
        monkeypatch.setattr("archipel.node.worker.program", lambda ranks, setup: ["-c", many])
        worker = await Worker.start(setup, {}, tmp_path / "log")
        with pytest.raises(WorkerLost, match="at most 100000 are allowed"):
            await worker.benchmark()
        assert not worker.alive

    asyncio.run(story())


def test_a_question_that_was_dropped_ends_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, LATE)
        asking = asyncio.create_task(worker.remembered("update", "run", "run-0"))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not worker.alive

    asyncio.run(story())


FLOOD = f"{READY}\nwhile True: {say(ProgressMessage(tokens=1))}"
DRIP = f"{FLOOD}; time.sleep(0.005)"


@pytest.mark.parametrize("program", [SILENT, DRIP, FLOOD], ids=["silent", "drip", "flood"])
def test_a_question_whose_time_is_up_ends_the_child_whatever_it_says_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr("archipel.node.worker.REMEMBERED_LIMIT_S", 0.05)

    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, program)
        with pytest.raises(WorkerLost, match="time is up"):
            await worker.remembered("update", "run", "run-0")
        assert not worker.alive

    asyncio.run(story())


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (say(Ready(protections=())), "started over"),
        ("print('nonsense', flush=True)", "."),
        ("print('x' * 5000, flush=True)", "a line of more than 1000 bytes"),
        ("sys.exit(3)", "ended with code 3"),
        (say(Done(files={}, values={"remembered": [{"version": "three"}]})), "remembers .*three"),
        (say(Done(files={}, values={"remembered": [{"version": 1}] * 65})), "remembers .*a list"),
        (say(Done(files={}, values={})), "remembers None; expected a list"),
    ],
    ids=["ready again", "nonsense", "no end of a line", "gone", "no number", "too many", "no list"],
)
def test_a_child_that_makes_no_sense_is_lost_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, problem: str
) -> None:
    monkeypatch.setattr("archipel.node.worker.MAX_LINE_BYTES", 1000)

    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, f"{READY}; {HEAR}; {words}; sys.stdin.read()")
        with pytest.raises(WorkerLost, match=problem):
            await worker.remembered("update", "run", "run-0")
        await worker.kill()
        assert not worker.alive

    asyncio.run(story())


def test_a_child_that_closes_its_output_and_lives_on_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "TERM_LIMIT_S", 0.1)
    program = f"import os; {READY}; {HEAR}; os.close(1); time.sleep({FOREVER_S})"

    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, program)
        async with asyncio.timeout(FOREVER_S / 2):
            with pytest.raises(WorkerLost, match="closed its output and lived on"):
                await worker.remembered("update", "run", "run-0")
        assert not worker.alive

    asyncio.run(story())


@pytest.mark.parametrize("words", [say(Ready(protections=())), "print('x', flush=True)"])
def test_a_child_that_lost_the_thread_is_ended_before_the_next_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    program = f"{READY}; {HEAR}; {words}; {say(DONE)}; sys.stdin.read()"

    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, program)
        with pytest.raises(WorkerLost):
            await worker.remembered("update", "run", "run-0")
        assert not worker.alive, "its answer would be taken for that to the next question"

    asyncio.run(story())


def test_a_child_that_refused_one_question_answers_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"{READY}; {HEAR}; {say(REFUSED)}; {HEAR}; {say(DONE)}; sys.stdin.read()"

    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, program)
        with pytest.raises(WorkRefused, match="out of memory"):
            await worker.remembered("update", "run", "run-0")
        assert worker.alive
        assert await worker.remembered("update", "run", "run-0") == (Remembered(version=3),)
        await worker.close()

    asyncio.run(story())


def test_work_that_takes_too_long_to_say_is_refused_and_the_child_works_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        program = f"{READY}; {HEAR}; {say(DONE)}; sys.stdin.read()"
        worker = await started(tmp_path, monkeypatch, program)
        monkeypatch.setattr(worker_module, "MAX_LINE_BYTES", 100)
        with pytest.raises(WorkRefused, match=r"takes \d+ bytes to say; .* 100 at most"):
            await worker.remembered("update", "run" * 20, "run-0")
        assert await worker.remembered("update", "run", "run-0") == (Remembered(version=3),)
        await worker.close()

    asyncio.run(story())


def test_a_childs_progress_is_handed_on_and_a_closed_one_is_asked_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = say(ProgressMessage(tokens=3), ProgressMessage(tokens=8), DONE)
    question = AskRemembered(kind="update", run="run", folder="run-0")
    seen: list[int] = []

    async def story() -> None:
        program = f"{READY}; {HEAR}; {progress}; sys.stdin.read()"
        worker = await started(tmp_path, monkeypatch, program)
        assert await worker.work(question, FOREVER_S, seen.append) == DONE
        await worker.close()
        with pytest.raises(WorkerLost, match="input is closed"):
            await worker.work(question, FOREVER_S, seen.append)

    asyncio.run(story())
    assert seen == [3, 8]


def test_a_child_is_ready_with_the_protections_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"import sys; {HEAR}; {say(Ready(protections=('network', 'files')))}"

    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, f"{program}; sys.stdin.read()")
        assert worker.protections == ("network", "files")
        await worker.close()
        assert not worker.alive

    asyncio.run(story())


def noting_its_number(folder: Path) -> str:
    """A program's statement, and the file that then holds its process number."""
    place = str(folder / "number")
    aside = f"{place}.partial"
    write = f"open({aside!r}, 'w').write(str(os.getpid())); os.rename({aside!r}, {place!r})"
    return f"import os, sys, time; {write}"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("sys.exit(3)", r"did not start \(the child ended with code 3\); see .*log"),
        (say(ProgressMessage(tokens=1)), "said progress before it was ready"),
        ("print('nonsense', flush=True)", "did not start"),
        ("pass", r"did not start \(time is up\)"),
    ],
)
def test_a_child_that_does_not_come_up_is_ended_and_its_log_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, problem: str
) -> None:
    limit_s = 1.0 if words == "pass" else FOREVER_S
    monkeypatch.setattr("archipel.node.worker.START_LIMIT_S", limit_s)
    program = f"{noting_its_number(tmp_path)}; {words}; time.sleep({FOREVER_S})"

    async def story() -> None:
        with pytest.raises(WorkerLost, match=problem):
            await started(tmp_path, monkeypatch, program)
        number = tmp_path / "number"  # absent if even the interpreter did not come up in time
        assert not number.exists() or is_gone(int(number.read_text()))

    asyncio.run(story())


def test_a_start_that_was_dropped_leaves_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"{noting_its_number(tmp_path)}; time.sleep({FOREVER_S})"

    async def story() -> None:
        starting = asyncio.create_task(started(tmp_path, monkeypatch, program))
        await until((tmp_path / "number").exists)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert is_gone(int((tmp_path / "number").read_text()))

    asyncio.run(story())


def test_whatever_a_child_started_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested = f"{noting_its_number(tmp_path)}; time.sleep({FOREVER_S})"
    start = f"import subprocess; subprocess.Popen([sys.executable, '-c', {nested!r}])"

    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, f"{READY}; {start}; sys.stdin.read()")
        await until((tmp_path / "number").exists)
        await worker.kill()
        await until(lambda: is_gone(int((tmp_path / "number").read_text())))

    asyncio.run(story())


def test_a_child_may_end_by_itself_and_is_ended_if_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farewell = tmp_path / "farewell"
    polite = f"{READY}; sys.stdin.read(); open({str(farewell)!r}, 'w').close()"

    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, polite)
        await worker.close()
        assert farewell.exists()
        assert not worker.alive
        monkeypatch.setattr(worker_module, "TERM_LIMIT_S", 0.05)
        deaf = await started(tmp_path, monkeypatch, f"{READY}; time.sleep({FOREVER_S})")
        await deaf.close()
        await until(lambda: not deaf.alive)

    asyncio.run(story())


def test_a_child_knows_nothing_of_its_owners_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWNERS_SECRET", "hunter2")
    seen = tmp_path / "seen"
    tell = f"import os; open({str(seen)!r}, 'w').write(repr(dict(os.environ)))"

    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, f"{tell}; {SILENT}")
        await worker.close()

    asyncio.run(story())
    assert "hunter2" not in seen.read_text()


@pytest.mark.parametrize(("ranks", "starter"), [(1, None), (3, "torch.distributed.run")])
def test_one_child_is_started_as_it_is_and_several_ranks_by_torchrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: int, starter: str | None
) -> None:
    python, told = tmp_path / "python", tmp_path / "told"
    ready = to_line(Ready(protections=())).decode().strip()
    python.write_text(f"#!/bin/sh\necho \"$@\" > '{told}'\nread line\necho '{ready}'\ncat\n")
    python.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(python))
    setup = ready_home(settings(tmp_path, "http://lab"), ())

    async def story() -> None:
        path = {"PATH": os.defpath}
        worker = await Worker.start(setup, path, tmp_path / "log", Ranks(ranks))
        await worker.close()

    asyncio.run(story())
    words = told.read_text().split()
    if ranks > 1:
        hosts, number, world, _ = [words.pop() for _ in range(4)][::-1]
        assert (hosts, number, world) == ("1", "${local_rank}", "3")
        assert words.pop() == to_line(setup).decode().strip()
    assert (starter in words) == (ranks > 1)
    assert ("--nproc-per-node=3" in words) == (ranks == 3)
    assert words[-1].startswith("archipel.work.")
