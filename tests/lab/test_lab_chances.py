"""Who is offered what: urgency, little in flight, trust, shares, and no run twice in a row after a failure."""

import asyncio
from typing import Any

import pytest

from archipel.lab import refusals
from archipel.lab.company import crowds
from archipel.lab.decide import grant, opportunities
from archipel.lab.kinds import RULES_OF
from archipel.lab.kinds.rollout import groups_per_second_micro
from archipel.lab.programmes import rl
from archipel.lab.state import Lease
from archipel.records.statements import LeaseRequested
from people import Learner, Provider, identity
from specimens import ANSWERS, SPECS
from world import PACE, START_MS, World, granted_in


def names(world: World) -> list[tuple[str, str]]:
    return [(each.rules.name, each.run.name) for each in opportunities(world.state)]


def next_run(node: Provider) -> str:
    granted = node.ask()
    assert granted is not None
    return granted.spec.run


def test_updates_come_before_exams_and_exams_before_rollouts(world: World) -> None:
    world.open_run("b")
    world.open_run("a")
    assert names(world) == [("update", "a"), ("update", "b")]
    world.learner().work()
    assert names(world) == [("update", "b"), ("evaluate", "a"), ("rollout", "a")]


def test_of_several_runs_the_one_with_the_least_in_flight_comes_first(world: World) -> None:
    learner = world.learner()
    for name in ("a", "b", "c"):
        world.open_run(name, max_groups_per_lease=1, groups_per_update=8)
    while learner.work() is not None:
        pass
    taken = [next_run(world.provider(f"node {n}")) for n in range(6)]
    assert taken == ["a", "b", "c", "a", "b", "c"]


def test_a_stopped_run_and_one_that_is_complete_give_no_rollouts(world: World) -> None:
    world.started(versions=1, groups_per_update=1)
    node = world.provider("node")
    first = node.ask()
    assert first is not None
    node.answer(first)
    assert node.ask() is None, "one group is all there is"
    world.learner().work()
    while Learner(world, identity("learner")).work() is not None:
        pass
    assert names(world) == []
    world.open_run("second")
    world.stop_run("second")
    assert names(world) == []


def test_who_failed_a_run_s_work_is_offered_another_run_first(world: World) -> None:
    learner = world.learner()
    for name in ("a", "b"):
        world.open_run(name, max_groups_per_lease=1, groups_per_update=8)
    while learner.work() is not None:
        pass
    node = world.provider("node")
    first = node.ask()
    assert first is not None
    assert first.spec.run == "a"
    node.give_back(first.work)
    second = node.ask()
    assert second is not None
    assert second.spec.run == "b"
    node.answer(second)
    assert next_run(node) == "a", "an accepted answer is no failure"


