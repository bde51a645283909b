"""The grading process: `python -m archipel.work.grading.process`, started by `training.grading.Grader`.

It speaks JSON lines over its standard streams. First comes the setup {factory, section, seed, secret}; the
answer is {"ready", "protections", "missing"} or {"detail"}. Then comes a batch: {"count", "limit_s", "budget_s"} and
as many lines [number, split, index, completion, finished, turns, replies]; each is answered by
{"number", ...} with a judgement's fields (`judgement`), or with {"fault", "detail"}, in the order in which they are graded.

Laws: it makes the environment, confines itself and makes tasks, but no completion is graded here: that is
for cells. Each grading gets a cell of its own, unless its grader evaluates no text and keeps nothing: ours of
`PURE`, by test, and a data set's own where its code and the task's entry say so (`plain_code`). Where the machine cannot confine a
cell, only `PURE` ones are graded. It loads no tensor library, and holds nothing of its parent but what came
down the pipe.
"""

import contextlib
import functools
import importlib
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.drawers import Drawers
from archipel.training.environments.episodic import Episodic, Turn
from archipel.training.environments.guess import Guess
from archipel.training.environments.jsonl import Jsonl
from archipel.training.environments.judgement import Judgement, has_judge
from archipel.training.environments.python_turns import PythonEpisodes
from archipel.training.environments.reasoning_gym import ReasoningGym
from archipel.training.environments.secret_order import SecretOrder
from archipel.training.environments.task import Environment
from archipel.work.grading.cell import (
    CONFINED,
    Answer,
    Cell,
    CellLost,
    ParentGone,
    Question,
    Reaper,
    Walls,
    describe,
)
from archipel.work.grading.pages import fold
from archipel.work.grading.plain_code import holds_plain_values, is_plain
from archipel.work.grading.rounds import Allotment, graded
from archipel.work.grading.talk import Talk
from archipel.work.sandbox import Limits, restrict
from archipel.work.sandbox.runtime import readable_paths

PURE: frozenset[type] = frozenset({SecretOrder, Jsonl, Drawers, Guess})
"""Their `grade` compares text with text: nothing in it evaluates, and it writes to nothing that lasts."""
MAX_BYTES = 4 * 2**30
"""Memory of the process, and so of what an environment may hold."""
MAX_THREADS = 128
"""Of this process and its cells together."""
MAX_OPEN_FILES = 256
MAX_CACHED_TASKS = 4096
HARMLESS = "0"
"""Graded once before any stranger's text, like the task's own answer, so that what a grader imports or
computes at first use is there already in every cell."""


class CannotConfine(RuntimeError):
    """Grading a text that may be evaluated takes more than this machine offers."""


class Grading:
    """An environment, ready to grade in cells."""

    def __init__(self, setup: dict[str, Any]) -> None:
        """Make the environment, then give up everything that graders do not need.

        Raises:
            CannotConfine: see the law above.
            Exception: whatever the environment raises.
        """
        known = set(sys.modules)
        self._environment: Environment = _make_environment(setup)
        self._judges = self._environment if has_judge(self._environment) else None
        self.is_ours = is_ours = type(self._environment) in PURE
        """It compares texts and evaluates none."""
        self._shares = _sharing(self._environment, is_ours)
        self._task = functools.lru_cache(MAX_CACHED_TASKS)(self._environment.task)
        if not is_ours:
            self._warm_up()
            fold()
        readable = _files_of(sorted(set(sys.modules) - known))
        limits = Limits(
            open_files=MAX_OPEN_FILES,
            threads=MAX_THREADS,
            may_start_processes=True,  # cells; they may not
            dies_with_parent=False,  # any thread may have started it, and its input ends anyway
        )
        report = restrict(limits, readable=readable)
        self._walls = Walls(report, readable)
        self.protections = self._walls.holding(report)
        self.missing = sorted(CONFINED - set(self.protections))
        if self.missing and not is_ours:
            raise CannotConfine(
                f"graders of {setup['section']['name']!r} may evaluate what a model says, and this "
                f"machine does not confine them ({', '.join(self.missing)} missing; "
                f"{'; '.join(report.reasons) or 'no reason given'}); grade on Linux 5.13 or newer "
                "with Landlock and seccomp"
            )
        self._reaper = Reaper()

    def batch(
        self, questions: Sequence[Question], allotment: Allotment, parent: int
    ) -> Iterator[tuple[int, Answer]]:
        """Answers by number, in the order in which they come. Raises ParentGone."""
        ready = []
        for question in questions:
            fault = self._fault_of(question)
            if fault is None:
                ready.append(question)
            else:
                yield question.number, {"fault": "exception", "detail": fault}

        def attempt(
            asked: Sequence[Question], limit_s: Callable[[int], float]
        ) -> Iterator[tuple[Question, Answer | None]]:
            return self._attempt(asked, limit_s, parent)

        for question, answer in graded(ready, allotment, attempt, time.monotonic):
            cut_off = {"fault": "timeout", "detail": "it did not end in its time"}
            yield question.number, cut_off if answer is None else answer

    def _attempt(
        self, questions: Sequence[Question], limit_s: Callable[[int], float], parent: int
    ) -> Iterator[tuple[Question, Answer | None]]:
        """In one cell those that may share it, each other in its own; after a lost one comes a new one."""
        place = 0
        while place < len(questions):
            shared = list(takewhile(self._shares, questions[place:]))
            stretch = shared or questions[place : place + 1]
            for question, answer in self._stretch(stretch, limit_s, place, parent):
                yield question, answer
                place += 1

    def _stretch(
        self,
        questions: Sequence[Question],
        limit_s: Callable[[int], float],
        start: int,
        parent: int,
    ) -> Iterator[tuple[Question, Answer | None]]:
        """Answers of one cell: all, or those up to the question that loses it."""
        allowed_s = limit_s(start)
        if allowed_s <= 0:
            yield questions[0], None
            return
        cpu_s = math.ceil(2 * allowed_s * len(questions)) + 2  # for what hides from our clock
        try:
            cell = Cell(questions, self._grade, self._walls, cpu_s)
        except OSError:  # cells that are ending still hold what this one needs
            self._reaper.wait()
            cell = Cell(questions, self._grade, self._walls, cpu_s)
        try:
            for place, question in enumerate(questions):
                try:
                    yield question, cell.answer(limit_s(start + place), parent, time.monotonic)
                except CellLost as lost:
                    yield question, _lost(str(lost))
                    return
        finally:
            self._reaper.take(cell.end())

    def _grade(self, question: Question) -> Judgement:
        task = self._task(question.split, question.index)
        given = (task, question.completion, question.finished)
        if isinstance(self._environment, Episodic):
            turns = [Turn.from_json(each) for each in question.turns] or [Turn(question.completion)]
            if isinstance(self._environment, PythonEpisodes):
                return self._environment.judged(task, turns, question.finished)
            return Judgement(float(self._environment.reward(task, turns, question.finished)))
        if self._judges is not None:
            return self._judges.judge(*given, question.replies)
        return Judgement(float(self._environment.grade(*given)))

    def _fault_of(self, question: Question) -> str | None:
        """Makes the task here, where all cells find it; no completion takes part in it."""
        try:
            self._task(question.split, question.index)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is this grading's)
            return describe(error)
        return None

    def _warm_up(self) -> None:
        with contextlib.suppress(Exception):  # a fault of this task shows again where it counts
            task = self._task("train", 0)
            for text in (HARMLESS, str(task.detail.get("answer", HARMLESS))):
                self._environment.grade(task, text, True)


