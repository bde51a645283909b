"""Whatever work raises, a child answers: with one sentence, and with whose fault it was."""

import errno
import io
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from archipel import source_environment
from archipel.training.environments.jsonl import read_problems
from archipel.work import child
from archipel.work.child import Child
from archipel.work.kind import Kind, WorkFailed, has_nothing_to_end, remembers_nothing
from archipel.work.messages import Done, Failed, read_from_child, to_line
from work.test_child import model, rollout_work, setup  # noqa: F401  a fixture


@pytest.fixture(autouse=True)
def _no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an emoji in a log cannot travel from one test process to another."""
    monkeypatch.setattr(child.logger, "disabled", True)


def unreadable() -> None:
    read_problems(Path("gone.jsonl"))


def endless() -> None:
    endless()


def too_large() -> None:
    torch.empty(2**48)


def raising(error: BaseException) -> Any:
    def act() -> None:
        raise error

    return act


FAULTS = {
    "work": [
        (raising(WorkFailed("the chain is broken")), "the chain is broken"),
        (unreadable, "cannot read gone.jsonl: No such file or directory"),
        (endless, "RecursionError: maximum recursion depth"),
        (raising(SystemExit(3)), "ended its own process: 3"),
        (raising(FileNotFoundError(errno.ENOENT, "no such file", "x")), "no such file"),
        (raising(ValueError("half an emoji \ud83d")), "ValueError: half an emoji \\ud83d"),
        (raising(KeyError("x" * 10_000)), "KeyError"),
    ],
    "machine": [
        (raising(MemoryError()), "out of memory: lower the load"),
        (too_large, "out of memory: lower the load"),
        (raising(OSError(errno.ENOMEM, "Cannot allocate memory")), "out of memory"),
    ],
    None: [
        (raising(OSError(errno.ENOSPC, "No space left on device")), "make room on the disk"),
        (raising(SafetensorError("Error: No space left on device (os error 28)")), "make room"),
        (raising(OSError("cannot write 1.safetensors: I/O error")), "make room on the disk"),
    ],
}
CASES = [(fault, act, words) for fault, cases in FAULTS.items() for act, words in cases]


@pytest.mark.parametrize(("fault", "act", "words"), CASES, ids=[case[2][:30] for case in CASES])
def test_every_exception_is_answered_with_whose_fault_it_was(
    tmp_path: Path,
    model: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    fault: str | None,
    act: Any,
    words: str,
) -> None:
    answers = io.BytesIO()
    child = Child(setup(tmp_path, "rollout"), answers)
    honest = child._kind("rollout")
    monkeypatch.setitem(child._kinds, "rollout", kind_that(act))
    child.say(child.answer(rollout_work(tmp_path, model)))
    told = read_from_child(answers.getvalue())
    assert isinstance(told, Failed)
    assert told.fault == fault
    assert words in told.reason
    assert len(told.reason) <= 2000
    monkeypatch.setitem(child._kinds, "rollout", honest)
    assert isinstance(child.answer(rollout_work(tmp_path, model, 2)), Done)


def test_an_answer_that_no_line_can_hold_is_a_failure_of_the_work(tmp_path: Path) -> None:
    answers = io.BytesIO()
    child = Child(setup(tmp_path, "rollout"), answers)
    child.say(Done(files={}, values={"policy": object()}))
    told = read_from_child(answers.getvalue())
    assert isinstance(told, Failed)
    assert told.fault == "work"


def kind_that(act: Any) -> Kind:
    def run(spec: Any, context: Any, progress: Any) -> Any:
        act()
        raise AssertionError("it should have raised")

    return Kind(run=run, remembers=remembers_nothing, close=has_nothing_to_end, shared=False)


@pytest.mark.parametrize("module", ["archipel.work.child", "archipel.work.grading.process"])
def test_a_process_whose_parent_died_at_its_start_ends_without_a_word(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=source_environment(),
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_child_that_nobody_reads_any_more_ends_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    answers = os.fdopen(writer, "wb")
    line = to_line(setup(tmp_path, "rollout"))
    monkeypatch.setattr(child, "private_output", lambda: answers)
    monkeypatch.setattr(child, "confine", lambda setup: ())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line)))
    child.serve()
    with suppress(BrokenPipeError):
        answers.close()
