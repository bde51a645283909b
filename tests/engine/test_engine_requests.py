"""What an engine accepts, refuses and reports."""

import dataclasses

import pytest
import torch

from archipel.engine.engine import (
    EngineLimits,
    InvalidRequest,
    LocalEngine,
    NonFiniteLogits,
    NotLoaded,
    Request,
    WrongWeights,
)
from engine.engine_models import lively_state, small_config

CONFIG = small_config()
REQUEST = Request("a", (1, 2, 3), seed=5, num_rollouts=4, max_new_tokens=20)


@pytest.fixture
def engine() -> LocalEngine:
    torch.set_num_threads(1)
    engine = LocalEngine(CONFIG)
    engine.load(lively_state(CONFIG))
    return engine


def test_a_stop_token_ends_a_completion_and_is_kept(engine: LocalEngine) -> None:
    free = engine.generate([REQUEST])[0]
    stop = free[0].tokens[4]
    stopped = engine.generate([dataclasses.replace(REQUEST, stop_tokens=(63, stop))])[0]
    for long, short in zip(free, stopped, strict=True):
        assert not long.finished
        assert len(long.tokens) == 20
        assert short.tokens == long.tokens[: len(short.tokens)]
        assert short.logprobs == long.logprobs[: len(short.tokens)]
        assert short.finished == (short.tokens[-1] in (63, stop))
        assert not {63, stop} & set(short.tokens[:-1])
    assert stopped[0].finished


def test_progress_counts_every_sampled_token(engine: LocalEngine) -> None:
    seen: list[int] = []
    groups = engine.generate([REQUEST, dataclasses.replace(REQUEST, seed=6)], seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == sum(len(c.tokens) for group in groups for c in group)


def test_new_weights_replace_the_old_ones_completely(engine: LocalEngine) -> None:
    before = engine.generate([REQUEST])
    engine.load(lively_state(CONFIG, seed=9))
    other = engine.generate([REQUEST])
    fresh = LocalEngine(CONFIG)
    fresh.load(lively_state(CONFIG, seed=9))
    assert other == fresh.generate([REQUEST]) != before


def test_no_requests_give_no_completions(engine: LocalEngine) -> None:
    assert engine.generate([]) == []


def test_generate_before_load_is_refused() -> None:
    with pytest.raises(NotLoaded, match="call load"):
        LocalEngine(CONFIG).generate([REQUEST])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("prompt", (), "at least one token"),
        ("seed", -1, "64-bit"),
        ("seed", 2**64, "64-bit"),
        ("num_rollouts", 0, "1 to 4096"),
        ("max_new_tokens", 0, "at least 1"),
        ("temperature", float("nan"), "temperature"),
        ("temperature", -1.0, "temperature"),
        ("stop_tokens", tuple(range(65)), "at most 64"),
    ],
)
def test_a_malformed_request_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        dataclasses.replace(REQUEST, **{field: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": (64,)}, "outside 0..63"),
        ({"prompt": (-1,)}, "outside 0..63"),
        ({"max_new_tokens": 510}, "expected at most 512"),
    ],
)
def test_a_request_this_model_cannot_serve_is_refused(
    engine: LocalEngine, changes: dict, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        engine.generate([REQUEST, dataclasses.replace(REQUEST, **changes)])


def test_a_cache_too_small_for_the_smallest_batch_is_refused() -> None:
    engine = LocalEngine(CONFIG, limits=EngineLimits(max_cache_bytes=1000))
    engine.load(lively_state(CONFIG))
    with pytest.raises(InvalidRequest, match="max_cache_bytes"):
        engine.generate([REQUEST])


def test_a_small_cache_only_means_fewer_at_a_time(engine: LocalEngine) -> None:
    small = LocalEngine(CONFIG, limits=EngineLimits(max_cache_bytes=100_000))
    small.load(lively_state(CONFIG))
    many = dataclasses.replace(REQUEST, num_rollouts=40)
    assert small.generate([many]) == engine.generate([many])


def test_weights_of_another_model_are_refused_by_name() -> None:
    state = lively_state(CONFIG)
    engine = LocalEngine(CONFIG)
    missing = {name: t for name, t in state.items() if name != "model.norm.weight"}
    with pytest.raises(WrongWeights, match=r"model\.norm\.weight is missing"):
        engine.load(missing)
    with pytest.raises(WrongWeights, match="extra is unknown"):
        engine.load(state | {"extra": torch.zeros(1)})
    with pytest.raises(WrongWeights, match="has shape"):
        engine.load(state | {"model.norm.weight": torch.zeros(3)})


def test_broken_weights_are_refused_and_leave_no_trace(engine: LocalEngine) -> None:
    good, before = lively_state(CONFIG), engine.generate([REQUEST])
    engine.load({name: torch.full_like(t, torch.nan) for name, t in good.items()})
    with pytest.raises(NonFiniteLogits):
        engine.generate([REQUEST])
    engine.load(good)
    assert engine.generate([REQUEST]) == before