def serve() -> None:
    """Read the setup, then one batch after the other; the whole of it before any answer."""
    talk = Talk()
    _bound_memory()
    with contextlib.suppress(ParentGone, BrokenPipeError):  # then there is nobody to tell
        _serve(talk)


def _serve(talk: Talk) -> None:
    if (setup := talk.hear()) is None:
        return
    try:
        grading = Grading(setup)
    except Exception as error:  # noqa: BLE001  (whatever it is, the parent must hear of it)
        talk.say(detail=describe(error))
        return
    talk.say(ready=True, protections=grading.protections, missing=grading.missing)
    while (header := talk.hear()) is not None:
        questions = talk.hear_questions(header["count"])
        allotment = Allotment(header["limit_s"], header["budget_s"])
        # Where a grading might end this process, those before it have been told.
        tell = talk.say_soon if grading.is_ours else talk.say
        for number, answer in grading.batch(questions, allotment, talk.parent):
            tell(number=number, **answer)
        talk.say_all()


def _lost(cause: str) -> Answer | None:
    return None if cause == "timeout" else {"fault": cause, "detail": "its cell was lost"}


def _make_environment(setup: dict[str, Any]) -> Environment:
    module, _, name = setup["factory"].partition(":")
    make: Callable[..., Environment] = getattr(importlib.import_module(module), name)
    secret = None if setup["secret"] is None else bytes.fromhex(setup["secret"])
    return make(EnvironmentSection.model_validate(setup["section"]), setup["seed"], secret)


def _sharing(environment: Environment, is_ours: bool) -> Callable[[Question], bool]:
    """Whether a question may share a cell with others; asked of tasks that were made already."""
    if is_ours:
        return lambda _: True
    if type(environment) is not ReasoningGym or not is_plain(environment.foreign_scorer):
        return lambda _: False

    @functools.lru_cache(MAX_CACHED_TASKS)
    def is_plain_entry(split: str, index: int) -> bool:
        return holds_plain_values(environment.foreign_entry(split, index))

    return lambda question: is_plain_entry(question.split, question.index)


def _files_of(modules: Sequence[str]) -> list[Path]:
    """Where these modules lie, so that they may import more of themselves while they grade."""
    allowed = list(readable_paths())
    places: list[Path] = []
    for module in [sys.modules[name] for name in modules if "." not in name]:
        places += map(Path, getattr(module, "__path__", [getattr(module, "__file__", None) or "/"]))
    return [
        place
        for place in places
        if place != Path("/") and not any(place.is_relative_to(path) for path in allowed)
    ]


def _bound_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MAX_BYTES if hard == resource.RLIM_INFINITY else min(hard, MAX_BYTES)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    serve()
    os._exit(0)  # what packages set up for the end could not be done from here any more
