"""The agent's life at a real lab, with a child that does what the story says."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents import (
    LIMIT_S,
    SLOW,
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
from archipel.node.home import REPLAY_FOLDER, alone_in, make_empty, ready_home
from archipel.node.patience import NodeFailed
from live import live
from people import identity
from stub_worker import StubWorker
from wire import Wire
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


def to_its_end(
    world: World, folder: Path, prepare: Callable[[Agent], None], **changed: Any
) -> Agent:
    """An agent at a lab until it leaves by itself."""
    world.started(**SLOW)
    agents: list[Agent] = []

    async def whole() -> None:
        async with live(world) as url:
            agents.append(agent_of(folder, url, **changed))
            prepare(agents[0])
            await asyncio.wait_for(agents[0].run(), LIMIT_S)

    world.await_(whole())
    world.check()
    world.check_replay()
    return agents[0]


@pytest.mark.parametrize("kinds", [("update",), ("rollout",)])
def test_the_trusted_child_alone_may_read_what_a_learner_has_to_catch_up_with(
    folder: Path, kinds: tuple[str, ...]
) -> None:
    setup = ready_home(settings(folder, "http://127.0.0.1:1", kinds=kinds), ())
    replay = folder / "node" / REPLAY_FOLDER
    assert (replay in setup.readable, replay.is_dir()) == (setup.trusted, setup.trusted)
    assert setup.trusted == (kinds == ("update",))
    if setup.trusted:
        before = replay.stat().st_ino
        (replay / "1.json").write_text("{}")
        make_empty(replay)
        assert not list(replay.iterdir())
        assert replay.stat().st_ino == before, "what it was let into is not replaced"


def test_ctrl_c_once_finishes_the_lease_and_delivers_it(world: World, folder: Path) -> None:
    def press_at_work(agent: Agent) -> None:
        StubWorker.script = [lambda worker, message: agent.stop()]

    agent = to_its_end(world, folder, press_at_work)
    assert agent.totals.works == {"accepted": 1}
    assert num_groups_of(world) == 1
    assert not world.state.leases


def test_ctrl_c_twice_gives_the_lease_back_at_once(world: World, folder: Path) -> None:
    StubWorker.pause_s = LIMIT_S

    async def story(agent: Agent) -> None:
        await until(lambda: bool(StubWorker.begun))
        agent.stop()

    agent = at_a_lab(world, folder, story)
    assert agent.totals.works == {"returned": 1}
    assert rl.course(world.run()).pool == (0,)
    assert not world.state.leases


def test_ctrl_c_while_waiting_for_work_leaves_no_ghost_request(world: World, folder: Path) -> None:
    async def story(agent: Agent) -> None:
        await until(lambda: num_groups_of(world) == 8)
        await until(lambda: len(world.lab._leasing._waiting) == 1)

    at_a_lab(world, folder, story)
    assert len(world.lab._leasing._waiting) == 0
    world.learner(join=False).work()
    assert not world.state.leases


@pytest.mark.parametrize(
    ("is_before", "moment"),
    [
        pytest.param(
            is_before,
            moment,
            id=f"{'before' if is_before else 'after'}-{moment}",
            marks=() if moment % 4 == (0 if is_before else 2) else pytest.mark.slow,
        )
        for is_before in (True, False)
        for moment in range(8)
    ],
)
def test_ctrl_c_at_any_exchange_leaves_no_lease_behind(
    world: World, folder: Path, moment: int, is_before: bool
) -> None:
    """Pressed as the question leaves, or as its answer comes; all of joining and three works."""
    wire = Wire()

    def press_then(agent: Agent) -> None:
        def pressed() -> None:
            if len(wire.requests) == moment + 1:
                agent.stop()

        wire.attach(agent.client)
        if is_before:
            wire.before = pressed
        else:
            wire.after = pressed

    agent = to_its_end(world, folder, press_then)
    assert len(wire.requests) > moment
    assert not world.state.leases
    assert agent.totals.works.get("accepted", 0) == len(StubWorker.begun)
    node = world.state.nodes.get(identity("node").did)
    assert node is None or not node.present


def test_a_node_gives_up_after_the_time_its_operator_set(world: World, folder: Path) -> None:
    async def story() -> None:
        async with live(world) as url:
            pass
        with pytest.raises(NodeFailed, match="no lab at"):
            await asyncio.wait_for(agent_of(folder, url, give_up_s=0.3).run(), LIMIT_S)

    world.await_(story())


def test_ctrl_c_ends_a_node_that_waits_for_an_absent_lab(
    world: World,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("archipel.node.patience.backoff_s", lambda attempt, draw: 10 * LIMIT_S)

    async def story() -> None:
        async with live(world) as url:
            pass
        agent = agent_of(folder, url)
        running = asyncio.create_task(agent.run())
        await until(lambda: "lab unreachable" in caplog.messages)
        agent.stop()
        await asyncio.wait_for(running, LIMIT_S)

    with caplog.at_level("WARNING", "archipel.node"):
        world.await_(story())


def num_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_two_agents_never_work_from_one_home(world: World, folder: Path) -> None:
    home = folder / "node"
    home.mkdir()
    with alone_in(home):
        before = num_open_files()
        with pytest.raises(NodeFailed, match="another node runs from"):
            alone_in(home).__enter__()
        assert num_open_files() == before, "who was refused holds nothing"
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
    assert setup.memory == made.home / "memory"
    assert setup.max_lasting_bytes == made.lasting_bytes, "a stranger's is bounded"
    assert json.loads(setup.model_dump_json())["trusted"] is False