def test_who_failed_the_only_run_is_offered_it_again(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    first = node.ask()
    assert first is not None
    node.give_back(first.work)
    assert next_run(node) == "run"


def test_a_node_is_offered_only_the_kinds_that_it_asks_for(world: World) -> None:
    world.started()
    node = world.provider("node")
    for kinds in (("update",), ("evaluate",), ("something",)):
        assert world.ask(node.request(kinds=kinds)) is None
    assert world.ask(node.request(kinds=("something", "rollout"))) is not None
    learner = Learner(world, identity("learner"))
    assert world.ask(learner.request(kinds=("update",))) is None
    assert world.ask(learner.request(kinds=("evaluate",))) is not None


def test_trust_is_by_the_run(world: World) -> None:
    world.open_run("a", trusted=(identity("one").did,))
    world.open_run("b", trusted=(identity("two").did,))
    one, two = world.learner("one"), world.learner("two")
    assert next_run(two) == "b"
    assert next_run(one) == "a"


def test_nothing_is_granted_to_who_is_unknown_or_has_left(world: World) -> None:
    world.started()
    node = world.provider("node")
    request = world.statement(node.identity, LeaseRequested, kinds=("rollout",), holding=())
    assert isinstance(request, LeaseRequested)
    found, company = opportunities(world.state), crowds(world.state, world.now_ms)
    assert grant(world.state, request, world.now_ms, found, company) is not None
    stranger = request.model_copy(update={"author": identity("stranger").did})
    assert grant(world.state, stranger, world.now_ms, found, company) is None
    node.leave()
    assert grant(world.state, request, world.now_ms, found, company) is None


def test_a_grant_says_who_what_until_when_and_for_how_much(world: World) -> None:
    world.started(max_groups_per_lease=2)
    node = world.provider("node")
    node.prove(1)
    request = node.request()
    seq = world.state.sequences[world.state.lab]
    granted = world.ask(request)
    assert granted is not None
    assert (granted.lab, granted.author) == (world.state.lab, world.state.lab)
    assert granted.seq == seq + 1
    assert (granted.work, granted.node) == ("run.3", node.did)
    spec: Any = granted.spec
    assert (spec.version, spec.policy) == (0, world.run().chain[0].policy)
    assert spec.groups == (1, 2)
    assert spec.prompts == (rl.course(world.run()).prompts[0],)
    lease = world.state.leases["run.3"]
    assert (lease.granted_at_ms, lease.deadline_ms) == (world.now_ms, granted.deadline_ms)
    assert lease.entry == world.lab.log.size - 1


def test_a_lease_over_two_batches_names_the_prompts_of_both_in_order(world: World) -> None:
    world.started(groups_per_update=2, max_groups_per_lease=3, max_staleness=1)
    alone = world.provider("alone", 10**9)
    alone.prove(1)
    granted = alone.ask()
    assert granted is not None
    spec: Any = granted.spec
    assert spec.groups == (1, 2), "a share is at most a batch"
    prompts = rl.course(world.run()).prompts
    assert spec.prompts == (prompts[0], prompts[1])


def test_no_group_is_offered_whose_prompts_are_not_here(world: World) -> None:
    learner, node = world.started(max_staleness=1, groups_per_update=1), world.provider("node")
    for _ in range(2):
        granted = node.ask()
        assert granted is not None
        node.answer(granted)
    assert node.ask() is None
    learner.work()
    assert node.ask() is not None


A_GROUP_A_SECOND = PACE["group_size"] * PACE["max_new_tokens"] * 1000
"""A claim of one group a second."""


def shared(world: World, node: Provider) -> int:
    """Groups of the lease that it gets now."""
    granted = node.ask()
    assert granted is not None
    return len(granted.spec.groups)  # type: ignore[union-attr]  # rollouts


@pytest.mark.parametrize(
    ("claims", "share"), [((), 8), ((0,), 4), ((1,), 4), ((1, 2), 4), ((9,), 4)]
)
def test_those_whom_nobody_measured_get_one_group_and_together_count_at_most_as_who_was(
    world: World, claims: tuple[int, ...], share: int
) -> None:
    world.started(groups_per_update=8, max_staleness=3)
    known = world.provider("known")
    known.prove(1000)
    for number, claim in enumerate(claims):
        assert shared(world, world.provider(f"node {number}", claim * A_GROUP_A_SECOND)) == 1
    assert shared(world, known) == share


@pytest.mark.parametrize(("claim", "share"), [(1, 8), (2, 6), (0, 6)])
def test_an_unknown_node_counts_by_its_claim_or_as_the_slowest_known_one(
    world: World, claim: int, share: int
) -> None:
    world.started(groups_per_update=12, max_staleness=3)
    known = world.provider("known")
    known.prove(500)
    world.provider("unknown", claim * A_GROUP_A_SECOND)
    assert shared(world, known) == share


def test_a_node_that_was_silent_shares_again_once_it_asks(world: World) -> None:
    world.started(groups_per_update=8, max_staleness=3)
    one, two = world.provider("one"), world.provider("two")
    for node in (one, two):
        node.prove(1000)
    world.tick(60_000)
    assert shared(world, one) == 8, "the other has been silent for a minute"
    assert shared(world, two) == 4, "it counts itself and who holds work"


def test_a_claim_is_in_tokens_and_a_rate_in_groups_of_full_length(world: World) -> None:
    world.started()
    node = world.provider("node", 7_000_000)
    found = groups_per_second_micro(world.run(), world.state.nodes[node.did])
    assert found == 7_000_000 * 1000 // (PACE["group_size"] * PACE["max_new_tokens"])


@pytest.mark.parametrize("kind", SPECS)
def test_the_rules_of_a_kind_do_not_take_the_leases_of_another(world: World, kind: str) -> None:
    run = world.open_run()
    for other, spec in SPECS.items():
        lease = Lease("run.1", identity("n").did, spec, START_MS, START_MS, 0, 1)
        if other != kind:
            with pytest.raises((TypeError, refusals.Refused)):
                RULES_OF[kind].check(run, lease, ANSWERS[kind])


def test_the_pool_goes_out_before_new_groups_and_in_order(world: World) -> None:
    world.started(groups_per_update=11, max_groups_per_lease=2, max_staleness=0)
    nodes = [world.provider(f"node {n}") for n in range(3)]
    for node in nodes:
        node.prove(1)
    grants = [node.ask() for node in nodes]
    works = [each.work for each in grants if each is not None]
    nodes[2].give_back(works[2])
    nodes[0].give_back(works[0])
    slice_ = rl.course(world.run())
    assert slice_.pool == (3, 4, 7, 8)
    assert rl.in_flight(world.run()) == 2
    assert list(rl.fresh(world.run())) == [9, 10]
    again = nodes[2].ask()
    assert again is not None
    assert again.spec.groups == (3, 4)  # type: ignore[union-attr]  # rollouts
    assert rl.course(world.run()).pool == (7, 8)


def test_requests_of_trusted_and_of_strangers_wait_in_their_own_queues(world: World) -> None:
    world.open_run(groups_per_update=1, max_staleness=0)
    learner, node = world.learner(), world.provider("node")
    node_request, learner_request = node.request(), learner.request()

    async def story() -> list[Any]:
        waiting = [
            asyncio.create_task(world.lab.lease(each, 30.0))
            for each in (node_request, learner_request)
        ]
        await asyncio.sleep(0.01)
        done = await asyncio.wait_for(waiting[1], 5.0)
        assert not waiting[0].done()
        world.lab.close()
        return [done, await asyncio.wait_for(waiting[0], 5.0)]

    done, empty = world.await_(story())
    assert done is not None
    assert empty is None


def test_a_lab_that_ends_lets_nobody_wait_and_gives_nothing(world: World) -> None:
    world.open_run()
    node = world.provider("node")
    world.lab.close()
    assert world.await_(world.lab.lease(node.request(), 60.0)) is None
    learner = world.learner()
    assert world.await_(world.lab.lease(learner.request(), 60.0)) is None
    assert not world.state.leases


def test_a_newer_request_that_gives_up_a_lost_lease_gets_its_groups_again(world: World) -> None:
    world.started(groups_per_update=2, max_groups_per_lease=1, max_staleness=0)
    node = world.provider("node")
    first = node.ask()
    assert first is not None
    node.answer(first)
    lost = node.ask()
    assert lost is not None
    waiting, newer = node.request(), node.request(holding=())

    async def story() -> tuple[Any, Any]:
        older = asyncio.create_task(world.lab.lease(waiting, 30.0))
        await asyncio.sleep(0.01)
        assert not older.done()
        again = await asyncio.wait_for(world.lab.lease(newer, 30.0), 10.0)
        return await asyncio.wait_for(older, 10.0), again

    empty, again = world.await_(story())
    assert empty is None
    assert granted_in(again).spec.groups == lost.spec.groups  # type: ignore[union-attr]  # rollouts
    assert lost.work not in world.state.leases
