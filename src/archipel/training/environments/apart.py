"""Tasks of foreign packages, made in a process of one fixed kind.

Such a package may iterate over sets, draw from a global generator or ask for the locale: then its tasks hang
on the hash seed and on what ran before, and a restarted learner would make other prompts, which graders take
for other tasks. So they are made where the environment and the hash seed are always the same: here by asking
a child process, and directly in a process that already is of this kind, as graders are.
Laws: every question has a deadline; the child holds no secret; it ends with whoever asks.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from archipel.model.tool_calls import Call, Tool
from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.episodic import Turn
from archipel.training.environments.task import Environment, InvalidEnvironment, Task, check_place

START_LIMIT_S = 180.0
"""Importing an environment's package may be slow on a busy machine."""
ANSWER_LIMIT_S = 120.0
MAX_REPLY_BYTES = 16 * 1024 * 1024
READ_BYTES = 65_536


class TaskProcessLost(RuntimeError):
    """The process that makes tasks does not answer; the next question starts another."""


def is_fixed_process() -> bool:
    """Whether this process has the hash seed that all tasks are made with (PYTHONHASHSEED=0)."""
    return not sys.flags.hash_randomization


def made_apart(
    section: EnvironmentSection, seed: int, make: Callable[[], Environment]
) -> Environment:
    """The environment that `make` makes, its tasks the same in every process.

    Raises:
        InvalidEnvironment: the section is not one that it can be made of.
        TaskProcessLost: the process does not start.
    """
    if is_fixed_process():
        return make()
    apart = Apart(section, seed)
    return apart if apart.tools_told is None else ApartEpisodic(apart)


class Apart:
    """An environment that lives in another process."""

    def __init__(self, section: EnvironmentSection, seed: int) -> None:
        self._name = section.name
        self._setup = {"section": section.model_dump(mode="json"), "seed": seed}
        self._lock = threading.Lock()
        self._talk: _Talk | None = None
        self._limit_s = section.time_limit_s
        with self._lock:
            told = self._running().told
        self._floor: float | None = told.get("floor")
        self.tools_told: list[Any] | None = told.get("tools")
        """Of an environment that answers turns."""

    @property
    def supervised_floor(self) -> float | None:
        """As the environment states it."""
        return self._floor

    def task(self, split: str, index: int) -> Task:
        """As the environment makes it in a fixed process."""
        check_place(split, index)
        prompt, detail = self.ask("task", split, index)
        return Task(index=index, split=split, prompt=prompt, detail=detail)

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """As the environment grades it, in that process; strangers' answers belong in a `Grader`."""
        return float(self.ask("grade", task.split, task.index, completion, finished))

    def supervised(self, index: int) -> tuple[str, str] | None:
        """As the environment makes it in a fixed process."""
        pair = self.ask("supervised", index)
        return None if pair is None else (pair[0], pair[1])

    def ask(self, *question: Any, limit_s: float | None = None) -> Any:
        """The reply to one question. Raises InvalidEnvironment, TaskProcessLost."""
        limit_s = ANSWER_LIMIT_S if limit_s is None else limit_s
        with self._lock:
            try:
                return self._running().ask(question, limit_s)["value"]
            except (OSError, KeyError, ValueError) as error:
                if isinstance(error, InvalidEnvironment):
                    raise
                self._drop()
                raise TaskProcessLost(
                    f"the process that makes the tasks of {self._name!r} gave no answer to "
                    f"{question[:3]!r:.80}: {error or type(error).__name__}"
                ) from None

    def _drop(self) -> None:
        if self._talk is not None:
            self._talk.end()
            self._talk = None

    def _running(self) -> "_Talk":
        if self._talk is None:
            self._talk = _Talk(self._setup)
        return self._talk


class ApartEpisodic(Apart):
    """One that answers turns."""

    def __init__(self, apart: Apart) -> None:
        self.__dict__.update(apart.__dict__)
        self.tools = tuple(Tool(*each) for each in apart.tools_told or ())

    def reply(self, task: Task, turns: Sequence[Turn]) -> tuple[str, ...] | None:
        """As the environment answers in that process.

        Raises:
            TaskProcessLost: not within the recipe's `time_limit_s` for each turn, which may have to be played again.
        """
        said = [turn.to_json() for turn in turns]
        limit_s = min(self._limit_s * len(turns), ANSWER_LIMIT_S)
        answer = self.ask("reply", task.split, task.index, said, limit_s=limit_s)
        return None if answer is None else tuple(map(str, answer))

    def reward(self, task: Task, turns: Sequence[Turn], finished: bool) -> float:
        """As the environment grades it, in that process; strangers' episodes belong in a `Grader`."""
        said = [turn.to_json() for turn in turns]
        return float(self.ask("reward", task.split, task.index, said, finished))

    def demonstration(self, index: int) -> tuple[Task, tuple[str | Call, ...]] | None:
        """As the environment shows it; the task is the one of that number."""
        shown = self.ask("demonstration", index)
        return None if shown is None else (self.task("train", index), tuple(map(str, shown)))


class _Talk:
    """One child and the conversation with it; ended when nobody holds it any more."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "archipel.training.environments.task_child"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_fixed_environment(),
                start_new_session=True,  # deaf to our Ctrl-C
            )
        self._rest = b""
        self.end = weakref.finalize(self, _end, process, self._line)
        try:
            self.told = self.ask(setup, START_LIMIT_S)
        except OSError as error:
            self.end()
            raise TaskProcessLost(f"the process that makes tasks did not start: {error}") from None

    def ask(self, question: Any, limit_s: float) -> dict[str, Any]:
        """The reply. Raises InvalidEnvironment as the child did, or OSError when it does not answer."""
        deadline_s = time.monotonic() + limit_s
        self._line.settimeout(limit_s)
        self._line.sendall(json.dumps(question).encode() + b"\n")
        received = bytearray(self._rest)
        while b"\n" not in received:
            self._line.settimeout(max(0.001, deadline_s - time.monotonic()))
            data = self._line.recv(READ_BYTES)
            if not data or len(received) > MAX_REPLY_BYTES:
                raise ConnectionError("it ended" if not data else "its reply is too long")
            received += data
        reply, _, self._rest = bytes(received).partition(b"\n")
        told = _told(reply)
        if told.get("blames_recipe"):
            raise InvalidEnvironment(told["detail"])
        if "detail" in told:
            raise ConnectionError(told["detail"])
        return told


def _told(reply: bytes) -> dict[str, Any]:
    """Raises ConnectionError: what others' code in that process said is no reply."""
    try:
        told = json.loads(reply)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise ConnectionError(f"it said {reply[:40]!r}, which is no reply")
    return told


def _end(process: subprocess.Popen[bytes], line: socket.socket) -> None:
    line.close()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()


def _fixed_environment() -> dict[str, str]:
    """The same in every process; nothing of this machine but where the modules are."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
        "PYTHONHASHSEED": "0",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "OMP_NUM_THREADS": "1",
    }
