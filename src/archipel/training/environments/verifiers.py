"""Tasksets of the `verifiers` interface (extra `verifiers`, its v1 API), one turn each.

A taskset is a Python module that exports one `Taskset`; its tasks bring prompts and decorated
reward functions. A completion is graded as a trace of one exchange; the reward is the weighted sum
that the task records. Refused: tools, containers, hooks and rewards that need a machine to run on.
Laws: a reward outside [0, 1] is a fault of the taskset, never rescaled here. Naming a module runs
its code with the grader's rights: a recipe is as trusted as its author.
"""

import asyncio
from itertools import islice
from typing import Any

from archipel.training.environments.parameters import Parameters, Scalar
from archipel.training.environments.task import (
    SPLITS,
    InvalidEnvironment,
    Task,
    check_place,
    split_of,
)

MAX_TASKS = 100_000
"""Tasks read from a taskset; an infinite one is cut here."""


class Verifiers:
    """One taskset.

    Parameters: `taskset` (the module's name), `max_tasks`, and the taskset's own settings.
    """

    supervised_floor = None

    def __init__(self, values: dict[str, Scalar]) -> None:
        settings = Parameters("verifiers", values)
        name = settings.text("taskset")
        limit = settings.integer("max_tasks", MAX_TASKS, low=1, high=MAX_TASKS)
        self._parts: dict[str, list[Any]] = {split: [] for split in SPLITS}
        for theirs in islice(_load(name, settings.rest()), limit):
            _refuse_more_than_one_turn(theirs)
            self._parts[split_of(_prompt(theirs))].append(theirs)
        for split, part in self._parts.items():
            if not part:
                raise InvalidEnvironment(f"taskset {name!r} leaves no task for the {split} part")

    def task(self, split: str, index: int) -> Task:
        """Tasks in the taskset's own order; the prompt's hash decides the split."""
        check_place(split, index)
        theirs = self._theirs(split, index)
        return Task(index=index, split=split, prompt=_prompt(theirs), detail={"key": theirs.key})

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """The task's own reward; 0 for an unfinished completion.

        Raises:
            InvalidEnvironment: the task records no reward without a machine to run on.
        """
        if not finished:
            return 0.0
        theirs = self._theirs(task.split, task.index)
        trace = _one_exchange(theirs, completion)
        asyncio.run(theirs.score(trace))
        if not any(reward is not None for reward in trace.rewards.values()):
            raise InvalidEnvironment(
                f"{type(theirs).__name__} gives no reward for a text alone; it cannot be used here"
            )
        return float(trace.reward)

    def supervised(self, index: int) -> None:
        """Tasksets hold rewards, no worked answers."""

    def _theirs(self, split: str, index: int) -> Any:
        part = self._parts[split]
        return part[index % len(part)]


def _load(name: str, values: dict[str, Scalar]) -> Any:
    try:
        from verifiers.v1.utils import loaders
    except ImportError:
        raise InvalidEnvironment(
            "the environment 'verifiers' needs an extra package: pip install 'archipel[verifiers]'"
        ) from None
    try:
        make, config = loaders.taskset_class(name), loaders.taskset_config_type(name)
        return iter(make(config(id=name, **values)))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidEnvironment(f"environment.parameters.taskset {name!r}: {error}") from None


def _refuse_more_than_one_turn(theirs: Any) -> None:
    import verifiers.v1 as vf

    kind = type(theirs)
    hooks = any(getattr(kind, hook) != getattr(vf.Task, hook) for hook in ("setup", "finalize"))
    demands = {
        "needs a container": kind.NEEDS_CONTAINER,
        "offers tools": bool(kind.toolsets(theirs.config)),
        "prepares a machine in setup() or finalize()": hooks,
        "leaves the first word to a user": not theirs.data.prompt,
    }
    for reason, demanded in demands.items():
        if demanded:
            raise InvalidEnvironment(
                f"task {kind.__name__} {reason}; only single-turn text tasks are supported"
            )


def _prompt(theirs: Any) -> str:
    """One text: the system prompt, an empty line, the user's prompt."""
    parts = (theirs.data.system_prompt, theirs.data.prompt_text)
    return "\n\n".join(part for part in parts if part)


def _one_exchange(theirs: Any, completion: str) -> Any:
    """The trace of a finished rollout: the prompt's messages and the model's one reply."""
    import verifiers.v1 as vf
    from verifiers.v1.state import state_cls

    data = theirs.data
    said = [vf.SystemMessage(content=data.system_prompt)] if data.system_prompt else []
    said += [vf.UserMessage(content=data.prompt)] if isinstance(data.prompt, str) else data.prompt
    said.append(vf.AssistantMessage(content=completion))
    nodes = [
        vf.MessageNode(
            message=message, parent=place - 1 if place else None, sampled=place == len(said) - 1
        )
        for place, message in enumerate(said)
    ]
    return vf.Trace(
        task=vf.TraceTask(type=type(theirs).__name__, data=data, key=theirs.key, hash=theirs.hash),
        state=state_cls(type(theirs))(),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
        nodes=nodes,
        is_completed=True,
        ok=True,
        stop_condition="agent_completed",
    )
