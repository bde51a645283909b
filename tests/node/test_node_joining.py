"""A lab that does not take a node in: for good, or for now."""

import asyncio
from pathlib import Path

import pytest

from agents import LIMIT_S, SLOW, agent_of, learning, num_groups_of, until
from archipel.node.agent import Agent
from archipel.node.clock import LabClock, Numbers
from archipel.node.exchange import LabRefused
from archipel.node.patience import NodeFailed
from archipel.node.sealed import NotBelieved
from archipel.records.documents import KeyFacts
from archipel.records.statements import NodeJoined, Statement
from live import live
from stub_worker import StubWorker
from world import World

pytestmark = pytest.mark.usefixtures("stub")


def test_a_lab_that_does_not_take_a_node_ends_it_with_a_sentence(
    world: World, folder: Path
) -> None:
    world.started(**SLOW)

    async def story() -> None:
        async with live(world) as url:
            agent = agent_of(folder, url)
            submit = agent.client.submit

            async def refused(kind: type[Statement], **fields: object) -> object:
                if kind is NodeJoined:
                    raise LabRefused("not-allowed", "this lab is for invited nodes", 403)
                return await submit(kind, **fields)

            agent.client.submit = refused
            with pytest.raises(NodeFailed, match=r"does not take this node: .*invited nodes"):
                await asyncio.wait_for(agent.run(), LIMIT_S)

    world.await_(story())


def test_a_node_refused_at_joining_for_what_may_pass_tries_again(
    world: World, folder: Path
) -> None:
    world.started(**SLOW)
    full = [LabRefused("conflict", "another statement came first", 409)] * 2

    async def story() -> None:
        async with live(world) as url:
            agent = agent_of(folder, url)
            submit = agent.client.submit

            async def late(kind: type[Statement], **fields: object) -> object:
                if kind is NodeJoined and full:
                    raise full.pop()
                return await submit(kind, **fields)

            agent.client.submit = late
            running = asyncio.create_task(agent.run())
            await until(lambda: num_groups_of(world) > 0)
            agent.stop()
            await asyncio.wait_for(running, LIMIT_S)

    world.await_(story())
    assert not full


def test_two_machines_with_one_key_are_told_so(world: World, folder: Path) -> None:
    world.started(**SLOW | {"versions": 4})
    StubWorker.pause_s = 0.1

    async def story() -> None:
        async with live(world) as url:
            agents = [agent_of(folder, url, name) for name in ("node", "copy")]
            agents[1].client.identity = agents[0].client.identity
            running = [asyncio.create_task(agent.run()) for agent in agents]

            def is_told() -> bool:
                return any("another machine speaks" in said for said in heard(agents))

            await until(is_told, learning(world))
            for agent in agents:
                agent.stop()
            await asyncio.wait_for(asyncio.gather(*running), LIMIT_S)

    world.await_(story())


def heard(agents: list[Agent]) -> list[str]:
    losses = [str(agent.totals.last_loss) for agent in agents]
    return losses + [said for agent in agents for said in agent.standing.news]


def test_numbers_of_our_own_are_no_other_machines() -> None:
    clock = LabClock(ticks=lambda: 0)
    numbers = Numbers(clock)
    clock.set(1_000, 0, 0)
    numbers.heard(KeyFacts(did="did", last_seq=5_000_000, now_ms=1_000))
    first, second = numbers.next(), numbers.next()
    assert (first, second) == (5_000_001, 5_000_002)
    numbers.heard(KeyFacts(did="did", last_seq=first, now_ms=1_000))
    numbers.forget()
    clock.set(0, 0, 0)
    assert numbers.next() == 1, "the lab's clock was set back, and it may be another lab"
    numbers.heard(KeyFacts(did="did", last_seq=second, now_ms=1_000))
    later = KeyFacts(did="did", last_seq=second + 1, now_ms=1_000)
    with pytest.raises(NotBelieved, match="another machine speaks"):
        numbers.heard(later)
    numbers.heard(later)
    assert numbers.next() == second + 2
