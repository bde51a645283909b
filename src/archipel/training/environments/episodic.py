"""Environments that answer: tasks of several turns, with tools perhaps.

Parts: `Turn`, the `Episodic` protocol. Law: `reply` is a pure function of the task and of what the model said so
far, so that whoever has the tokens can play an episode again; it evaluates nothing that a model says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from archipel.model.tool_calls import Call, Tool
from archipel.training.environments.task import Environment, Task

MAX_MESSAGE_CHARS = 16_384
"""Of one answer; longer ones are cut off."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model said in one turn."""

    text: str
    calls: tuple[Call, ...] = ()
    fault: str = ""
    """Why what was meant as a call is none."""

    def to_json(self) -> list[Any]:
        """For a pipe."""
        return [self.text, [[each.name, dict(each.arguments)] for each in self.calls], self.fault]

    @classmethod
    def from_json(cls, told: Sequence[Any]) -> Self:
        """What `to_json` wrote."""
        text, calls, fault = told
        return cls(text, tuple(Call(name, arguments) for name, arguments in calls), fault)


@runtime_checkable
class Episodic(Environment, Protocol):
    """An environment whose tasks take several turns."""

    tools: tuple[Tool, ...]
    """What the model may call."""

    def reply(self, task: Task, turns: Sequence[Turn]) -> tuple[str, ...] | None:
        """The answer to the last of `turns`: a text for each of its calls, or one; None: the episode is over."""

    def reward(self, task: Task, turns: Sequence[Turn], finished: bool) -> float:
        """A reward in [0, 1] for a whole episode; `finished`: it ended because `reply` said so."""

    def demonstration(self, index: int) -> tuple[Task, tuple[str | Call, ...]] | None:
        """The `index`-th episode of the supervised stage: a task and what to say in each turn; None if there is
        no such stage.
        """
