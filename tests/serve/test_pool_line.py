"""A pool of devices: the engine's own bits from any cut of the layers, and from any loss of a device."""

import dataclasses
import random

import pytest
from engine.engine_models import ragged_requests
from serve.pool_world import LIMITS, World, alone, directory, run

from archipel.serve.pool.placing import PoolBroken


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return directory(tmp_path_factory.mktemp("pool") / "model")


def requests(seed=0):
    return ragged_requests(64, (5, 17, 40, 3, 300, 24), seed)


def arriving(seed=0):
    some = requests(seed)
    return {0: some[:2], 4: some[2:4], 9: some[4:]}


@pytest.fixture(scope="module")
def undisturbed(model):
    return run(alone(model), arriving())


@pytest.fixture
def world(model):
    made = World(model)
    yield made
    made.close()


@pytest.mark.parametrize("layers", [(6,), (3, 3), (2, 2, 2), (1, 1, 1, 1, 1, 1), (4, 1, 1)])
def test_any_cut_of_the_layers_gives_the_engines_own_bits(world, undisturbed, layers):
    for place, each in enumerate(layers):
        world.join(f"d{place}", each)
    assert run(world.engine, arriving()) == undisturbed
    assert len(world.engine.line.segments) == len(layers)


@pytest.mark.parametrize("rooms", [(3, 3, 3), (5, 4, 3), (2, 2, 2, 2)])
@pytest.mark.parametrize("step", [1, 3, 9, 10, 14])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_device_lost_at_any_step_changes_no_bit(world, undisturbed, rooms, step, place):
    for number, room in enumerate(rooms):
        world.join(f"d{number}", room)
    lost = []

    def at_step(at):
        if at == step:
            segments = world.engine.line.segments
            lost.append(segments[min(place, len(segments) - 1)].device.name)
            world.kill(lost[0])

    assert run(world.engine, arriving(), at_step) == undisturbed
    assert [each.lost for each in world.engine.line.mended] == lost


@pytest.mark.parametrize("seed", range(6))
def test_devices_that_come_and_go_change_no_bit(world, undisturbed, seed):
    rng = random.Random(seed)
    for place in range(3):
        world.join(f"d{place}", 3)

    def at_step(at):
        if at % 4 == 2:
            world.join(f"late{at}", rng.choice([2, 3, 6]))
        if at % 4 == 3:
            world.kill(rng.choice(world.engine.line.segments).device.name)

    assert run(world.engine, arriving(), at_step) == undisturbed
    assert len(world.engine.line.mended) >= 3


@pytest.mark.parametrize("step", [5, 11, 17])
def test_a_device_lost_while_prompts_are_read_in_pieces_beside_others_changes_no_bit(model, step):
    limits = dataclasses.replace(LIMITS, max_step_tokens=32, block=16)
    world = World(model, limits=limits)
    for number in range(3):
        world.join(f"d{number}", 4)

    def at_step(at):
        if at == step:
            world.engine.line.lay()
            world.kill(world.engine.line.segments[-1].device.name)

    short, long, last = (
        dataclasses.replace(each, num_rollouts=1, max_new_tokens=24, stop_tokens=())
        for each in ragged_requests(64, (5, 300, 17))
    )
    some = {0: [short], 2: [long], 3: [last]}  # the long one's slot lies between two that run
    expected = run(alone(model, limits=limits), some)
    assert run(world.engine, some, at_step) == expected
    assert len(world.engine.line.mended) == 1
    world.close()


def test_where_nobody_has_room_everybody_is_told_and_the_next_request_is_served(world, model):
    world.join("a", 3)
    world.join("b", 3)
    with pytest.raises(PoolBroken, match="have another device join"):
        run(world.engine, arriving(), lambda at: world.kill("b") if at == 5 else None)
    assert not world.engine.has_work
    world.join("c", 3)
    some = {0: requests()[:2]}
    assert run(world.engine, some) == run(alone(model), some)
