"""The agent's life at a real lab, with a child that does what the story says."""

import asyncio
import json
from pathlib import Path

import pytest

from agents import (
    LIMIT_S,
    agent_of,
    at_a_lab,
    complete,
    learning,
    num_groups_of,
    settings,
    until,
)
from archipel.lab.programmes import rl
from archipel.node.agent import Agent
from archipel.node.home import alone_in, ready_home
from archipel.node.patience import NodeFailed
from live import live
from people import identity
from stub_worker import StubWorker
from world import World

pytestmark = pytest.mark.usefixtures("stub")


def test_one_agent_carries_a_run_to_its_end_and_leaves_without_debts(
    world: World, folder: Path
) -> None:
    agent = at_a_lab(world, folder, lambda a: until(complete(world), learning(world)))
    node = world.state.nodes[identity("node").did]
    assert not world.state.leases
    assert not node.present
    assert node.tallies["rollout"].units == agent.totals.groups == 8
    assert agent.totals.credit_micro == world.state.book[node.did]
    assert agent.totals.tokens_at_hand == 0
    assert agent.totals.works == {"accepted": len(StubWorker.done)}
    assert StubWorker.started == 1


def test_ctrl_c_once_finishes_the_lease_and_delivers_it(world: World, folder: Path) -> None:
    StubWorker.pause_s = 0.3

    async def story(agent: Agent) -> None:
        await until(lambda: bool(StubWorker.begun))

    agent = at_a_lab(world, folder, story)
    assert agent.totals.works == {"accepted": 1}
    assert num_groups_of(world) == 2
    assert not world.state.leases


def test_ctrl_c_twice_gives_the_lease_back_at_once(world: World, folder: Path) -> None:
    StubWorker.pause_s = LIMIT_S

    async def story(agent: Agent) -> None:
        await until(lambda: bool(StubWorker.begun))
        agent.stop()

    agent = at_a_lab(world, folder, story)
    assert agent.totals.works == {"returned": 1}
    assert rl.course(world.run()).pool == (0, 1)
    assert not world.state.leases


def test_ctrl_c_while_waiting_for_work_leaves_no_ghost_request(world: World, folder: Path) -> None:
    async def story(agent: Agent) -> None:
        await until(lambda: num_groups_of(world) == 8)
        await asyncio.sleep(0.1)

    at_a_lab(world, folder, story)
    world.learner(join=False).work()
    assert not world.state.leases


@pytest.mark.parametrize("delay_s", [0.0, 0.002, 0.005, 0.01, 0.02, 0.05])
def test_ctrl_c_at_any_moment_leaves_no_lease_behind(
    world: World, folder: Path, delay_s: float
) -> None:
    StubWorker.pause_s = 0.01

    async def story(agent: Agent) -> None:
        await until(lambda: identity("node").did in world.state.nodes)
        await asyncio.sleep(delay_s)

    agent = at_a_lab(world, folder, story)
    assert not world.state.leases
    assert agent.totals.works.get("accepted", 0) == len(StubWorker.begun)


def test_a_node_gives_up_after_the_time_its_operator_set(world: World, folder: Path) -> None:
    async def story() -> None:
        async with live(world) as url:
            pass
        with pytest.raises(NodeFailed, match="no lab at"):
            await asyncio.wait_for(agent_of(folder, url, give_up_s=0.3).run(), LIMIT_S)

    world.await_(story())


def test_ctrl_c_ends_a_node_that_waits_for_an_absent_lab(world: World, folder: Path) -> None:
    async def story() -> None:
        async with live(world) as url:
            pass
        agent = agent_of(folder, url)
        running = asyncio.create_task(agent.run())
        await asyncio.sleep(0.3)
        agent.stop()
        await asyncio.wait_for(running, 5.0)

    world.await_(story())


def test_two_agents_never_work_from_one_home(world: World, folder: Path) -> None:
    home = folder / "node"
    home.mkdir()
    with alone_in(home), pytest.raises(NodeFailed, match="another node runs from"):
        alone_in(home).__enter__()
    with alone_in(home):
        pass


def test_a_new_child_finds_an_empty_scratch_but_for_answers_on_their_way(folder: Path) -> None:
    made = settings(folder, "http://lab")
    for name in ("run.1", "run.2"):
        (made.home / "scratch" / name).mkdir(parents=True)
    (made.home / "scratch" / "loose").symlink_to(folder)
    setup = ready_home(made, ("run.2",))
    assert [path.name for path in setup.scratch.iterdir()] == ["run.2"]
    assert folder.is_dir()
    assert setup.memory is None
    assert json.loads(setup.model_dump_json())["trusted"] is False
