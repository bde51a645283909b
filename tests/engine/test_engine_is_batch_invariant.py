"""A rollout's tokens and log-probabilities are bitwise the same alone and in any company."""

import random
from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional as F

from archipel.engine import attention
from archipel.engine.arithmetic import FloatArithmetic
from archipel.engine.engine import EngineLimits, LocalEngine, Request
from archipel.engine.feeding import FusedExperts, feeding
from archipel.engine.selftest import self_test
from archipel.model.config import DecoderConfig, Experts
from archipel.records.rollouts import Rollout
from engine.engine_models import lively_state, ragged_requests, small_config

LENGTHS = (5, 8, 8, 17, 40, 300, 255, 256, 257, 100, 16)

SHAPES = {
    "one key head, odd sizes": small_config(
        "olmo2", hidden_size=48, num_heads=6, num_kv_heads=1, head_dim=8,
        intermediate_size=72, vocab_size=2000,
    ),
    "no grouping, tiny heads": small_config(
        "qwen2", hidden_size=32, num_kv_heads=4, head_dim=8, intermediate_size=100
    ),
    "wide feed-forward": small_config("qwen3", head_dim=32, intermediate_size=1536),
}  # fmt: skip

MORE = {
    "experts": small_config("qwen3_moe", experts=Experts(8, 3, 72, normalised=True)),
    "factors on everything": small_config("granite", num_layers=1),
}
FAST = {
    ("no grouping, tiny heads", "fp32"),
    ("one key head, odd sizes", "bf16"),
    ("wide feed-forward", "fp32"),
}


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.slow)], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        pytest.param(
            config, dtype, id=f"{name}-{word}",
            marks=() if (name, word) in FAST else pytest.mark.slow,
        )
        for name, config in (SHAPES | MORE).items()
        for word, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    ],
)  # fmt: skip
def test_alone_equals_any_batch_order_and_engine_size(
    config: DecoderConfig, dtype: torch.dtype
) -> None:
    state = lively_state(config)
    requests = ragged_requests(config.vocab_size, LENGTHS)
    engine = LocalEngine(config, dtype=dtype)
    engine.load(state)
    alone = [engine.generate([request])[0] for request in requests]
    rng = random.Random(0)
    for size, max_slots in ((11, 256), (11, 9), (3, 256)):
        order = rng.sample(range(len(requests)), size)
        fresh = LocalEngine(config, dtype=dtype, limits=EngineLimits(max_slots=max_slots))
        fresh.load(state)
        together = fresh.generate([requests[i] for i in order])
        assert together == [alone[i] for i in order]


@pytest.mark.parametrize("shape", [(9, 3, 10), (5, 5, 6), (3, 1, 18), (3, 3, 22)])
def test_heads_that_lie_between_aligned_places_do_not_move_a_bit(
    shape: tuple[int, int, int],
) -> None:
    torch.set_num_threads(1)
    heads, kv_heads, dim = shape
    config = small_config(
        hidden_size=heads * dim, num_heads=heads, num_kv_heads=kv_heads, head_dim=dim,
        num_layers=1, intermediate_size=40,
    )  # fmt: skip
    engine = LocalEngine(config)
    engine.load(lively_state(config))
    requests = ragged_requests(config.vocab_size, (5, 17, 40, 9, 16))
    alone = [engine.generate([request])[0] for request in requests]
    assert engine.generate(requests) == alone


def test_a_rollout_does_not_depend_on_how_many_siblings_it_has() -> None:
    config = small_config()
    engine = LocalEngine(config)
    engine.load(lively_state(config))
    prompt = tuple(range(1, 9))
    many = engine.generate([Request("g", prompt, 11, 16, 12)])[0]
    few = engine.generate([Request("g", prompt, 11, 3, 12)])[0]
    assert many[:3] == few
    assert len({completion.tokens for completion in many}) == 16


@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(torch.float32, id="fp32"),
        pytest.param(torch.bfloat16, id="bf16", marks=pytest.mark.slow),
    ],
)
def test_the_self_test_passes_here(dtype: torch.dtype) -> None:
    config = small_config("qwen3")
    engine = LocalEngine(config, dtype=dtype)
    engine.load(lively_state(config))
    report = self_test(engine, config.vocab_size, config.max_position_embeddings)
    assert report.batch_invariant
    assert report.num_completions > 20


def test_the_self_test_detects_sums_that_the_library_splits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    weights, values = torch.randn(4, 4, 208), torch.randn(4, 208, 16)
    padded = torch.bmm(F.pad(weights, (0, 48)), F.pad(values, (0, 0, 0, 48)))
    if torch.equal(torch.bmm(weights, values), padded):
        pytest.skip("this machine's library does not split sums of this length")
    config = small_config(num_kv_heads=1)
    engine = LocalEngine(config)
    engine.load(lively_state(config))
    monkeypatch.setattr(attention, "CHUNK", 512)
    assert not self_test(engine, config.vocab_size, config.max_position_embeddings).batch_invariant


class Broken:
    """An engine whose numbers shift in the last bit with the size of the batch."""

    def __init__(self, engine: LocalEngine, breaks_tokens: bool) -> None:
        self._engine, self._breaks_tokens = engine, breaks_tokens

    def load(self, state: dict) -> None:
        self._engine.load(state)

    def generate(self, requests: list, on_progress: object = None) -> list:
        groups = self._engine.generate(requests)
        return [tuple(self._broken(c, len(requests)) for c in group) for group in groups]

    def _broken(self, completion: Rollout, size: int) -> Rollout:
        if size < 3:
            return completion
        if self._breaks_tokens:
            return Rollout((*completion.tokens[::-1], 0), completion.logprobs, False)
        nudged = tuple(logprob * (1 + 2e-7) for logprob in completion.logprobs)
        return Rollout(completion.tokens, nudged, completion.finished)


@pytest.mark.parametrize("breaks_tokens", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_self_test_detects_a_broken_engine(breaks_tokens: bool) -> None:
    config = small_config()
    engine = LocalEngine(config)
    engine.load(lively_state(config))
    report = self_test(Broken(engine, breaks_tokens), 64, config.max_position_embeddings)
    assert not report.batch_invariant
    assert (report.num_different_tokens > 0) == breaks_tokens
    assert (report.num_different_logprobs > 0) != breaks_tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_row_of_experts_does_not_depend_on_the_rows_beside_it(dtype: torch.dtype) -> None:
    config = small_config("qwen3_moe", experts=Experts(8, 3, 72, normalised=True))
    state, numbers = lively_state(config), FloatArithmetic(config, dtype, torch.device("cpu"))
    block = feeding(config, "model.layers.0.", lambda name: state[name].to(dtype), numbers)
    assert isinstance(block, FusedExperts)
    rows = torch.randn(40, 64, generator=torch.Generator().manual_seed(4)).to(dtype)
    whole = block(0, rows, None, None)
    for size in (4, 5, 7, 13, 40):
        places = torch.randperm(40, generator=torch.Generator().manual_seed(size))[:size]
        assert torch.equal(block(0, rows[places], None, None), whole[places])
