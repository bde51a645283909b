"""The loss of a text is what the contract's clauses give, whatever it is read beside."""

import math
import random

import numpy as np
import pytest
import torch

from archipel.engine.capacity import EngineLimits
from archipel.engine.exact import forcing
from archipel.engine.exact.sampling import log_chances, sample
from archipel.engine.exact.text_loss import MOST, UNIT, text_loss
from archipel.engine.fused import FusedDecoder
from archipel.engine.protocol import NonFiniteLogits
from archipel.engine.sampler import Draw
from archipel.model.config import Family
from exact import oracle
from exact.exact_models import FEW, numbers, world

WINDOWS = tuple(
    tuple(random.Random(length).randrange(64) for _ in range(length)) for length in (2, 9, 17, 9)
)


def decoder(family: Family, variant: str) -> FusedDecoder:
    config, state = world(family)
    return FusedDecoder(config, state, numbers(config, variant))


def by_clauses(family: Family, variant: str, window: tuple[int, ...]) -> int:
    """Clause 11 by the oracle."""
    config, state = world(family)
    weights = {name: each.float().numpy() for name, each in state.items()}
    rows = oracle.logits(config, weights, oracle.VARIANTS[variant], window[:-1])
    total = 0
    for row, token in zip(rows, window[1:], strict=True):
        _, z, p = oracle.chances(row, 1.0)
        logprob = np.float32(np.float64(z[token]) - oracle.logarithm(int(p.sum())))
        total += min(round(float(logprob) * -UNIT), MOST * UNIT)
    return total


@pytest.mark.parametrize(
    ("family", "variant"),
    [FEW[0], *(pytest.param(*each, marks=pytest.mark.slow) for each in FEW[1:])],
)
def test_a_loss_is_what_the_clauses_give(family: Family, variant: str) -> None:
    expected = sum(by_clauses(family, variant, each) for each in WINDOWS)
    assert text_loss(decoder(family, variant), WINDOWS) == expected
    assert expected > 30 * UNIT, "33 tokens that a network without sense finds unlikely"


def test_batches_blocks_and_company_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    made = decoder("qwen3", "w13a15")
    alone = sum(text_loss(made, [each]) for each in WINDOWS)
    for limits in (EngineLimits(), EngineLimits(max_slots=3), EngineLimits(max_cache_bytes=1)):
        assert text_loss(made, WINDOWS, limits) == alone
        monkeypatch.setattr(forcing, "MAX_SCORES", 70)
        monkeypatch.setattr(forcing, "MAX_LOGITS", 64)
    assert text_loss(made, WINDOWS[::-1]) == alone


def test_a_given_token_has_the_log_probability_of_one_that_was_drawn() -> None:
    logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(0)) * 4
    uniform = torch.rand(50, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tokens, said = sample(logits, Draw(uniform, None, None))
    assert log_chances(logits, tokens).tolist() == said.tolist()
    every = torch.stack([log_chances(logits, torch.full((50,), each)) for each in range(300)])
    assert every.double().exp().sum(0).numpy() == pytest.approx(np.ones(50), abs=1e-6)


def test_one_token_costs_no_more_than_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    config, state = world("llama")
    loud = {name: each * 2**20 if "norm" in name else each for name, each in state.items()}
    found = text_loss(FusedDecoder(config, loud, numbers(config, "w7a15")), WINDOWS[1:2])
    assert found <= 8 * MOST * UNIT
    assert found > MOST * UNIT


def test_weights_that_give_nothing_finite_are_refused() -> None:
    config, state = world("llama")
    broken = {name: torch.full_like(each, 3e38) for name, each in state.items()}
    with pytest.raises(NonFiniteLogits, match="check the weights"):
        text_loss(FusedDecoder(config, broken, numbers(config, "w7a15")), WINDOWS)


def test_windows_that_are_not_of_the_model_are_refused() -> None:
    made = decoder("llama", "w7a8")
    for wrong in (
        [],
        [(1,)],
        [(1, 64)],
        [(-1, 2)],
        [(1,) * (made.config.max_position_embeddings + 2)],
    ):
        with pytest.raises(ValueError, match="expected"):
            text_loss(made, wrong)
    longest = made.config.max_position_embeddings + 1
    assert math.isfinite(text_loss(made, [(1,) * longest]))
