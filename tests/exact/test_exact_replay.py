"""A replay gives what decoding gave, bit for bit, and finds the first thing that was told otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from archipel.engine.capacity import EngineLimits
from archipel.engine.exact import forcing
from archipel.engine.exact.replay import Recorded, Replayed, Replayer
from archipel.engine.protocol import NotLoaded
from archipel.model.config import Family
from archipel.records.requests import InvalidRequest, Request
from exact.exact_models import (
    EDGES,
    FEW,
    WORLDS,
    changed,
    exact_engine,
    mixed_requests,
    numbers,
    replayer,
    sampled,
    world,
)

LIMITS = {
    "as they come": EngineLimits(),
    "three at once": EngineLimits(max_slots=3, max_prefill_tokens=16),
    "one after the other": EngineLimits(max_cache_bytes=1),
}


def positions(recorded: list[Recorded]) -> int:
    return sum(len(r.tokens) for each in recorded for r in each.rollouts.values())


@pytest.mark.parametrize(("family", "variant"), FEW)
def test_replay_of_what_was_decoded_is_equal_for_any_batches_cache_and_blocks(
    family: Family, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, state = world(family)
    recorded = sampled(exact_engine(config, state, variant), mixed_requests(64, (1, 5, 8, 30, 125)))
    for number, limits in enumerate(LIMITS.values()):
        # An odd number of scores and logits at a time cuts blocks and parts at odd places.
        monkeypatch.setattr(forcing, "MAX_SCORES", (1 << 22, 700, 3000)[number])
        monkeypatch.setattr(forcing, "MAX_LOGITS", (1 << 22, 64, 300)[number])
        small = EngineLimits(max_slots=1) if limits.max_cache_bytes == 1 else limits
        judge = replayer(config, state, variant, compact=number == 1, limits=small)
        found = judge.replay(recorded)
        assert found.difference is None
        assert found.positions == positions(recorded)


@pytest.fixture(scope="module")
def honest() -> list[Recorded]:
    config, state = world("qwen3")
    return sampled(exact_engine(config, state, "w7a15"), mixed_requests(64))


@pytest.fixture(scope="module")
def judge() -> Replayer:
    return replayer(*world("qwen3"), "w7a15")


def test_one_token_told_otherwise_is_found_where_it_stands(
    honest: list[Recorded], judge: Replayer
) -> None:
    tokens = list(honest[0].rollouts[1].tokens)
    right, tokens[7] = tokens[7], (tokens[7] + 1) % 64
    found = judge.replay([changed(honest[0], 1, tokens=tuple(tokens)), *honest[1:]]).difference
    assert found is not None
    assert (found.key, found.rollout, found.position, found.what) == ("0", 1, 7, "token")
    assert (found.recorded, found.recomputed) == (str(tokens[7]), str(right))


@pytest.mark.parametrize("position", [0, 5, 11])
def test_one_bit_of_a_log_probability_is_found(
    honest: list[Recorded], judge: Replayer, position: int
) -> None:
    values = list(honest[0].rollouts[2].logprobs)
    values[position] = float(np.nextafter(np.float32(values[position]), np.float32(-100)))
    spoilt = [changed(honest[0], 2, logprobs=tuple(values)), *honest[1:]]
    found = judge.replay(spoilt).difference
    assert found is not None
    assert (found.rollout, found.position, found.what) == (2, position, "log-probability")
    assert f"position {position}" in str(found)
    assert "0x" in str(found)


def test_a_log_probability_that_is_no_f32_is_not_equal(
    honest: list[Recorded], judge: Replayer
) -> None:
    values = list(honest[0].rollouts[0].logprobs)
    values[3] += 1e-15
    assert judge.replay([changed(honest[0], 0, logprobs=tuple(values))]).difference is not None


def test_ends_that_no_stop_token_or_limit_gives_are_found(judge: Replayer) -> None:
    config, state = world("qwen3")
    base = Request(key="end", prompt=(1, 2, 3), seed=5, num_rollouts=1, max_new_tokens=10)
    (whole,) = sampled(exact_engine(config, state, "w7a15"), [base])
    rollout = whole.rollouts[0]

    def fault(told: Recorded) -> tuple[str, int] | None:
        found = judge.replay([told]).difference
        return None if found is None else (found.what, found.position)

    assert fault(whole) is None
    short = {"tokens": rollout.tokens[:6], "logprobs": rollout.logprobs[:6]}
    assert fault(changed(whole, 0, **short)) == ("end", 5)
    assert fault(changed(whole, 0, finished=True)) == ("end", 9)
    stop = rollout.tokens[4]
    first = rollout.tokens.index(stop)
    stopping = replace(whole, request=replace(base, stop_tokens=(stop,)))
    assert fault(stopping) == ("end", first)
    cut = {"tokens": rollout.tokens[: first + 1], "logprobs": rollout.logprobs[: first + 1]}
    assert fault(changed(stopping, 0, **cut, finished=True)) is None


def test_the_first_difference_in_the_order_of_the_record_is_the_one_that_is_told(
    honest: list[Recorded],
) -> None:
    config, state = world("qwen3")
    spoilt = list(honest)
    for at, number in ((4, 0), (2, 0), (2, 1)):
        values = list(spoilt[at].rollouts[number].logprobs)
        values[-1] -= 1.0
        spoilt[at] = changed(spoilt[at], number, logprobs=tuple(values))
    for slots in (1, 2, 100):
        limited = replayer(config, state, "w7a15", limits=EngineLimits(max_slots=slots))
        found = limited.replay(spoilt).difference
        assert found is not None
        assert (found.key, found.rollout) == ("2", 0)


@pytest.mark.parametrize("what", ["seed", "temperature", "prompt", "rollout", "weights", "variant"])
def test_nothing_that_decides_a_rollout_can_be_told_otherwise(
    honest: list[Recorded], judge: Replayer, what: str
) -> None:
    first, request = honest[0], honest[0].request
    config, state = world("qwen3")
    if what == "seed":
        first = replace(first, request=replace(request, seed=request.seed ^ 1))
    elif what == "temperature":
        first = replace(first, request=replace(request, temperature=1.02))
    elif what == "prompt":
        first = replace(first, request=replace(request, prompt=(request.prompt[0] ^ 1,)))
    elif what == "rollout":
        first = replace(first, rollouts={0: first.rollouts[1]})
    elif what == "variant":
        judge = replayer(config, state, "w7a8")
    else:
        name = "model.layers.1.mlp.down_proj.weight"
        other = {**state, name: state[name] * 1.5}
        judge = replayer(config, other, "w7a15")
    assert judge.replay([first]).difference is not None


def test_some_rollouts_of_a_group_are_replayed_without_the_others(
    honest: list[Recorded], judge: Replayer
) -> None:
    told: list[int] = []
    some = [
        replace(each, rollouts={max(each.rollouts): each.rollouts[max(each.rollouts)]})
        for each in honest
    ]
    found = judge.replay(some, told.append)
    assert found == Replayed(len(honest), positions(some), None)
    assert told == [found.positions]
    assert judge.replay([]) == Replayed(0, 0, None)


def test_what_is_no_answer_is_refused(honest: list[Recorded], judge: Replayer) -> None:
    for fields in (
        {"tokens": (), "logprobs": ()},
        {"tokens": (64,), "logprobs": (-1.0,)},
        {"tokens": (1,)},
        {"tokens": (1,) * 99, "logprobs": (-1.0,) * 99},
    ):
        with pytest.raises(InvalidRequest, match="rollout 0 has"):
            judge.replay([changed(honest[0], 0, **fields)])
    fresh = Replayer(numbers(world("qwen3")[0], "w7a15"))
    with pytest.raises(NotLoaded, match="load"):
        fresh.replay(honest)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "variant"), WORLDS)
def test_replay_is_equal_about_every_edge_of_windows_and_with_any_threads(
    family: Family, variant: str
) -> None:
    config, state = world(family)
    requests = [replace(r, max_new_tokens=20) for r in mixed_requests(64, EDGES)]
    recorded = sampled(exact_engine(config, state, variant, compact=True), requests)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert replayer(config, state, variant).replay(recorded).difference is None
    finally:
        torch.set_num_threads(before)
