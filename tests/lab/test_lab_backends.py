"""A run of a model that a library computes goes to nodes that said they have it, and its pages say what it is."""

import pytest

from archipel.lab.company import crowds
from archipel.lab.kinds.rollout import PREPARING_MS
from archipel.lab.state import ability
from archipel.lab.views import node_view, run_view, waits
from people import Provider
from world import PACE, World, finish

LIBRARY = "transformers"
FLOOR = PACE["min_deadline_ms"]


def test_only_who_has_the_library_is_given_a_runs_work(world: World) -> None:
    learner = world.started(backend=LIBRARY)
    unable = world.provider("unable", backends=("nobody_knows",))
    assert unable.ask() is None
    (wait,) = [each for each in waits(world.state, world.now_ms) if each.owner == "nobody"]
    assert f"did not state that it can do {LIBRARY}" in wait.advice
    assert "pip install -c constraints.txt -e '.[transformers]'" in wait.advice
    able = world.provider("able", backends=(LIBRARY,))
    assert crowds(world.state, world.now_ms)[ability("rollout", LIBRARY)].count == 1
    granted = able.ask()
    assert granted is not None
    able.answer(granted)
    finish(world, learner, [able])
    assert world.state.nodes[unable.did].works == 0
    assert node_view(world.state, world.state.nodes[able.did], 0).backends == (LIBRARY,)
    assert run_view(world.state, world.run(), world.now_ms).backend == LIBRARY


@pytest.mark.parametrize("engine", ["transformers", "vllm", "2 x archipel"])
def test_a_first_lease_has_time_for_an_engine_that_has_to_start(world: World, engine: str) -> None:
    world.started(trusted_deadline_ms=10 * PREPARING_MS)
    plain, other = world.provider("plain"), world.provider("other", engine=engine)
    assert (left(world, plain), left(world, other)) == (FLOOR, PREPARING_MS)
    for node in (plain, other):
        world.tick(10)
        node.answer(*node.leases.values())
    assert left(world, other) == FLOOR, "this run has measured it"


def test_a_first_lease_of_a_librarys_model_has_time_for_it_and_a_longer_floor_stays(
    world: World,
) -> None:
    world.started(
        backend=LIBRARY, min_deadline_ms=3 * PREPARING_MS, trusted_deadline_ms=10 * PREPARING_MS
    )
    able = world.provider("able", backends=(LIBRARY,))
    assert left(world, able) == 3 * PREPARING_MS


def left(world: World, node: Provider) -> int:
    granted = node.ask()
    assert granted is not None
    return granted.deadline_ms - world.now_ms


def test_who_has_the_library_is_given_other_runs_as_ever(world: World) -> None:
    world.started()
    assert world.provider("able", backends=(LIBRARY,)).ask() is not None
