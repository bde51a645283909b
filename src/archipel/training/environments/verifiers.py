"""Tasksets of the `verifiers` interface (extra `verifiers`, its v1 API); those of several turns: `verifiers_turns`.

A taskset is a Python module that exports one `Taskset`; its tasks bring prompts and decorated
reward functions. A completion is graded as a trace of one exchange; the reward is the weighted sum
that the task records. Refused: containers, hooks and rewards that need a machine to run on.
Laws: a reward outside [0, 1] is a fault of the taskset, never rescaled here. Naming a module runs
its code with the grader's rights: a recipe is as trusted as its author.
"""

import asyncio
from itertools import islice
from typing import Any

from archipel.extras import needs
from archipel.training.environments.parameters import Parameters, Scalar
from archipel.training.environments.task import (
    SPLITS,
    InvalidEnvironment,
    Task,
    check_place,
    split_of,
)
from archipel.training.environments.verifiers_play import Rules

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
        taskset = _load(name, settings.rest())
        self.rules: Rules | None = None
        """How episodes are played; None: tasks take one turn."""
        for number, theirs in enumerate(islice(iter(taskset), limit)):
            _refuse_what_needs_a_machine(theirs)
            if number == 0:
                self.rules = _rules_of(name, taskset, theirs)
            self._parts[split_of(_prompt(theirs) or theirs.key)].append(theirs)
        for split, part in self._parts.items():
            if not part:
                raise InvalidEnvironment(f"taskset {name!r} leaves no task for the {split} part")

    def task(self, split: str, index: int) -> Task:
        """Tasks in the taskset's own order; the prompt's hash decides the split."""
        check_place(split, index)
        theirs = self.theirs(split, index)
        return Task(index=index, split=split, prompt=_prompt(theirs), detail={"key": theirs.key})

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """The task's own reward; 0 for an unfinished completion.

        Raises:
            InvalidEnvironment: the task records no reward without a machine to run on.
        """
        if not finished:
            return 0.0
        theirs = self.theirs(task.split, task.index)
        trace = _one_exchange(theirs, completion)
        asyncio.run(theirs.score(trace))
        return self.recorded(theirs, trace)

    def recorded(self, theirs: Any, trace: Any) -> float:
        """What a task recorded as its reward. Raises InvalidEnvironment: nothing."""
        if not any(reward is not None for reward in trace.rewards.values()):
            raise InvalidEnvironment(
                f"{type(theirs).__name__} gives no reward for a text alone; it cannot be used here"
            )
        return float(trace.reward)

    def supervised(self, index: int) -> None:
        """Tasksets hold rewards, no worked answers."""

    def theirs(self, split: str, index: int) -> Any:
        """The task as the taskset made it."""
        part = self._parts[split]
        return part[index % len(part)]


def _load(name: str, values: dict[str, Scalar]) -> Any:
    try:
        from verifiers.v1.utils import loaders
    except ImportError:
        raise InvalidEnvironment(needs("the environment 'verifiers'", "verifiers")) from None
    try:
        make, config = loaders.taskset_class(name), loaders.taskset_config_type(name)
        return make(config(id=name, **values))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidEnvironment(f"environment.parameters.taskset {name!r}: {error}") from None


def _rules_of(name: str, taskset: Any, theirs: Any) -> Rules | None:
    """How the tasks are played; None: each takes one turn. Raises InvalidEnvironment: as nobody can here."""
    import verifiers.v1 as vf
    from verifiers.v1.configs.agent import agent_config_fields
    from verifiers.v1.session import hook_boundary
    from verifiers.v1.utils import loaders

    for hook in theirs.hooks("stop"):
        if hook_boundary(hook, allow_trace=True) is not vf.Trace:
            raise InvalidEnvironment(
                f"stop {hook.__name__} of task {type(theirs).__name__} looks at requests or responses; only at a trace "
                "can be looked here"
            )
    kind, shared = loaders.environment_class(name), list(type(taskset).toolsets(taskset.config))
    if kind is vf.SingleAgentEnv:
        has_turns = shared or type(theirs).toolsets(theirs.config) or theirs.hooks("stop")
        if not theirs.data.prompt:
            raise InvalidEnvironment(
                f"task {type(theirs).__name__} leaves the first word to a user, and its module brings no Env whose "
                "code is that user"
            )
        return Rules(None, "agent", shared) if has_turns else None
    try:
        config = loaders.env_config_type(name)(taskset={"id": name})
        agents = list(agent_config_fields(config))
        env = kind.__new__(kind)
        env.config, env.taskset = config, taskset
    except (TypeError, ValueError) as error:
        raise InvalidEnvironment(f"{kind.__name__} of {name!r}: {error}") from None
    if len(agents) != 1:
        raise InvalidEnvironment(
            f"{kind.__name__} of {name!r} has {len(agents)} agents ({', '.join(agents)}); only one can be trained here, "
            "with a user that is code"
        )
    demands = {
        hook for hook in ("finalize", "start") if getattr(kind, hook) is not getattr(vf.Env, hook)
    }
    if demands:
        raise InvalidEnvironment(
            f"{kind.__name__} of {name!r} defines {', '.join(sorted(demands))}(), which is not called here; judge in "
            "the task's own rewards"
        )
    return Rules(env, agents[0], shared)


def _refuse_what_needs_a_machine(theirs: Any) -> None:
    import verifiers.v1 as vf

    kind = type(theirs)
    hooks = any(getattr(kind, hook) != getattr(vf.Task, hook) for hook in ("setup", "finalize"))
    demands = {
        "needs a container": kind.NEEDS_CONTAINER,
        "prepares a machine in setup() or finalize()": hooks,
    }
    for reason, demanded in demands.items():
        if demanded:
            raise InvalidEnvironment(
                f"task {kind.__name__} {reason}; only tasks of text and tools are supported"
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
