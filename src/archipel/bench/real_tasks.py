"""What a real pretrained model is asked to learn: questions that follow from two numbers, and shown examples.

Parts: `TASKS`, `write_questions` (the file that a recipe names), `shots` (how the format control shows what an
answer looks like). Law: nothing here depends on chance; which question is held out, the environment says.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NumberTask:
    """Questions about two whole numbers."""

    name: str
    low: int
    high: int
    sign: str
    answer: Callable[[int, int], int]
    asked: Callable[[int, int], bool]
    """Whether there is a question about these two."""

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Every question's numbers."""
        numbers = range(self.low, self.high + 1)
        return ((a, b) for a in numbers for b in numbers if self.asked(a, b))

    def question(self, a: int, b: int) -> str:
        """As the model is asked."""
        return f"What is {a} {self.sign} {b}?"

    def equation(self, a: int, b: int) -> str:
        """As a good answer looks."""
        return f"{a} {self.sign} {b} = {self.answer(a, b)}"


def _any(a: int, b: int) -> bool:
    return True


TASKS = {
    each.name: each
    for each in (
        NumberTask("sums", 1, 50, "+", lambda a, b: a + b, _any),
        NumberTask("long-sums", 10, 99, "+", lambda a, b: a + b, _any),
        NumberTask("differences", 1, 50, "-", lambda a, b: a - b, lambda a, b: a > b),
    )
}
"""By name. `sums` is the demo's."""

_SHOWN = ((12, 7), (35, 4), (28, 16))
"""Of the examples that the format control shows."""


def write_questions(task: NumberTask, path: Path) -> int:
    """Write every question with its answer, as the environment `jsonl` reads them; returns how many."""
    lines = [
        json.dumps({"question": task.question(a, b), "answer": f"#### {task.answer(a, b)}"})
        for a, b in task.pairs()
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def shots(task: NumberTask) -> list[dict[str, str]]:
    """Three questions and answers as turns of a chat: the form alone, shown and not trained."""
    return [
        turn
        for a, b in _SHOWN
        for turn in (
            {"role": "user", "content": task.question(a, b)},
            {"role": "assistant", "content": task.equation(a, b)},
        )
    ]
