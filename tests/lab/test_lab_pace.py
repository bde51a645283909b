"""A node is never thrown out for being slow: what it gets, and for how long, follows what this run measured."""

from math import ceil, log2

import pytest

from archipel.lab import refusals
from archipel.lab.kinds.rollout import CLAIM_PATIENCE
from archipel.lab.programmes import rl
from archipel.lab.state import Phase
from archipel.lab.tallies import MAX_SETBACKS, MAX_SPEEDS_REMEMBERED
from archipel.records.statements import LeaseGranted
from people import Provider
from world import PACE, World

FLOOR = PACE["min_deadline_ms"]


def groups(granted: LeaseGranted | None) -> int:
    assert granted is not None
    return len(granted.spec.groups)  # type: ignore[union-attr]  # rollouts


def worked(world: World, node: Provider, ms_a_group: int) -> bool:
    """The node does one lease as fast as it can; whether it was in time."""
    granted = node.ask()
    assert granted is not None
    world.tick(groups(granted) * ms_a_group)
    try:
        node.answer(granted)
    except refusals.Late:
        return False
    return True


@pytest.mark.parametrize("times", [1, 3, 10, 100])
def test_a_slow_node_on_long_work_loses_as_many_leases_as_doubling_takes_then_ends_the_run(
    world: World, times: int
) -> None:
    """Sixteen groups, no claim: each group takes it `times` the shortest deadline."""
    learner = world.started(
        groups_per_update=16, versions=1, max_staleness=0, trusted_deadline_ms=200 * FLOOR
    )
    node = world.provider("slow")
    taken = 0
    while world.run().phase is not Phase.COMPLETE and taken < 60:
        learner.work()
        if world.run().phase is Phase.RUNNING and rl.course(world.run()).owed:
            worked(world, node, times * FLOOR - 1)
            taken += 1
    assert world.run().phase is Phase.COMPLETE
    assert world.state.nodes[node.did].expired <= ceil(log2(times))
    assert world.state.nodes[node.did].tallies["rollout"].units == 16
    world.check()
    world.check_replay()


def test_a_node_that_got_slower_has_half_as_much_in_twice_the_time_until_it_is_in_time_again(
    world: World,
) -> None:
    world.started(groups_per_update=16, max_staleness=4, trusted_deadline_ms=1000 * FLOOR)
    node = world.provider("node")
    node.prove(FLOOR)
    given = []
    for is_in_time in (False, False, True, True, True):
        granted = node.ask()
        assert granted is not None
        given.append((groups(granted), (granted.deadline_ms - world.now_ms) // FLOOR))
        if is_in_time:
            world.tick(groups(granted) * FLOOR)
            node.answer(granted)
        else:
            world.tick(granted.deadline_ms - world.now_ms + 1)
            node.leases.clear()
    assert given == [(16, 64), (8, 64), (4, 64), (8, 64), (16, 64)]


def test_speed_on_one_run_says_nothing_of_another(world: World) -> None:
    """A toy run's 100 groups a second gave leases of a whole batch at the shortest deadline elsewhere."""
    learner = world.learner()
    world.open_run("toy", groups_per_update=8, max_staleness=4)
    learner.work()
    node = world.provider("node")
    for _ in range(4):
        assert worked(world, node, 10)
    world.stop_run("toy")
    longest_ms = 100 * FLOOR
    world.open_run("real", groups_per_update=8, max_staleness=4, trusted_deadline_ms=longest_ms)
    while learner.work() is not None:
        pass
    granted = node.ask()
    assert granted is not None
    assert (granted.spec.run, groups(granted)) == ("real", 1)
    world.tick(FLOOR)
    node.answer(granted)
    second = node.ask()
    assert second is not None
    assert groups(second) == 8
    assert second.deadline_ms - world.now_ms == pytest.approx(8 * FLOOR * 4, rel=0.001)
    speeds = {speed.run: speed.rate_micro for speed in world.state.nodes[node.did].speeds}
    assert speeds == {"toy": 100_000_000, "real": 1_000_000_000 // FLOOR}


def test_strangers_with_low_claims_hold_one_group_each_and_not_for_long(world: World) -> None:
    """Nine of them held all 32 groups of a run for ten minutes."""
    world.started(groups_per_update=32, max_staleness=2, trusted_deadline_ms=600_000,
                  min_deadline_ms=5_000)  # fmt: skip
    strangers = [world.provider(f"stranger {n}", 1) for n in range(9)]
    for stranger in strangers:
        assert groups(stranger.ask()) == 1
        assert stranger.ask() is None
    last = max(lease.deadline_ms for lease in world.state.leases.values())
    assert last <= world.now_ms + CLAIM_PATIENCE * 5_000
    honest = world.provider("honest")
    honest.prove(1000)
    assert groups(honest.ask()) >= 16


@pytest.mark.parametrize(("part", "setbacks"), [(0.0, 0), (0.89, 0), (0.9, 1), (1.0, 1)])
def test_a_lease_that_comes_back_for_want_of_time_counts_as_one_that_ran_out_once_the_time_is_gone(
    world: World, part: float, setbacks: int
) -> None:
    """A node ends its work as the deadline comes, and says so before the lab sees it pass."""
    world.started()
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    world.now_ms += int(part * FLOOR)
    node.give_back(granted.work, "time is up", fault="time")
    assert world.state.nodes[node.did].speed("rollout", "run").setbacks == setbacks
    again = node.ask()
    assert again is not None
    assert again.deadline_ms - world.now_ms == FLOOR << setbacks


def test_setbacks_and_runs_remembered_are_bounded_and_a_lost_grant_is_no_setback(
    world: World,
) -> None:
    learner = world.learner()
    node = world.provider("node")
    for number in range(MAX_SPEEDS_REMEMBERED + 2):
        world.open_run(f"run{number}", groups_per_update=2)
        while learner.work() is not None:
            pass
        node.prove(1)
        world.stop_run(f"run{number}")
    known = world.state.nodes[node.did].speeds
    assert [each.run for each in known] == [f"run{n}" for n in range(2, MAX_SPEEDS_REMEMBERED + 2)]
    world.open_run("last", groups_per_update=2)
    while learner.work() is not None:
        pass
    assert node.ask() is not None
    node.leases.clear()
    assert node.ask() is not None
    assert world.state.nodes[node.did].speed("rollout", "last").setbacks == 0
    for _ in range(MAX_SETBACKS + 2):
        world.tick(10**6)
        node.leases.clear()
        assert node.ask() is not None
    assert world.state.nodes[node.did].speed("rollout", "last").setbacks == MAX_SETBACKS
    world.check()
    world.check_replay()
