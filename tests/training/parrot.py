"""An environment for any model: it answers whatever was said, as often as it is told to, and pays for vowels."""

from collections.abc import Sequence

from archipel.model.tool_calls import Call
from archipel.training.environments.episodic import Turn
from archipel.training.environments.task import Task


class Parrot:
    """Says back the first two characters, turned around, `times` times; `answer` replaces that."""

    tools = ()
    supervised_floor = None

    def __init__(self, times: int = 2, answer: str | None = None) -> None:
        self._times, self._answer = times, answer

    def task(self, split: str, index: int) -> Task:
        return Task(index, split, "abcdefghij"[index % 10] + "x:")

    def reply(self, task: Task, turns: Sequence[Turn]) -> tuple[str, ...] | None:
        if len(turns) > self._times:
            return None
        said = turns[-1].text[:2] if self._answer is None else self._answer
        return (said[::-1] + task.prompt[0],)

    def reward(self, task: Task, turns: Sequence[Turn], finished: bool) -> float:
        text = "".join(turn.text for turn in turns)
        return sum(text.count(each) for each in "aeiou") / max(1, len(text)) if finished else 0.0

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        return self.reward(task, (Turn(completion),), finished)

    def supervised(self, index: int) -> None:
        return None

    def demonstration(self, index: int) -> tuple[Task, tuple[str | Call, ...]] | None:
        return None
