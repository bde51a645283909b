"""Programs that a model wrote, run for their output: the environment of a grading process that holds nothing else.

Law: a program never shares a process with what judges it, nor with a task or its answer: what it prints is all that
anybody takes from it, so a program that forges the answer of its cell forges its own output and nothing more.
"""

import contextlib
import io
import json
import sys
from typing import Any

from archipel.training.environments.judgement import MAX_SAID_CHARS, Judgement
from archipel.training.environments.task import Task


class Programs:
    """Each "completion" is a program and its input, as JSON."""

    supervised_floor = None

    def task(self, split: str, index: int) -> Task:
        """There is none."""
        return Task(index=index, split=split, prompt="")

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """Programs are not graded."""
        return 0.0

    def judge(
        self, task: Task, completion: str, finished: bool, replies: tuple[str, ...] | None
    ) -> Judgement:
        """What the program printed, its own error last; to be called in a cell alone."""
        asked = json.loads(completion)
        return Judgement(said=_output(asked["text"], asked["input"]))

    def supervised(self, index: int) -> None:
        """Nothing is taught."""


def make(*_: Any) -> Programs:
    """As `make_environment`."""
    return Programs()


def _output(source: str, given: str) -> str:
    printed = io.StringIO()
    sys.stdin = io.StringIO(given)
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(source, "<program>", "exec"), {"__name__": "__main__"})  # noqa: S102  a cell is for this
        except SystemExit:
            pass
        except BaseException as error:  # noqa: BLE001  (it is what the program said)
            printed.write(f"\n{type(error).__name__}: {error}")
    return printed.getvalue()[:MAX_SAID_CHARS]
