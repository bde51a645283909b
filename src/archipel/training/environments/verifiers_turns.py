"""Tasksets of the `verifiers` interface whose tasks take several turns: with tools, or with a user that is code.

Law: what was said is the state; an episode that is not at hand any more is played again from its first turn. Only what
`verifiers_play` can play as their package does is taken, the rest is refused by name before anything is trained.
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Sequence

from archipel.model.tool_calls import Call, Tool
from archipel.training.environments.episodic import Turn
from archipel.training.environments.parameters import Scalar
from archipel.training.environments.task import InvalidEnvironment, Task, check_place
from archipel.training.environments.verifiers import Verifiers
from archipel.training.environments.verifiers_play import Play, Rules, played

MAX_HELD = 256
"""Episodes at hand; another one is played again when it is asked about."""

Key = tuple[str, int, tuple[str, ...]]
"""Split, number and all that was said."""


def from_taskset(values: dict[str, Scalar]) -> Verifiers:
    """The taskset's tasks: of one turn, or of several."""
    made = Verifiers(values)
    return made if made.rules is None else VerifiersEpisodes(made)


class VerifiersEpisodes(Verifiers):
    """The taskset of `made`, whose tasks take several turns."""

    def __init__(self, made: Verifiers) -> None:
        self.__dict__.update(made.__dict__)
        if made.rules is None:
            raise InvalidEnvironment("these tasks take one turn each")
        self._rules: Rules = made.rules
        self._held: OrderedDict[Key, Play] = OrderedDict()
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}
        self._set_up: set[int] = set()
        self.tools: tuple[Tool, ...] = tuple(
            each.tool for each in self._rules.handles(self.theirs("train", 0))
        )

    def task(self, split: str, index: int) -> Task:
        """As of one turn; the prompt is all that stands before the model's first."""
        check_place(split, index)
        theirs, play = self.theirs(split, index), self._begun(split, index)
        self._hold((split, index, ()), play)
        return Task(index, split, play.opening, {"key": theirs.key}, f"{split}/{index}")

    def reply(self, task: Task, turns: Sequence[Turn]) -> tuple[str, ...] | None:
        """What their tools or their user answer to the last turn."""
        said = tuple(turn.text for turn in turns)
        before = (task.split, task.index, said[:-1])
        play = self._held.pop(before, None)
        if play is None:
            play = self._begun(task.split, task.index)
            answer = played(play, turns)
        else:
            answer = play.hear(turns[-1])
        if answer is None:
            play.close()
        else:
            self._hold((task.split, task.index, said), play)
        return answer

    def reward(self, task: Task, turns: Sequence[Turn], finished: bool) -> float:
        """The task's own reward for the whole episode; 0 for one that was cut off.

        Raises:
            InvalidEnvironment: the task records no reward without a machine to run on.
        """
        if not finished:
            return 0.0
        play = self._begun(task.split, task.index)
        if played(play, turns) is not None:
            play.close()
            return 0.0
        self._loop().run_until_complete(self.theirs(task.split, task.index).score(play.trace))
        return self.recorded(self.theirs(task.split, task.index), play.trace)

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """An episode of one turn."""
        return self.reward(task, (Turn(completion),), finished)

    def demonstration(self, index: int) -> tuple[Task, tuple[str | Call, ...]] | None:
        """Tasksets hold rewards, no worked answers."""

    def _begun(self, split: str, index: int) -> Play:
        loop = self._loop()
        for each in self._rules.shared:
            if id(each) not in self._set_up:
                loop.run_until_complete(each.setup())
                self._set_up.add(id(each))
        return Play(self.theirs(split, index), self._rules, loop)

    def _hold(self, key: Key, play: Play) -> None:
        older = self._held.pop(key, None)
        if older is not None:
            older.close()
        self._held[key] = play
        while len(self._held) > MAX_HELD:
            self._held.popitem(last=False)[1].close()

    def _loop(self) -> asyncio.AbstractEventLoop:
        """One for each process: a forked one has none of its parent's."""
        if os.getpid() not in self._loops:
            self._loops[os.getpid()] = asyncio.new_event_loop()
            self._held.clear()
        return self._loops[os.getpid()]
