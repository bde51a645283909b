"""A run by the exact contract: its work goes to those who stated that they can, and nothing else is admitted."""

import asyncio
from typing import Any

import pytest

from archipel.lab import refusals
from archipel.lab.company import crowds
from archipel.lab.decide import late_leases, second_copy
from archipel.lab.run_story import RunStory
from archipel.lab.state import ability
from archipel.lab.views import node_view, run_view, waits
from archipel.records.exact import CONTRACTS
from archipel.records.rollouts import pack_rollouts
from archipel.records.statements import LeaseGranted, LeaseRequested, RunOpened, WorkAnswered
from people import Provider
from world import World, finish

W7A8, W13A15 = CONTRACTS["w7a8"], CONTRACTS["w13a15"]


def waiting_for(world: World) -> tuple[str, str]:
    (wait,) = waits(world.state, world.now_ms)
    return wait.owner, wait.advice


def faults(world: World, **changed: Any) -> list[str]:
    """What the ledger says against the run, with the pace changed in its opening."""
    told = RunStory("run")
    for said in world.statements():
        if isinstance(said, RunOpened):
            pace = said.pace.model_copy(update=changed)
            said = said.model_copy(update={"pace": pace})
        told.hear(said)  # type: ignore[arg-type]  # recorded
    return list(told.faults())


def test_a_ledger_whose_answers_are_of_another_contract_is_found_out(world: World) -> None:
    learner = world.started(exact=W7A8, versions=1)
    finish(world, learner, [world.provider("able", exact=(W7A8,))])
    assert faults(world) == []
    works = len([said for said in world.statements() if isinstance(said, WorkAnswered)])
    found = faults(world, exact=W13A15)
    assert len(found) == works - 2  # all but the two versions'
    assert all(f"sampled by {W7A8}; the run asks for {W13A15}" in each for each in found)


def test_only_who_stated_the_contract_is_given_its_work(world: World) -> None:
    learner = world.started(exact=W7A8)
    unable, other = world.provider("unable"), world.provider("other", exact=(W13A15,))
    able = world.provider("able", exact=(W7A8, W13A15))
    assert unable.ask() is None
    assert other.ask() is None
    granted = able.ask()
    assert granted is not None
    able.answer(granted)
    finish(world, learner, [able])
    assert world.state.nodes[unable.did].works == 0
    assert node_view(world.state, world.state.nodes[able.did], 0).exact == (W7A8, W13A15)
    assert run_view(world.state, world.run(), world.now_ms).exact == W7A8
    world.check()
    world.check_replay()


def test_who_cannot_do_one_run_is_given_the_other(world: World) -> None:
    world.started(exact=W7A8)
    world.open_run("plain")
    world.learner().work()
    unable = world.provider("unable")
    granted = unable.ask()
    assert granted is not None
    assert granted.spec.run == "plain"
    unable.answer(granted)


def test_nodes_that_wait_and_cannot_do_not_keep_it_from_one_that_can(world: World) -> None:
    world.started(exact=W7A8)
    crowd = [world.provider(f"unable {n}") for n in range(3)]
    able = world.provider("able", exact=(W7A8,))

    async def story() -> list[Any]:
        asked = [
            asyncio.create_task(world.lab.lease(node.request(), 0.05)) for node in (*crowd, able)
        ]
        return await asyncio.gather(*asked)

    *nothing, granted = world.await_(story())
    assert nothing == [None] * 3
    assert granted is not None


def test_shares_are_counted_among_those_who_can(world: World) -> None:
    world.started(exact=W7A8)
    for n in range(3):
        world.provider(f"unable {n}")
    world.provider("able", exact=(W7A8, W13A15))
    found = crowds(world.state, world.now_ms)
    assert found["rollout"].count == 4
    assert found[ability("rollout", W7A8)].count == 1
    assert ability("rollout", W13A15) not in found  # no run asks for it


