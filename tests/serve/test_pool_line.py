"""A pool of devices: the engine's own bits from any cut of the layers, and from any loss of a device."""

import random
from dataclasses import replace
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from archipel.engine.engine import EngineLimits, Request
from archipel.serve.pool.placing import PoolBroken
from serve.pool_world import World, alone, apart, directory, run

QUICK = [((5, 4, 3), 6, 1)]


def slow(*values: Any) -> ParameterSet:
    return pytest.param(*values, marks=[pytest.mark.slow])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return directory(tmp_path_factory.mktemp("pool") / "model")


WHOLE = EngineLimits(max_slots=12, max_cache_bytes=2**24)
"""Prompts are read to their end before anybody goes on."""
MIXED = replace(WHOLE, max_step_tokens=32, block=32)
"""Prompts are read in pieces between the tokens of others, as in serving."""


def arriving(seed: int = 0) -> dict[int, list[Request]]:
    """Short and long prompts that come while others run, one and several rollouts each."""
    rng = random.Random(seed)
    some = [
        Request(
            key=str(index),
            prompt=tuple(rng.randrange(64) for _ in range(length)),
            seed=rng.randrange(2**64),
            num_rollouts=rng.choice([1, 3]),
            max_new_tokens=rng.choice([1, 7, 12, 20]),
            temperature=rng.choice([1.0, 0.7, 0.0]),
            stop_tokens=(3, 9) if index % 2 else (),
        )
        for index, length in enumerate((5, 17, 40, 3, 150, 24))
    ]
    return {0: some[:2], 3: some[2:5], 8: some[5:]}


@pytest.fixture(scope="module")
def undisturbed(model):
    """By limits: what one engine says."""
    return {limits: run(alone(model, limits=limits), arriving()) for limits in (WHOLE, MIXED)}


@pytest.fixture
def world(model):
    made = World(model, limits=WHOLE)
    yield made
    made.close()


CUTS = [(3, 3), *(slow(each) for each in [(6,), (2, 2, 2), (1, 1, 1, 1, 1, 1), (4, 1, 1)])]


@pytest.mark.parametrize("limits", [slow(WHOLE), MIXED], ids=["whole", "mixed"])
@pytest.mark.parametrize("layers", CUTS)
def test_any_cut_of_the_layers_gives_the_engines_own_bits(world, undisturbed, layers, limits):
    world.limits = limits
    for place, each in enumerate(layers):
        world.join(f"d{place}", each)
    assert run(world.engine, arriving()) == undisturbed[limits]
    assert len(world.engine.segments) == len(layers)


LOSSES = [
    (rooms, step, place) if (rooms, step, place) in QUICK else slow(rooms, step, place)
    for rooms in [(3, 3, 3), (5, 4, 3), (2, 2, 2, 2)]
    for step in [1, 3, 6, 9, 10, 14]
    for place in [0, 1, 2]
]


@pytest.mark.parametrize("limits", [slow(WHOLE), MIXED], ids=["whole", "mixed"])
@pytest.mark.parametrize(("rooms", "step", "place"), LOSSES)
def test_a_device_lost_at_any_step_changes_no_bit(world, undisturbed, limits, rooms, step, place):
    world.limits = limits
    for number, room in enumerate(rooms):
        world.join(f"d{number}", room)
    lost = []

    def at_step(at):
        if at == step:
            segments = world.engine.segments
            lost.append(segments[min(place, len(segments) - 1)].device.name)
            world.kill(lost[0])

    assert run(world.engine, arriving(), at_step) == undisturbed[limits]
    assert [each.lost for each in world.engine.mended] == lost


@pytest.mark.slow
@pytest.mark.parametrize("limits", [WHOLE, MIXED], ids=["whole", "mixed"])
@pytest.mark.parametrize("seed", range(6))
def test_devices_that_come_and_go_change_no_bit(world, undisturbed, seed, limits):
    world.limits = limits
    rng = random.Random(seed)
    for place in range(3):
        world.join(f"d{place}", 3)

    def at_step(at):
        if at % 4 == 2:
            world.join(f"late{at}", rng.choice([2, 3, 6]))
        if at % 4 == 3:
            world.kill(rng.choice(world.engine.segments).device.name)

    assert apart(run(world.engine, arriving(), at_step)) == apart(undisturbed[limits])
    assert len(world.engine.mended) + world.engine.counts["sequences_moved"] >= 3


def test_where_nobody_has_room_everybody_is_told_and_the_next_request_is_served(world, model):
    world.join("a", 3)
    world.join("b", 3)
    with pytest.raises(PoolBroken, match="have another device join"):
        run(world.engine, arriving(), lambda at: world.kill("b") if at == 5 else None)
    assert not world.engine.has_work
    world.join("c", 3)
    some = {0: arriving()[0]}
    assert run(world.engine, some) == run(alone(model, limits=WHOLE), some)


@pytest.mark.parametrize(
    "numbers", [slow(each) for each in ("w7a8", "w12a13", "w7a15", "w13a15", "bfloat16")]
)
def test_other_arithmetics_are_taken_over_bit_for_bit_too(model, numbers):
    world = World(model, numbers, MIXED)
    try:
        for place in range(3):
            world.join(f"d{place}", 3)
        some = {0: arriving()[0]}
        lost = run(world.engine, some, lambda at: world.kill("d1") if at == 4 else None)
        assert lost == run(alone(model, numbers, MIXED), some)
    finally:
        world.close()


@pytest.mark.parametrize("step", [slow(5), 17])
def test_a_prompt_read_in_pieces_between_two_streams_keeps_what_was_read_of_it(model, step):
    short, long, last = (
        Request(
            key=str(length),
            prompt=tuple(place * 7 % 64 for place in range(length)),
            seed=length,
            num_rollouts=1,
            max_new_tokens=24,
        )
        for length in (5, 300, 17)
    )
    limits = replace(WHOLE, max_step_tokens=32, block=16)
    world = World(model, limits=limits)
    for number in range(3):
        world.join(f"d{number}", 4)

    def at_step(at):
        if at == step:
            world.engine.lines[0].lay()
            world.kill(world.engine.segments[-1].device.name)

    some = {0: [short], 2: [long], 3: [last]}  # the long one's slot lies between two that run
    expected = run(alone(model, limits=limits), some)
    assert run(world.engine, some, at_step) == expected
    assert len(world.engine.mended) == 1
    world.close()


@pytest.mark.parametrize("limits", [slow(WHOLE), MIXED], ids=["whole", "mixed"])
def test_a_quicker_device_that_joins_is_used_at_once_and_changes_no_bit(world, undisturbed, limits):
    world.limits = limits
    for name in ("a", "b"):
        world.join(name, 3).layer_ns = 1_000_000

    def at_step(at):
        if at == 10:
            world.join("quick", 4).layer_ns = 1000

    assert run(world.engine, arriving(), at_step) == undisturbed[limits]
    assert "quick" in {segment.device.name for segment in world.engine.segments}
    assert not world.engine.mended


def test_a_slower_device_that_joins_is_spare_until_it_is_needed(world):
    for name in ("a", "b"):
        world.join(name, 3).layer_ns = 1000
    some = {0: arriving()[0]}

    def at_step(at):
        if at == 2:
            world.join("slow", 6).layer_ns = 1_000_000
        if at == 4:
            assert {each.device.name for each in world.engine.segments} == {"a", "b"}
            world.kill("a")

    run(world.engine, some, at_step)
    assert {each.device.name for each in world.engine.segments} == {"b", "slow"}
