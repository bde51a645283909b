"""Several lines in one pool: every text has one engine's own bits, whichever lines it went over."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archipel.engine.engine import EngineLimits, Request
from archipel.engine.protocol import NonFiniteLogits, Ticket
from archipel.model.directory import write_model
from archipel.records.requests import InvalidRequest
from archipel.records.rollouts import Rollout
from archipel.serve.pool.devices import Device
from archipel.serve.pool.placing import PoolBroken
from engine.engine_models import lively_state, small_config
from serve.pool_world import World, alone, apart, directory, run, spoiled

LIMITS = EngineLimits(max_slots=12, max_cache_bytes=2**24, max_step_tokens=32, block=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return directory(tmp_path_factory.mktemp("pool") / "model")


def arriving(seed: int = 0, longest: int = 40) -> dict[int, list[Request]]:
    """Requests that come while others run."""
    rng = random.Random(seed)
    some = [
        Request(
            key=str(index),
            prompt=tuple(rng.randrange(64) for _ in range(length)),
            seed=rng.randrange(2**64),
            num_rollouts=rng.choice([1, 2]),
            max_new_tokens=rng.choice([7, 20, longest]),
            temperature=rng.choice([1.0, 0.0]),
            stop_tokens=(3,) if index % 2 else (),
        )
        for index, length in enumerate((5, 17, 70, 3, 24, 9))
    ]
    return {0: some[:3], 4: some[3:5], 9: some[5:]}


@pytest.fixture(scope="module")
def undisturbed(model: Path) -> object:
    return apart(run(alone(model, limits=LIMITS), arriving()))


def pool(model: Path, *rooms: int, numbers: str = "float32") -> World:
    """Devices alike in speed, with room for so many layers of six."""
    world = World(model, numbers, LIMITS)
    for place, each in enumerate(rooms):
        joined(world, f"d{place}", each)
    return world


def joined(world: World, name: str, layers: int) -> Device:
    device = world.join(name, layers)
    device.layer_ns = 1_000_000
    return device


def lines_of(world: World) -> list[set[str]]:
    """The devices of each line that is loaded."""
    lines = [{each.device.name for each in line.segments} for line in world.engine.lines]
    return [each for each in lines if each]


def until(world: World, is_so: Callable[[], bool]) -> None:
    """Lines are loaded beside what runs."""
    end = time.monotonic() + 20
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)
    assert is_so()


def test_requests_go_over_two_lines_at_once_with_one_engines_bits(
    model: Path, undisturbed: object
) -> None:
    world = pool(model, 3, 3, 3, 3)
    passes = dict[str, int]()
    try:
        world.engine.welcome(is_loaded=True)
        until(world, lambda: len(lines_of(world)) == 2)
        assert apart(run(world.engine, arriving())) == undisturbed
        passes = {each.name: each.traffic.passes for each in world.devices.here()}
        assert [len(each) for each in lines_of(world)] == [2, 2]
    finally:
        world.close()
    assert all(passes.values())


LOSSES = [
    pytest.param(step, place, marks=[] if (step, place) in {(6, 1)} else [pytest.mark.slow])
    for step in (2, 3, 6, 11)
    for place in (0, 1)
]


@pytest.mark.parametrize(("step", "place"), LOSSES)
def test_streams_of_a_line_that_cannot_be_filled_go_on_over_the_other(
    model: Path, undisturbed: object, step: int, place: int
) -> None:
    world = pool(model, 3, 3, 3, 3)

    def at_step(at: int) -> None:
        if at == step:
            driver = max(world.engine._lines.drivers, key=lambda each: each.num_open)
            world.kill(driver.line.segments[place].device.name)

    try:
        world.engine.welcome(is_loaded=True)
        until(world, lambda: len(lines_of(world)) == 2)
        assert apart(run(world.engine, arriving(), at_step)) == undisturbed
        assert world.engine.counts["sequences_moved"] > 0
        assert len(world.engine.lines) == 1
        assert not world.engine.mended  # nobody had room for what it held
        assert not world.engine.has_work
    finally:
        world.close()


def test_a_loss_in_one_line_is_made_good_by_a_spare_and_the_other_line_stays(
    model: Path, undisturbed: object
) -> None:
    world = pool(model, 3, 3, 3, 3, 3)
    before, lost = list[set[str]](), list[str]()

    def at_step(at: int) -> None:
        if at == 6:
            before.extend(lines_of(world))
            lost.append(min(before[0]))
            world.kill(lost[0])

    try:
        world.engine.welcome(is_loaded=True)
        until(world, lambda: len(lines_of(world)) == 2)
        assert apart(run(world.engine, arriving(), at_step)) == undisturbed
        after = lines_of(world)
        assert after[1] == before[1]
        assert len(after[0]) == 2
        assert not after[0] & {*lost, *before[1]}
        assert [each.lost for each in world.engine.mended] == lost
        assert world.engine.counts["sequences_moved"] == 0
    finally:
        world.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_devices_of_several_lines_come_and_go_and_no_bit_changes(
    model: Path, undisturbed: object, seed: int
) -> None:
    world, rng = pool(model, 3, 3, 3, 3), random.Random(seed)

    def at_step(at: int) -> None:
        if at % 5 == 2 and at < 40:  # then what is said again has time to come to an end
            joined(world, f"late{at}", rng.choice([3, 3, 6]))
        if at % 5 == 4 and at < 40:
            world.kill(rng.choice([each.name for each in world.devices.here()]))

    try:
        assert apart(run(world.engine, arriving(), at_step)) == undisturbed
    finally:
        world.close()


@pytest.mark.slow
@pytest.mark.parametrize("numbers", ["w7a15", "bfloat16"])
def test_other_arithmetics_move_to_another_line_bit_for_bit_too(model: Path, numbers: str) -> None:
    some = {
        step: [replace(each, temperature=1.0) for each in them] for step, them in arriving().items()
    }
    world = pool(model, 3, 3, 3, 3, numbers=numbers)
    try:
        world.engine.welcome(is_loaded=True)
        until(world, lambda: len(lines_of(world)) == 2)
        found = apart(run(world.engine, some, lambda at: world.kill("d0") if at == 7 else None))
        assert found == apart(run(alone(model, numbers, LIMITS), some))
        assert world.engine.counts["sequences_moved"] > 0
    finally:
        world.close()


def test_a_line_of_devices_that_join_is_loaded_beside_what_runs_and_takes_the_next_request(
    model: Path, undisturbed: object
) -> None:
    world = pool(model, 3, 3)

    def at_step(at: int) -> None:
        if at == 2:
            joined(world, "late0", 3)
            joined(world, "late1", 3)
        if at == 4:  # two requests come
            until(world, lambda: len(lines_of(world)) == 2)

    try:
        assert apart(run(world.engine, arriving(), at_step)) == undisturbed
        assert lines_of(world) == [{"d0", "d1"}, {"late0", "late1"}]
        here = {each.name: each.traffic.passes for each in world.devices.here()}
        assert here["late0"] > 0
    finally:
        world.close()


@pytest.mark.slow
def test_a_pool_that_is_idle_is_laid_anew_where_that_makes_more_lines(model: Path) -> None:
    world = pool(model, 4, 4)
    some = {0: arriving()[0]}
    try:
        expected = run(alone(model, limits=LIMITS), some)
        assert run(world.engine, some) == expected
        assert len(lines_of(world)) == 1
        for name in ("late0", "late1"):
            joined(world, name, 2)
        world.engine.welcome(is_loaded=True)
        until(world, lambda: len(lines_of(world)) == 2)
        assert apart(run(world.engine, some)) == apart(expected)
    finally:
        world.close()


@pytest.mark.slow
def test_where_every_line_is_lost_everybody_is_told_and_nothing_is_left(model: Path) -> None:
    world = pool(model, 3, 3, 3, 3)

    def at_step(at: int) -> None:
        if at == 5:
            for place in range(3):
                world.kill(f"d{place}")

    try:
        with pytest.raises(PoolBroken, match="have another device join"):
            run(world.engine, arriving(), at_step)
        assert not world.engine.has_work
        joined(world, "late", 3)
        some = {0: arriving()[0]}
        assert run(world.engine, some) == run(alone(model, limits=LIMITS), some)
    finally:
        world.close()


@pytest.mark.slow
def test_a_request_that_is_cancelled_while_its_line_is_lost_says_nothing_more(model: Path) -> None:
    world = pool(model, 3, 3, 3, 3)
    try:
        engine = world.engine
        engine.welcome(is_loaded=True)
        until(world, lambda: len(lines_of(world)) == 2)
        tickets = [engine.add(Request(str(at), (1, 2, 3), at, 2, 60, 1.0)) for at in range(4)]
        for _ in range(6):
            engine.step()
        world.kill("d0")
        assert engine.cancel(tickets[0])
        assert engine.cancel(tickets[1])
        assert not engine.cancel(tickets[1])
        told = set()
        while engine.has_work:
            told |= {ticket for ticket, _ in engine.step().owners}
        assert told == set(tickets[2:])
    finally:
        world.close()


@pytest.mark.slow
def test_a_device_whose_numbers_are_none_is_blamed_and_no_stream_notices(
    model: Path,
    undisturbed: object,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = pool(model, 3, 3, 3)
    bad = world.devices.here()[0]
    spoiled(monkeypatch, "d0", 8)
    try:
        assert apart(run(world.engine, arriving())) == undisturbed
    finally:
        world.close()
    assert bad.is_blamed
    assert [each.lost for each in world.engine.mended] == ["d0"]
    assert [each for each in caplog.messages if "expected finite ones" in each] == [
        "d0 is lost: numbers came back that are none; expected finite ones: look at its memory and its version; "
        "others take over"
    ]


def test_where_two_devices_make_no_numbers_of_the_same_rows_the_weights_are_blamed(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = pool(model, 3, 3, 3)
    spoiled(monkeypatch, "d", 0)
    try:
        with pytest.raises(NonFiniteLogits, match=r"d0 and d2 both made"):
            run(world.engine, {0: arriving()[0][:1]})
        assert not world.engine.has_work
    finally:
        world.close()
    assert not any(each.is_blamed for each in world.devices.here())


def test_where_a_weight_is_no_number_no_device_is_blamed(tmp_path: Path) -> None:
    config = small_config("llama", num_layers=6, max_position_embeddings=1024)
    state = lively_state(config)
    state["model.layers.4.mlp.down_proj.weight"][0, 0] = float("nan")
    write_model(tmp_path / "model", state, config)
    world = pool(tmp_path / "model", 3, 3)
    devices = world.devices.here()
    try:
        with pytest.raises(NonFiniteLogits, match=r"layers.4.mlp.down_proj.weight has"):
            run(world.engine, {0: arriving()[0][:1]})
    finally:
        world.close()
    assert not any(each.is_blamed for each in devices)


TEXTS = [
    tuple(place * step % 61 for place in range(length))
    for length, step in ((3, 1), (300, 7), (530, 11))
]


@pytest.mark.parametrize(
    "numbers",
    ["float32", *(pytest.param(each, marks=[pytest.mark.slow]) for each in ("w7a15", "bfloat16"))],
)
def test_a_pool_embeds_texts_with_one_engines_bits(model: Path, numbers: str) -> None:
    world = pool(model, 3, 3, numbers=numbers)
    try:
        found = world.engine.embed(TEXTS)
    finally:
        world.close()
    assert torch.equal(found, alone(model, numbers, LIMITS).embed(TEXTS))


def test_a_text_whose_device_is_lost_is_read_anew_beside_streams_that_go_on(
    model: Path, undisturbed: object
) -> None:
    world = pool(model, 3, 3, 3)
    reading = world.engine.reading(TEXTS[2])

    def at_step(at: int) -> None:
        if at in (2, 8, 9):
            reading.step()
        if at == 5:
            world.kill(world.engine.segments[-1].device.name)

    try:
        assert apart(run(world.engine, arriving(), at_step)) == undisturbed
    finally:
        world.close()
    assert reading.is_whole
    assert torch.equal(reading.mean, alone(model, limits=LIMITS).embed(TEXTS[2:])[0])


def test_a_text_that_comes_after_a_loss_is_read_over_the_devices_that_are_left(
    model: Path,
) -> None:
    world = pool(model, 3, 3, 3)
    try:
        first = world.engine.embed(TEXTS)
        world.kill(world.engine.segments[0].device.name)
        assert torch.equal(world.engine.embed(TEXTS), first)
        world.kill(world.engine.segments[0].device.name)
        with pytest.raises(PoolBroken, match="have another device join"):
            world.engine.embed(TEXTS)
    finally:
        world.close()


def test_a_device_reads_so_many_texts_at_once_and_forgets_the_oldest(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.serve.pool.texts_held.MAX_TEXTS", 2)
    world = pool(model, 3, 3)
    expected = alone(model, limits=LIMITS).embed(TEXTS[2:])[0]
    try:
        readings = [world.engine.reading(TEXTS[2]) for _ in range(3)]
        for each in readings:
            each.step()
        for each in reversed(readings):  # the first was forgotten, and is read anew
            while each.step():
                pass
        assert all(torch.equal(each.mean, expected) for each in readings)
        assert not any(each.is_lost for each in world.devices.here())
    finally:
        world.close()


def test_a_text_that_no_device_has_room_for_is_refused_in_a_sentence(model: Path) -> None:
    world = pool(model, 3, 3)
    try:
        world.engine.embed(TEXTS[:1])
        tight = world.stages["d1"]
        tight._gift = replace(tight._gift, memory_bytes=1)
        with pytest.raises(
            InvalidRequest, match=r"a text of 530 tokens could not be read: d1: with a text"
        ):
            world.engine.embed(TEXTS[2:])
        assert len(world.devices.here()) == 2
    finally:
        world.close()


@pytest.mark.parametrize("num_said", [1, 2, pytest.param(90, marks=pytest.mark.slow)])
def test_what_was_said_is_told_again_as_it_was_and_gone_on_with_whatever_would_be_drawn(
    model: Path, num_said: int
) -> None:
    """By the exact contract, whose bits do not hang on how tokens were read, so that one engine can be asked."""
    world, rng = pool(model, 3, 3, numbers="w7a15"), random.Random(num_said)
    said = [[(rng.randrange(64), -float(place)) for place in range(num_said)] for _ in range(2)]
    request = Request("a", tuple(range(9)), 5, 2, num_said + 9, 1.0)
    engine, ticket, steps = world.engine, Ticket(0), 0
    try:
        engine.welcome()
        (driver,) = engine._lines.drivers
        driver.add(ticket, request, said)
        found = dict[tuple[Ticket, int], Rollout]()
        while driver.has_work:
            found |= driver.step().ended
            steps += 1
    finally:
        world.close()
    assert steps < 9 + 10
    for rollout, before in enumerate(said):
        told = found[ticket, rollout]
        tokens = tuple(token for token, _ in before)
        assert told.tokens[:num_said] == tokens
        assert told.logprobs[:num_said] == tuple(logprob for _, logprob in before)
        rest = replace(
            request,
            prompt=(*request.prompt, *tokens),
            num_rollouts=1,
            max_new_tokens=9,
            first_rollout=rollout,
            first_position=num_said,
        )
        ((expected,),) = alone(model, "w7a15", LIMITS).generate([rest])
        assert told.tokens[num_said:] == expected.tokens
        assert told.logprobs[num_said:] == expected.logprobs
