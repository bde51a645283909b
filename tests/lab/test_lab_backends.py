"""A run of a model that a library computes goes to nodes that said they have it, and its pages say what it is."""

from archipel.lab.decide import crowds
from archipel.lab.state import ability
from archipel.lab.views import node_view, run_view, waits
from world import World, finish

LIBRARY = "transformers"


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


def test_who_has_the_library_is_given_other_runs_as_ever(world: World) -> None:
    world.started()
    assert world.provider("able", backends=(LIBRARY,)).ask() is not None
