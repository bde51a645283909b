"""One episode of a `verifiers` task as its own package would play it, one turn of the model at a time.

What their chat harness, tool servers and interactions do over HTTP and processes is done here in one process: the
model's turns are handed in, tools are called as the methods they are, and what comes back is the messages that the model
sees next. Their state, stops, tools and `Env.run` are theirs, unmodified.
Law: an episode is driven by what the model said and by nothing else; whoever drops it ends it.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from archipel.training.environments.episodic import Turn
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.environments.verifiers_tools import Handle


@dataclass
class Rules:
    """How the tasks of one taskset are played."""

    env: Any
    """Their own `Env`; None: the model is asked until it calls no tool."""
    agent: str
    """What it calls the one who is trained."""
    shared: list[Any] = field(default_factory=list)
    """Toolsets that all tasks have together, set up once."""

    def handles(self, theirs: Any) -> list[Handle]:
        """Tools of one task, with toolsets of its own."""
        from verifiers.v1.utils.decorators import discover_decorated

        toolsets = [*self.shared, *type(theirs).toolsets(theirs.config)]
        for each in toolsets:
            if getattr(each.config, "url", None):
                raise InvalidEnvironment(
                    f"toolset {type(each).__name__} is at {each.config.url}; only toolsets that run here are supported"
                )
        return [Handle(each, f) for each in toolsets for f in discover_decorated(each, "tool")]


class Play:
    """One episode."""

    def __init__(self, theirs: Any, rules: Rules, loop: asyncio.AbstractEventLoop) -> None:
        self._theirs, self._rules, self._loop = theirs, rules, loop
        self._handles = {each.name: each for each in rules.handles(theirs)}
        self._said: asyncio.Queue[Turn] = asyncio.Queue()
        self._idle = asyncio.Event()
        self._has_begun = False
        self.trace = _trace_of(theirs)
        self._task = loop.create_task(self._run())
        loop.run_until_complete(self._settled())

    def close(self) -> None:
        """End it, wherever it stands."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            self._loop.run_until_complete(self._task)

    @property
    def opening(self) -> str:
        """What stands before the model's first turn, as one text."""
        texts = [_text(node.message) for node in self.trace.nodes if not node.sampled]
        return "\n\n".join(text for text in texts if text)

    def hear(self, turn: Turn) -> tuple[str, ...] | None:
        """What is answered to the model's next turn; None: the episode is over. Raises what their code does."""
        before = len(self.trace.nodes) + 1
        self._idle.clear()
        self._said.put_nowait(turn)
        self._loop.run_until_complete(self._settled())
        if self._task.done():
            self._task.result()
            return None
        return tuple(_text(node.message) or " " for node in self.trace.nodes[before:])

    async def segment(self) -> bool:
        """Let the model speak until it calls nothing more; whether the episode may go on."""
        while self.trace.stop_condition is None:
            turn = await self._next()
            self._add(_spoken(turn), sampled=True)
            await self._stop()
            if self.trace.stop_condition is not None:
                return False
            if turn.fault:
                self._say(f"error: {turn.fault}")
            elif not turn.calls:
                return True
            for number, each in enumerate(turn.calls):
                handle = self._handles[each.name]
                told = await handle.call(dict(each.arguments), self.trace.state)
                self._add(_result(f"call-{number}", each.name, told))
        return False

    def begin(self, theirs: Any) -> None:
        """The first messages of an exchange about this task."""
        import verifiers.v1 as vf

        if self._has_begun:
            raise InvalidEnvironment(
                "an episode of more than one exchange: only one agent in one conversation is supported"
            )
        self._has_begun, data = True, theirs.data
        if data.system_prompt:
            self._add(vf.SystemMessage(content=data.system_prompt))
        if isinstance(data.prompt, str):
            self._say(data.prompt)
        for message in data.prompt if isinstance(data.prompt, list) else ():
            self._add(message)

    def _say(self, text: str) -> None:
        import verifiers.v1 as vf

        self._add(vf.UserMessage(content=text))

    async def _run(self) -> None:
        for each in {id(h.toolset): h.toolset for h in self._handles.values()}.values():
            if each not in self._rules.shared:
                await each.setup()
                await each.setup_task(self._theirs.data)
        if self._rules.env is None:
            self.begin(self._theirs)
            await self.segment()
        else:
            agents = Agents(self._rules.agent, self)
            await self._rules.env.setup(agents)
            await self._rules.env.run(self._theirs, agents)
        self.trace.stop_condition = self.trace.stop_condition or "agent_completed"
        self.trace.is_completed = True

    async def _settled(self) -> None:
        """Until it waits for the model, or is over."""
        waiting = asyncio.ensure_future(self._idle.wait())
        await asyncio.wait({self._task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def _next(self) -> Turn:
        if self._said.empty():
            self._idle.set()
        return await self._said.get()

    async def _stop(self) -> None:
        from verifiers.v1 import Trace
        from verifiers.v1.session import call_hook

        for hook in self._theirs.hooks("stop"):
            if await call_hook(hook, {Trace: self.trace, "trace": self.trace}):  # type: ignore[dict-item]
                self.trace.stop_condition = hook.__name__
                return

    def _add(self, message: Any, *, sampled: bool = False) -> None:
        import verifiers.v1 as vf

        parent = len(self.trace.nodes) - 1
        node = vf.MessageNode(
            message=message, parent=parent if parent >= 0 else None, sampled=sampled
        )
        self.trace.nodes.append(node)


class Agents:
    """What their `Env.run` is given: the one agent, whose turns are the model's."""

    def __init__(self, name: str, play: Play) -> None:
        self._name, self._play = name, play

    def __getattr__(self, name: str) -> "Agent":
        if name != self._name:
            raise AttributeError(f"no agent {name!r}; there is {self._name!r}")
        return Agent(self._play)


class Agent:
    """The model, as their code asks it."""

    trainable = True

    def __init__(self, play: Play) -> None:
        self._play = play

    @contextlib.asynccontextmanager
    async def interaction(self, task: Any, **_: Any) -> AsyncIterator["Interaction"]:
        """A conversation whose user is their code."""
        self._play.begin(task)
        yield Interaction(self._play)

    async def run(self, task: Any, **_: Any) -> Any:
        """One task, until the model calls no tool; its trace."""
        self._play.begin(task)
        await self._play.segment()
        return self._play.trace


class Interaction:
    """Their side of a conversation."""

    def __init__(self, play: Play) -> None:
        self._play = play

    @property
    def trace(self) -> Any:
        """What was said so far."""
        return self._play.trace

    async def turn(self, message: str | None = None) -> Any:
        """Say something, and hear what the model answers once it calls no tool."""
        from verifiers.v1.agent import Segment

        if self._play.trace.stop_condition is not None:
            return Segment(messages=[], terminated=True)
        if message is not None:
            self._play._say(message)
        before = len(self._play.trace.nodes)
        if not await self._play.segment():
            return Segment(messages=[], terminated=True)
        return Segment(messages=[node.message for node in self._play.trace.nodes[before:]])


def _trace_of(theirs: Any) -> Any:
    import verifiers.v1 as vf
    from verifiers.v1.state import state_cls

    name = type(theirs).__name__
    return vf.Trace(
        task=vf.TraceTask(type=name, data=theirs.data, key=theirs.key, hash=theirs.hash),
        state=state_cls(type(theirs))(),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
        nodes=[],
    )


def _spoken(turn: Turn) -> Any:
    import verifiers.v1 as vf

    calls = [
        vf.ToolCall(id=f"call-{number}", name=each.name, arguments=json.dumps(dict(each.arguments)))
        for number, each in enumerate(turn.calls)
    ]
    text = turn.text.split("<tool_call>")[0].strip() if calls else turn.text
    return vf.AssistantMessage(content=text, tool_calls=calls or None)


def _result(call: str, name: str, text: str) -> Any:
    import verifiers.v1 as vf

    return vf.ToolMessage(tool_call_id=call, content=text, name=name)


def _text(message: Any) -> str:
    from verifiers.v1.types import content_text

    return str(content_text(message.content))


def played(play: Play, turns: Sequence[Turn]) -> tuple[str, ...] | None:
    """What is answered to the last of these turns."""
    answer: tuple[str, ...] | None = ()
    for turn in turns:
        answer = play.hear(turn)
        if answer is None:
            return None
    return answer
