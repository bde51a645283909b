"""The sampler draws from the distribution it reports, for small and large vocabularies."""

import numpy as np
import pytest
import torch

from archipel.engine.sampler import Draw, sample


def draw(uniform: list[float], temperature: float | None = None, greedy: bool = False) -> Draw:
    rows = len(uniform)
    return Draw(
        torch.tensor(uniform, dtype=torch.float64).unsqueeze(1),
        None if temperature is None else torch.full((rows, 1), temperature),
        torch.ones(rows, 1, dtype=torch.bool) if greedy else None,
    )


@pytest.mark.parametrize("vocab_size", [2, 64, 1024, 1025, 5000])
def test_tokens_follow_the_reported_distribution(vocab_size: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(vocab_size) * 2
    uniform = (np.arange(20_000) + 0.5) / 20_000
    tokens, logprobs = sample(logits.expand(20_000, -1), draw(uniform.tolist(), 0.8))
    exact = torch.softmax(logits.double() / 0.8, dim=0)
    # Evenly spaced uniforms: every cumulative frequency is off by at most one grid step.
    counts = torch.bincount(tokens, minlength=vocab_size).double() / 20_000
    assert (counts.cumsum(0) - exact.cumsum(0)).abs().max() < 1e-4
    torch.testing.assert_close(logprobs.double(), exact.log()[tokens], atol=2e-6, rtol=0)


@pytest.mark.parametrize("vocab_size", [8, 3000])
def test_a_token_of_zero_probability_is_never_drawn(vocab_size: int) -> None:
    logits = torch.full((3, vocab_size), -torch.inf)
    logits[:, vocab_size // 2] = 0.0
    tokens, logprobs = sample(logits, draw([2.0**-51, 0.5, 1 - 2.0**-51]))
    assert tokens.tolist() == [vocab_size // 2] * 3
    assert logprobs.tolist() == [0.0] * 3


def test_greedy_takes_the_likeliest_and_reports_its_probability() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 64)
    tokens, logprobs = sample(logits, draw([0.9] * 5, greedy=True))
    assert torch.equal(tokens, logits.argmax(1))
    torch.testing.assert_close(logprobs, torch.log_softmax(logits, 1).amax(1))


def test_broken_logits_give_a_logprob_that_is_not_finite() -> None:
    tokens, logprobs = sample(torch.full((1, 8), torch.nan), draw([0.5]))
    assert 0 <= int(tokens) < 8
    assert not torch.isfinite(logprobs).any()
