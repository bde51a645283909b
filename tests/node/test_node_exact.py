"""What a node found that it can do by the exact contract is what it states; what it cannot, its operator reads."""

from pathlib import Path

import pytest

from agents import at_a_lab, complete, learning, until
from archipel.node.agent import Agent
from archipel.records.exact import CONTRACTS
from people import identity
from stub_worker import StubWorker
from world import World

pytestmark = pytest.mark.usefixtures("stub")
W7A8 = CONTRACTS["w7a8"]
FAULT = "exact w13a15: the known greedy answer came out otherwise"


def test_a_node_states_what_was_proven_does_exact_runs_and_says_what_it_cannot(
    world: World, folder: Path
) -> None:
    StubWorker.measured = {"exact": [W7A8], "not_exact": [FAULT]}
    agent = at_a_lab(world, folder, lambda a: until(complete(world), learning(world)), exact=W7A8)
    node = world.state.nodes[identity("node").did]
    assert node.capabilities.exact == (W7A8,)
    assert agent.totals.works == {"accepted": len(StubWorker.done)}
    news = list(agent.standing.news)
    assert "exact: the known vectors came out right for w7a8" in news
    assert FAULT in news


def test_a_node_that_proved_nothing_waits(world: World, folder: Path) -> None:
    StubWorker.measured = {"exact": [], "not_exact": [FAULT]}

    async def story(agent: Agent) -> None:
        await until(lambda: agent.standing.doing.value == "waiting for work")

    at_a_lab(world, folder, story, exact=W7A8)
    assert world.state.nodes[identity("node").did].capabilities.exact is None
    assert StubWorker.begun == []
