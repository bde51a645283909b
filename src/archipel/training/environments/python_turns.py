"""Tasks of several turns from a Python file of one's own: `python` for files that define `reply` or `TOOLS`.

    reply(task, said) -> str | None             what is answered to the last of the model's turns; None: it is over
    TOOLS = {"name": function, ...}             what the model may call: function(task, said, **arguments) -> str,
                                                arguments being texts; a turn that calls nothing goes to `reply`,
                                                or ends the episode where there is none
    answer(task) -> [str, ...]                  turns to show in the supervised stage

`said` is the list of the model's turns so far, as texts; rewards and metrics get it in place of a completion. The
transcript is all the state there is: the file keeps none between calls. It runs at the trusted role alone, so it may
hold what nobody else should know.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archipel.model.tool_calls import Call, Tool
from archipel.training.environments.episodic import Turn
from archipel.training.environments.judgement import Judgement
from archipel.training.environments.parameters import Scalar
from archipel.training.environments.python import PythonRewards
from archipel.training.environments.task import InvalidEnvironment, Task

GIVEN = ("task", "said")
"""What every tool gets before its own arguments."""


def from_file(values: dict[str, Scalar]) -> PythonRewards:
    """The file's tasks: of one turn, or of several."""
    made = PythonRewards(values)
    if not made.defines("reply") and not made.defines("TOOLS"):
        return made
    return PythonEpisodes(made)


class PythonEpisodes(PythonRewards):
    """The file of `made`, whose tasks take several turns."""

    def __init__(self, made: PythonRewards) -> None:
        self.__dict__.update(made.__dict__)
        if self.defines("asks"):
            raise InvalidEnvironment(
                "a file with reply or TOOLS cannot define asks; remove one of them"
            )
        self._reply: Callable[..., Any] | None = self.own("reply")
        self._tools: Mapping[str, Callable[..., Any]] = _functions(self.own("TOOLS") or {})
        self.tools = tuple(_tool(name, function) for name, function in self._tools.items())

    def reply(self, task: Task, turns: Sequence[Turn]) -> tuple[str, ...] | None:
        """What the file answers: a text for each call, or one."""
        last, said = turns[-1], [turn.text for turn in turns]
        theirs = self.given(task)
        if last.fault:
            return (f"error: {last.fault}",)
        if last.calls:
            return tuple(
                _text(self._tools[each.name](theirs, said, **each.arguments), each.name)
                for each in last.calls
            )
        answer = None if self._reply is None else self._reply(theirs, said)
        return None if answer is None else (_text(answer, "reply"),)

    def judged(self, task: Task, turns: Sequence[Turn], finished: bool) -> Judgement:
        """Rewards and metrics over all that the model said."""
        if not finished:
            return Judgement(0.0)
        return self.file.judged(self.given(task), [turn.text for turn in turns], None)

    def reward(self, task: Task, turns: Sequence[Turn], finished: bool) -> float:
        """See `judged`."""
        return self.judged(task, turns, finished).reward or 0.0

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """An episode of one turn."""
        return self.reward(task, (Turn(completion),), finished)

    def demonstration(self, index: int) -> tuple[Task, tuple[str | Call, ...]] | None:
        """The file's own turns, if it gives any."""
        task = self.task("train", index)
        said = self.file.turns(self.given(task))
        return None if said is None else (task, tuple(said))

    def supervised(self, index: int) -> None:
        """Nothing of one turn (see `demonstration`)."""


def _functions(tools: Any) -> Mapping[str, Callable[..., Any]]:
    if not isinstance(tools, dict) or not all(map(callable, tools.values())):
        raise InvalidEnvironment(f"TOOLS is {tools!r:.80}; expected name -> function")
    return tools


def _tool(name: str, function: Callable[..., Any]) -> Tool:
    """Named and described as the function is."""
    parameters = list(inspect.signature(function).parameters)
    if tuple(parameters[:2]) != GIVEN:
        raise InvalidEnvironment(
            f"tool {name} takes {', '.join(parameters) or 'nothing'}; expected task, said and its own arguments"
        )
    return Tool(name, inspect.getdoc(function) or "", {each: each for each in parameters[2:]})


def _text(answer: Any, where: str) -> str:
    if not isinstance(answer, str) or not answer:
        raise ValueError(f"{where} answered {answer!r:.80}, expected a text that is not empty")
    return answer
