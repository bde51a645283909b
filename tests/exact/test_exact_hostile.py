"""What no number is refused wherever it comes from, and spoils nobody who does not depend on it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import Request
from archipel.engine.exact.trace import attended
from archipel.engine.exact.variants import VARIANTS
from archipel.engine.protocol import NonFiniteLogits
from archipel.engine.sampler import Draw
from archipel.model.config import DecoderConfig
from exact import oracle
from exact.exact_models import exact_engine, numbers, replayer, sampled, world

SPOILT = 63
"""A token whose embedding leads to no number."""


def hostile() -> tuple[DecoderConfig, dict[str, Tensor]]:
    """Weights that are sound bf16 numbers, and of which one token's row overflows as soon as it is read."""
    config, state = world("llama")
    state = {name: each.clone() for name, each in state.items()}
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    state["model.embed_tokens.weight"][SPOILT] = 3e38
    state["model.layers.0.input_layernorm.weight"][:] = 4.0
    return replace(config, tie_embeddings=False), state


def request(**fields: object) -> Request:
    asked = {"key": "k", "prompt": (1, 2, 3), "seed": 5, "num_rollouts": 1, "max_new_tokens": 4}
    return Request(**(asked | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("compact", [False, True])
def test_a_request_that_reads_what_leads_to_no_number_is_refused_and_the_next_is_as_ever(
    variant: str, compact: bool
) -> None:
    config, state = hostile()
    good = request(temperature=0.0)
    fresh = exact_engine(config, state, variant, compact=compact).generate([good])
    engine = exact_engine(config, state, variant, compact=compact)
    with pytest.raises(NonFiniteLogits, match="check the weights"):
        engine.generate([request(prompt=(1, SPOILT, 2, 4, 5, 6, 7, 8, 9))])
    assert engine.generate([good]) == fresh


@pytest.mark.slow
def test_a_last_token_that_nobody_reads_spoils_nobody_who_gets_its_place() -> None:
    config, state = hostile()
    state["lm_head.weight"][SPOILT] *= 3
    limits = EngineLimits(max_slots=9)
    requests = [
        request(
            key=str(n), prompt=tuple(range(1, 2 + n % 5)), seed=n, num_rollouts=2,
            max_new_tokens=60 if n == 0 else 3 + n * 5 % 17, stop_tokens=(SPOILT,), temperature=1.5,
        )
        for n in range(30)
    ]  # fmt: skip
    engine = exact_engine(config, state, "w7a8", limits=limits)
    together = engine.generate(requests)
    alone = [engine.generate([each])[0] for each in requests]
    assert sum(each.finished for group in alone for each in group) > 10
    assert together == alone


@pytest.mark.parametrize(
    "row", [(0.0, -math.inf), (0.0, math.inf), (0.0, math.nan), (3e38, -3e38), (-math.inf,) * 2]
)
@pytest.mark.parametrize("place", [0, 199])
def test_no_token_is_sampled_from_a_row_with_a_logit_that_is_none_or_infinitely_far(
    row: tuple[float, float], place: int
) -> None:
    for greedy in (False, True):
        logits = torch.linspace(-1, 1, 200) + (row[0] if abs(row[0]) > 1 else 0.0)
        logits[place] = row[1]
        uniform = torch.full((1, 1), 0.4, dtype=torch.float64)
        draw = Draw(uniform, torch.ones(1, 1), torch.tensor([[True]]) if greedy else None)
        _, logprob = numbers(world("llama")[0], "w7a8").sample(logits[None], draw)
        assert not math.isfinite(float(logprob))
        with pytest.raises(oracle.NotFinite):
            oracle.sample(logits.numpy(), 0.4, 1.0, greedy)


def test_weights_that_give_one_logit_of_minus_infinity_are_refused() -> None:
    config, state = world("llama")
    state = {name: each.clone() for name, each in state.items()}
    head = state["model.embed_tokens.weight"].float()
    state["lm_head.weight"] = (head * 1e-38).bfloat16()
    state["model.norm.weight"][:] = 3e38
    state["lm_head.weight"][7] = (head[7] * 1e3).bfloat16()
    engine = exact_engine(replace(config, tie_embeddings=False), state, "w7a8")
    for prompt in ((1, 2, 3), (9, 9), (20,)):  # of either sign
        with pytest.raises(NonFiniteLogits):
            engine.generate([request(prompt=prompt, max_new_tokens=1)])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_score_of_minus_infinity_has_no_weight_and_one_of_infinity_no_result(
    variant: str,
) -> None:
    top, size = VARIANTS[variant].attention_top, 8
    config = replace(world("llama")[0], head_dim=size, num_heads=1, num_kv_heads=1)
    arithmetic = numbers(config, variant)
    rng = np.random.default_rng(1)
    query = np.abs(rng.normal(size=(1, size))).astype(np.float32) * np.float32(1e20)
    (q,), (s_q,) = oracle.quantised(query, top)
    k, v = rng.integers(1, top, (2, 5, size))
    k[2] *= -1
    s_k, s_v = np.full(5, 1e-24, np.float32), np.full(5, 0.5, np.float32)
    s_k[2] = 1e30
    held = [torch.from_numpy(part.reshape(5, 1, -1)) for part in (k, s_k, v, s_v)]
    held[0], held[2] = held[0].to(arithmetic.dtype), held[2].to(arithmetic.dtype)
    asked, bias = torch.from_numpy(query)[None], torch.zeros(5)
    seen = (q, s_q), (k, s_k), (v, s_v), oracle.VARIANTS[variant]
    right = oracle.attention(*seen)[1]
    assert np.isfinite(right).all()
    assert np.array_equal(attended(arithmetic, asked, held, bias)[0].numpy(), right)
    held[0][2] *= -1
    k[2] *= -1
    assert not attended(arithmetic, asked, held, bias).isfinite().any()
    with pytest.raises(oracle.NotFinite):
        oracle.attention(*seen)


def test_a_temperature_that_rounds_to_0_is_greedy_and_a_replay_knows() -> None:
    config, state = world("llama")
    asked = request(temperature=1e-46, num_rollouts=2, max_new_tokens=8)
    (found,) = sampled(exact_engine(config, state, "w7a8"), [asked])
    (greedy,) = sampled(exact_engine(config, state, "w7a8"), [replace(asked, temperature=0.0)])
    assert found.rollouts == greedy.rollouts
    assert replayer(config, state, "w7a8").replay([found]).difference is None


@pytest.mark.parametrize("num_new", [1, 2, 60])
def test_rollouts_of_one_token_and_at_the_edge_of_the_context_are_replayed(num_new: int) -> None:
    config, state = world("llama")
    most = config.max_position_embeddings
    asked = request(prompt=(7,) * (most - num_new), max_new_tokens=num_new, num_rollouts=2)
    (found,) = sampled(exact_engine(config, state, "w7a8"), [asked])
    assert replayer(config, state, "w7a8").replay([found]).difference is None
