"""A cell: a forked copy of the grading process that answers a few questions and ends.

Laws: what a text does to its cell ends with the cell, so the next cell is as fresh as the first; a cell
can open nothing for writing, start nothing, signal nothing, reach no network, and has no descriptor but
the end of a pipe on which its own answers are read, and nobody else's.
"""

import contextlib
import json
import math
import os
import resource
import select
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from archipel.training.environments.judgement import (
    MAX_LINE_BYTES,
    BadJudgement,
    Judgement,
    read_judgement,
)
from archipel.work.sandbox import Report, confinement, landlock, seccomp
from archipel.work.sandbox.runtime import plain_devices, readable_paths

MAX_ANSWER_BYTES = MAX_LINE_BYTES
READ_BYTES = 65_536
MAX_UNREAPED = 4
"""Cells that end while the next one works: taking one's memory apart takes as long as making it."""
MAX_CELL_BYTES = 2**30
"""Address space that a cell may have beyond that of the process that it was forked from."""
MAX_OPEN_FILES = 64
CONFINED = frozenset({"file_reads", "file_writes", "network", "processes", "no_new_processes"})
"""What must hold where a text may be evaluated."""
MAX_DESCRIPTOR = 1 << 20 if sys.platform.startswith("linux") else 4096
"""Linux closes a whole range at once; elsewhere each costs a call."""
ANSWERS = 3
"""The only descriptor of a cell beside the three to nowhere."""

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One completion of one task; `number` is its place in the batch."""

    number: int
    split: str
    index: int
    completion: str
    finished: bool
    turns: Sequence[Sequence[Any]] = ()
    """Of an episode (`Turn.to_json`)."""
    replies: tuple[str, ...] | None = None
    """To what this grading asked for the first time."""


class CellLost(Exception):
    """The cell gives no answer to the question at hand; the message is the cause that is counted."""


class ParentGone(Exception):
    """Nobody waits for answers any more."""


class Walls:
    """What each cell gives up beyond what this process gave up; prepared once, put up in each."""

    def __init__(self, report: Report, readable: Iterable[Path]) -> None:
        """report: what holds in this process. readable: what its graders need besides Python."""
        self._filter: bytes | None = None
        if report.system_calls:
            self._filter = seccomp.compiled(seccomp.Allowance(writing=False))
        self._max_bytes = _mapped_bytes() + MAX_CELL_BYTES
        self._ruleset: int | None = None
        if report.landlock_version:
            paths = (*readable_paths(), *plain_devices(), *readable)
            rules = [(path, landlock.READ) for path in paths if path != Path("/proc/self")]
            self._ruleset = landlock.prepared(rules, is_network_allowed=False)

    def holding(self, report: Report) -> tuple[str, ...]:
        """Protections that hold in a cell, where `report` is what holds in this process."""
        held = set(report.holding())
        if sys.platform.startswith("linux"):
            held |= {"memory", "cpu_time", "open_files", "file_size"}
        if self._filter is not None:
            held |= {"no_new_processes"}
        if self._filter is not None and report.file_reads:
            held |= {"file_writes", "processes"}
        return tuple(sorted(held))

    def put_up(self, cpu_s: int) -> None:
        """For good, in a cell. Raises OSError: the kernel refuses."""
        if sys.platform.startswith("linux"):
            confinement.die_with_parent()
        if self._ruleset is not None:
            landlock.enter(self._ruleset)
        for kind, bound in (
            (resource.RLIMIT_AS, self._max_bytes),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
            (resource.RLIMIT_CPU, cpu_s),
        ):
            _lower(kind, bound)
        if self._filter is not None:
            seccomp.install(self._filter)


Grade = Callable[[Question], Judgement]


class Cell:
    """One forked process and the answers it has not given yet."""

    def __init__(
        self,
        questions: Sequence[Question],
        grade: Grade,
        walls: Walls,
        cpu_s: int,
    ) -> None:
        """Raises OSError: no process can be forked at the moment."""
        self._answers, writer = os.pipe()
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self._answers)
            os.close(writer)
            raise
        if self._pid == 0:
            _live(questions, grade, walls, writer, cpu_s)
        os.close(writer)
        self._lines: list[bytes] = []
        self._incoming = b""

    def answer(self, limit_s: float, parent: int, now_s: Callable[[], float]) -> Answer:
        """The next one, at most `limit_s` seconds from now; `parent` is the descriptor we are asked on.

        Raises:
            CellLost: it ended, said what is no answer, or its time is up ("timeout").
            ParentGone: whoever asked has ended.
        """
        deadline_s = now_s() + limit_s
        while not self._lines:
            poll = select.poll()
            poll.register(self._answers, select.POLLIN)
            poll.register(parent, 0)  # told of its end only
            ready = dict(poll.poll(max(0.0, math.ceil((deadline_s - now_s()) * 1000))))
            if parent in ready:
                raise ParentGone
            if not ready:
                raise CellLost("timeout")
            self._read()
        return _checked(self._lines.pop(0))

    def end(self) -> int:
        """Kill it; returns the process to reap."""
        os.close(self._answers)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        return self._pid

    def _read(self) -> None:
        data = os.read(self._answers, READ_BYTES)
        if not data:
            raise CellLost("crash")
        *lines, self._incoming = (self._incoming + data).split(b"\n")
        if len(self._incoming) > MAX_ANSWER_BYTES:
            raise CellLost("garbled")
        self._lines += lines


class Reaper:
    """Ended cells, reaped while others work."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def take(self, pid: int) -> None:
        """Another one has been killed."""
        self._pids.append(pid)
        self.wait(MAX_UNREAPED)

    def wait(self, left: int = 0) -> None:
        """Until no more than `left` of them hold memory, threads and a place in the table."""
        while len(self._pids) > left:
            os.waitpid(self._pids.pop(0), 0)


