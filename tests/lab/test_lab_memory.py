"""The lab never grants what does not fit into the memory that a node stated; who stated none is treated as ever."""

import json

from archipel.lab.views import waits
from archipel.records.programmes.rl import RlPace
from archipel.records.statements import Capabilities
from specimens import CAPABILITIES
from world import World, finish

NEEDED_MB = 2500


def test_only_a_node_that_states_enough_or_nothing_is_given_a_runs_work(world: World) -> None:
    learner = world.started(memory_mb=NEEDED_MB)
    small = world.provider("small", memory_mb=NEEDED_MB - 1)
    enough = world.provider("enough", memory_mb=NEEDED_MB)
    silent = world.provider("silent")
    assert small.ask() is None
    for able in (enough, silent):
        granted = able.ask()
        assert granted is not None
        able.answer(granted)
    finish(world, learner, [enough, silent])
    assert world.state.nodes[small.did].works == 0
    world.check()
    world.check_replay()


def test_who_is_too_small_for_one_run_is_given_another(world: World) -> None:
    world.started(memory_mb=NEEDED_MB)
    world.open_run("plain")
    world.learner().work()
    granted = world.provider("small", memory_mb=1).ask()
    assert granted is not None
    assert granted.spec.run == "plain"


def test_a_run_that_waits_for_memory_says_so(world: World) -> None:
    world.started(memory_mb=NEEDED_MB)
    world.provider("small", memory_mb=NEEDED_MB - 1)
    (wait,) = waits(world.state, world.now_ms)
    assert "1 node is at work, with less memory than the 2.5 GB that this run needs" in wait.advice
    assert wait.owner == "nobody"
    world.provider("silent")
    (wait,) = waits(world.state, world.now_ms)
    assert wait.advice.startswith("1 node was heard of")
    assert wait.owner == "the lab"


def test_trusted_work_is_a_matter_of_keys_alone(world: World) -> None:
    world.open_run("run", memory_mb=NEEDED_MB)
    learner = world.learner(memory_mb=1)
    learner.work()
    assert world.run().version == 0


def test_what_says_nothing_of_memory_has_the_bytes_that_it_always_had(world: World) -> None:
    world.started()
    pace = world.run().opened.pace
    assert "memory_mb" not in pace.model_dump()
    assert "memory_mb" not in CAPABILITIES.model_dump()
    told = CAPABILITIES.model_copy(update={"memory_mb": 7})
    assert Capabilities.model_validate_json(json.dumps(told.model_dump(mode="json"))) == told
    more = pace.model_copy(update={"memory_mb": 7})
    assert RlPace.model_validate_json(json.dumps(more.model_dump(mode="json"))) == more
