"""An agent at a real lab, whose child does what a story says."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from archipel.blobs import BlobStore
from archipel.lab.state import Phase
from archipel.node.agent import Agent
from archipel.node.settings import NodeSettings
from live import live
from people import identity
from world import World

LIMIT_S = 60.0
SLOW = {"versions": 2, "groups_per_update": 4, "max_groups_per_lease": 2}


def settings(folder: Path, url: str, name: str = "node", **changed) -> NodeSettings:
    (folder / name).mkdir(exist_ok=True)
    return NodeSettings(lab_url=url, home=folder / name, poll_s=5.0, **changed)


def agent_of(folder: Path, url: str, name: str = "node", **changed) -> Agent:
    made = settings(folder, url, name, **changed)
    return Agent(made, identity(name), BlobStore(made.home / "blobs"))


async def until(condition: Callable[[], bool], step: Callable[[], object] | None = None) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            if step is not None:
                step()
            await asyncio.sleep(0.01)


def at_a_lab(
    world: World, folder: Path, story: Callable[[Agent], Awaitable[None]], **pace
) -> Agent:
    """Let `story` happen to an agent that is at work; everybody is gone at its end."""
    world.started(**(SLOW | pace))
    agents = []

    async def whole() -> None:
        async with live(world) as url:
            agent = agent_of(folder, url)
            agents.append(agent)
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
    return lambda: world.run().num_groups > num_groups or complete(world)()


def learning(world: World) -> Callable[[], object]:
    return world.learner(join=False).work
