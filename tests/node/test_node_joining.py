"""A lab that does not take a node in: for good, or for now."""

import asyncio
from pathlib import Path

import pytest

from agents import LIMIT_S, SLOW, agent_of, num_groups_of, until
from archipel.node.clock import LAST_SEQ, LabClock, Numbers
from archipel.node.exchange import LabRefused
from archipel.node.patience import NodeFailed
from archipel.node.sealed import NotBelieved
from archipel.node.setbacks import MAX_MISREAD, Setbacks
from archipel.node.settings import NodeSettings
from archipel.records.documents import KeyFacts
from archipel.records.statements import NodeJoined, Statement
from live import live
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


def test_words_that_the_wire_garbled_are_said_again_and_words_that_no_lab_reads_end_the_node(
    tmp_path: Path,
) -> None:
    garbled = LabRefused("malformed-record", "not the canonical JSON of an envelope", 400)
    setbacks = Setbacks(None, None, NodeSettings(lab_url="http://x", home=tmp_path), None)  # type: ignore[arg-type]
    assert [setbacks.bars(garbled) for _ in range(MAX_MISREAD)] == [False] * (MAX_MISREAD - 1) + [
        True
    ]
    setbacks.misread = 0
    assert not setbacks.bars(garbled)
    assert not setbacks.bars(LabRefused("conflict", "another came first", 409))
    assert setbacks.misread == 0, "in a row"
    assert setbacks.bars(LabRefused("not-allowed", "for invited nodes", 403))


def test_a_node_refused_at_joining_for_what_may_pass_tries_again(
    world: World, folder: Path
) -> None:
    world.started(**SLOW)
    garbled = LabRefused("bad-signature", "it is not this author's", 401)
    full = [garbled, LabRefused("conflict", "another statement came first", 409)]

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


def test_numbers_of_our_own_are_no_other_machines() -> None:
    clock = LabClock(ticks=lambda: 0)
    numbers = Numbers(clock)
    clock.set(1_000, 0, 0)
    numbers.heard(KeyFacts(did="did", last_seq=5_000_000, now_ms=1_000))
    numbers.begin()
    assert not numbers.is_of_another(5_000_000), "it was said before this process began"
    first, second = numbers.next(), numbers.next()
    assert (first, second) == (5_000_001, 5_000_002)
    assert not numbers.is_of_another(first)
    assert numbers.is_of_another(second + 1)
    numbers.forget()
    clock.set(0, 0, 0)
    assert numbers.next() == 1, "the lab's clock was set back, or it is another lab"
    with pytest.raises(NotBelieved, match="last_seq"):
        numbers.heard(KeyFacts(did="did", last_seq=LAST_SEQ + 1, now_ms=1_000))
