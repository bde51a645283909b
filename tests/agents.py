"""An agent at a real lab, whose child does what a story says."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from archipel.blobs import BlobStore
from archipel.lab.programmes import rl
from archipel.lab.state import Phase
from archipel.node.agent import Agent
from archipel.node.settings import NodeSettings
from archipel.records.statements import WorkAnswered
from live import live
from people import envelope, identity
from wire import Wire
from world import World, granted_in

LIMIT_S = 60.0
SLOW = {"versions": 2, "groups_per_update": 4, "max_groups_per_lease": 2}
MANY = {"versions": 4, "groups_per_update": 4, "max_groups_per_lease": 1, "max_staleness": 3}
"""All of its leases can be had from version 0 on, one group each."""


def settings(folder: Path, url: str, name: str = "node", **changed) -> NodeSettings:
    (folder / name).mkdir(exist_ok=True)
    return NodeSettings(lab_url=url, home=folder / name, poll_s=5.0, **changed)


def agent_of(folder: Path, url: str, name: str = "node", **changed) -> Agent:
    made = settings(folder, url, name, **changed)
    return Agent(made, identity(name), BlobStore(made.home / "blobs"))


async def until(
    condition: Callable[[], bool], step: Callable[[], Awaitable[object]] | None = None
) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            if step is not None:
                await step()
            await asyncio.sleep(0.01)


def at_a_lab(
    world: World,
    folder: Path,
    story: Callable[[Agent], Awaitable[None]],
    wire: Wire | None = None,
    skew_ms: int = 0,
    **pace,
) -> Agent:
    """Let `story` happen to an agent that is at work; everybody is gone at its end."""
    world.started(**(SLOW | pace))
    agents = []

    async def whole() -> None:
        async with live(world, skew_ms=skew_ms) as url:
            agent = agent_of(folder, url)
            agents.append(agent)
            if wire is not None:
                wire.attach(agent.client)
            running = asyncio.create_task(agent.run())
            telling = asyncio.ensure_future(story(agent))
            await asyncio.wait({running, telling}, return_when=asyncio.FIRST_COMPLETED)
            agent.stop()
            await asyncio.wait_for(running, LIMIT_S)
            await telling

    world.await_(whole())
    world.check()
    world.check_replay()
    return agents[0]


def complete(world: World) -> Callable[[], bool]:
    return lambda: world.run().phase is Phase.COMPLETE


def more_than(world: World, num_groups: int) -> Callable[[], bool]:
    return lambda: num_groups_of(world) > num_groups or complete(world)()


def num_groups_of(world: World) -> int:
    """Groups accepted so far."""
    return rl.course(world.run()).num_groups


def learning(world: World) -> Callable[[], Awaitable[object]]:
    """A step of the trusted role, which deals with the lab directly."""
    learner = world.learner(join=False)

    async def step() -> None:
        given = await world.lab.lease(learner.request(), 0.0)
        if given is not None:
            fields = learner.answer_fields(granted_in(given))
            statement = world.statement(learner.identity, WorkAnswered, **fields)
            await world.lab.submit(envelope(learner.identity, statement))

    return step