def judged(question: Question, grade: Grade) -> Answer:
    """A judgement's fields, or {"fault", "detail"} when the grader fails: one reward of 0."""
    try:
        return grade(question).fields()
    except Exception as error:  # noqa: BLE001  (whatever it is, it is this grading's)
        return {"fault": "exception", "detail": describe(error)}


def describe(error: Exception) -> str:
    """An exception in one line, bounded."""
    return f"{type(error).__name__}: {error}"[:500]


def _live(
    questions: Sequence[Question],
    grade: Grade,
    walls: Walls,
    writer: int,
    cpu_s: int,
) -> NoReturn:
    """The cell's whole life; `os._exit` runs nothing that was set up to run at the end."""
    status = 1
    try:
        walls.put_up(cpu_s)
        os.dup2(1, 2)  # to nowhere, as standard input and output of this process
        os.dup2(writer, ANSWERS)
        os.closerange(ANSWERS + 1, MAX_DESCRIPTOR)
        for question in questions:
            os.write(ANSWERS, json.dumps(judged(question, grade)).encode() + b"\n")
        status = 0
    finally:
        os._exit(status)


def _mapped_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # started from a confined process, or no Linux
        return 4 * MAX_CELL_BYTES
    return pages * resource.getpagesize()


def _lower(kind: int, bound: int) -> None:
    _, hard = resource.getrlimit(kind)
    ceiling = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
    try:
        resource.setrlimit(kind, (ceiling, ceiling))
    except (ValueError, OSError):
        if sys.platform.startswith("linux"):
            raise  # elsewhere nothing is confined, and that was said


def _checked(line: bytes) -> Answer:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        raise CellLost("garbled") from None
    if not isinstance(answer, dict):
        raise CellLost("garbled")
    if "fault" in answer:
        told = {name: answer.get(name) for name in ("fault", "detail")}
        return {name: value for name, value in told.items() if isinstance(value, str)}
    try:
        return read_judgement(answer).fields()
    except BadJudgement:
        raise CellLost("garbled") from None
