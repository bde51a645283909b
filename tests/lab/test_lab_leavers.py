"""Going away is no way around what a lease that ends unanswered says of its node."""

import pytest

from archipel.lab.failures import FIRST_REST_MS
from archipel.lab.speeds import is_used_up
from people import Provider
from world import PACE, World, finish

FLOOR = PACE["min_deadline_ms"]
GROUPS = {"max_groups_per_lease": 1, "groups_per_update": 8}


def go_and_come(node: Provider, way: str) -> None:
    if way == "leaves and joins":
        node.leave()
    node.join()


def setbacks(world: World, node: Provider) -> int:
    return world.state.nodes[node.did].speed("rollout", "run").setbacks


WAYS = pytest.mark.parametrize("way", ["leaves and joins", "joins anew"])


@WAYS
def test_a_node_that_goes_when_its_work_is_late_is_set_back_as_if_it_had_run_out(
    world: World, way: str
) -> None:
    world.started(**GROUPS)
    node = world.provider("node")
    node.prove(FLOOR)
    granted = node.ask()
    assert granted is not None
    late_ms = 2 * FLOOR + 1
    assert world.now_ms + late_ms < granted.deadline_ms
    world.now_ms += late_ms
    go_and_come(node, way)
    assert setbacks(world, node) == 1
    again = node.ask()
    assert again is not None
    node.prove(10)
    world.check()
    world.check_replay()


@WAYS
def test_a_node_that_goes_in_good_time_is_not_set_back(world: World, way: str) -> None:
    world.started(**GROUPS)
    node = world.provider("node")
    node.prove(FLOOR)
    assert node.ask() is not None
    world.now_ms += FLOOR
    go_and_come(node, way)
    assert setbacks(world, node) == 0


@WAYS
def test_a_node_that_goes_in_the_middle_of_work_time_after_time_rests_as_if_it_had_failed(
    world: World, way: str
) -> None:
    """As a node does whose process is killed by this run's work, and whose service starts it again."""
    learner = world.started(**GROUPS)
    world.open_run("other", **GROUPS)
    learner.work()
    node = world.provider("node")
    for _ in range(2):
        for _ in range(2):  # both runs, each once: the second try is offered to the other
            granted = node.ask()
            assert granted is not None
            world.tick(1)
            go_and_come(node, way)
    assert node.ask() is None, "both rest"
    assert {each.times for each in world.state.nodes[node.did].failing} == {2}
    assert world.run().troubles == (), "a stranger's machine says nothing of the run"
    world.tick(FIRST_REST_MS)
    while world.state.nodes[node.did].failing:
        node.prove(10)
    finish(world, learner, [node])
    world.check_replay()


@WAYS
def test_whoever_goes_with_nothing_in_its_hands_begins_afresh(world: World, way: str) -> None:
    world.started(**GROUPS)
    node = world.provider("node")
    node.fail()
    node.fail()
    assert node.ask() is None
    go_and_come(node, way)
    assert node.ask() is not None


def test_a_trusted_role_that_dies_of_a_run_does_the_others(world: World) -> None:
    for name in ("bad", "good"):
        world.open_run(name, versions=1, groups_per_update=1)
    learner, node = world.learner(), world.provider("node")
    for _ in range(200):
        world.tick(1000)
        granted = learner.ask()
        if granted is None:
            if (rollout := node.ask()) is not None:
                node.answer(rollout)
            continue
        if granted.spec.run == "bad":
            learner.join()  # killed, and started again
        else:
            learner.answer(granted)
    assert world.run("good").phase.value == "complete"
    (trouble,) = world.run("bad").troubles
    assert trouble.reason == "its node went away in the middle of it"
    assert trouble.times < 12
    world.check_replay()


@pytest.mark.parametrize(
    ("fault", "counts"), [({}, 1), ({"fault": "time"}, 1), ({"fault": "work"}, 0)]
)
def test_work_given_back_at_the_last_moment_is_as_late_as_if_it_had_run_out(
    world: World, fault: dict[str, str], counts: int
) -> None:
    world.started(**GROUPS)
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    world.now_ms = granted.deadline_ms - 1
    assert is_used_up(world.state.leases[granted.work], world.now_ms)
    node.give_back(granted.work, **fault)
    assert setbacks(world, node) == counts
    again = node.ask()
    assert again is not None
    node.give_back(again.work, **fault)
    assert setbacks(world, node) == counts, "at once it says nothing of speed"