@pytest.mark.parametrize("others", [0, 3])
def test_nodes_that_cannot_take_no_share_from_one_that_can(world: World, others: int) -> None:
    world.started(exact=W7A8, groups_per_update=16, max_staleness=0)
    for n in range(others):
        world.provider(f"unable {n}", 40_000)
    able = world.provider("able", 40_000, exact=(W7A8,))
    able.prove(100)
    granted = able.ask()
    assert granted is not None
    assert len(granted.spec.groups) == 15  # type: ignore[attr-defined]  # a rollout's


def test_why_nothing_moves_is_said(world: World) -> None:
    world.started(exact=W7A8)
    assert waiting_for(world)[1].startswith("no node is at work: run `archipel node join")
    world.provider("unable")
    owner, advice = waiting_for(world)
    assert owner == "nobody"
    assert advice.startswith(f"1 node is at work, but did not state that it can do {W7A8}")
    world.provider("another")
    assert waiting_for(world)[1].startswith("2 nodes are at work, but none stated that it can")
    world.provider("able", exact=(W7A8,))
    assert waiting_for(world) == (
        "the lab",
        "1 node was heard of in the last minute; it is asked next",
    )


def leased(world: World, **pace: Any) -> tuple[Provider, LeaseGranted]:
    world.started(**pace)
    node = world.provider("node", exact=(W7A8,))
    granted = node.ask()
    assert granted is not None
    return node, granted


@pytest.mark.parametrize(
    ("asked", "said"), [(W7A8, None), (W7A8, W13A15), (None, W7A8), (W7A8, W7A8[:-1] + "0")]
)
def test_an_answer_by_another_contract_is_refused(
    world: World, asked: str | None, said: str | None
) -> None:
    node, granted = leased(world, exact=asked)
    with pytest.raises(refusals.WrongContract, match=r"exact"):
        node.answer(granted, exact=said)
    node.answer(granted)


def test_bytes_by_another_contract_than_the_answer_says_are_refused(world: World) -> None:
    node, granted = leased(world, exact=W7A8)
    policy = granted.spec.policy  # type: ignore[attr-defined]  # a rollout's
    data = pack_rollouts(node.sampled(granted), work=granted.work, policy=policy)
    with pytest.raises(refusals.WrongLabel, match="exact"):
        node.answer(granted, result=node.put(data))


def test_an_evaluation_by_another_contract_is_refused(world: World) -> None:
    learner = world.started(exact=W7A8)
    granted = learner.ask()
    assert granted is not None
    assert granted.spec.kind == "evaluate"
    with pytest.raises(refusals.WrongContract, match=r"no exact contract"):
        learner.answer(granted, exact=None)
    learner.answer(granted)


def test_a_late_lease_goes_a_second_time_to_who_can_do_it_too(world: World) -> None:
    learner = world.started(exact=W7A8, groups_per_update=1, max_staleness=0, versions=40)
    late, quick = (world.provider(name, exact=(W7A8,)) for name in ("late", "quick"))
    for node, ms in ((late, 20_000), (quick, 10), (late, 20_000), (quick, 10)):
        while learner.work() is not None:
            pass
        node.prove(ms)
    while learner.work() is not None:
        pass
    assert late.ask() is not None
    world.now_ms += 60_000

    def copy() -> LeaseGranted | None:
        (lease,) = late_leases(world.state, world.now_ms)
        request = world.statement(quick.identity, LeaseRequested, kinds=quick.kinds, holding=())
        assert isinstance(request, LeaseRequested)
        return second_copy(world.state, request, lease, world.now_ms)

    assert copy() is not None
    quick.exact = ()
    quick.join()
    assert copy() is None


def test_names_that_nobody_knows_are_no_queues_of_their_own(world: World) -> None:
    names = tuple(f"exact-1-w7a8-{n:016x}" for n in range(16))
    stranger = world.provider("stranger", exact=(*names[1:], W7A8))
    assert world.state.nodes[stranger.did].contracts == (W7A8,)
