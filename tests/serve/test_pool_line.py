"""A pool of devices: the engine's own bits from any cut of the layers, and from any loss of a device."""

import random

import pytest
from engine.engine_models import ragged_requests
from serve.pool_world import World, alone, directory, run

from archipel.serve.pool.line import PoolBroken


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
