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


class _Scaled:
    """Bends a row in a way that shows whether it saw it as it was."""

    def steer(self, logits):
        logits.mul_(1.5).sub_(0.25)

    def took(self, token):
        raise AssertionError(token)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [None, 0.7])
def test_bent_rows_are_the_same_bits_alone_among_bent_ones_and_among_others(dtype, temperature):
    chance = torch.Generator().manual_seed(4)
    logits = torch.randn(4, 5000, generator=chance).to(dtype)
    uniform = torch.rand(4, 1, generator=chance, dtype=torch.float64)
    heat = None if temperature is None else torch.full((4, 1), temperature)

    def sampled(rows, bent):
        hands = tuple((place, _Scaled()) for place, row in enumerate(rows) if row in bent)
        part = None if heat is None else heat[rows]
        before = logits.clone()
        found = sample(logits[rows], Draw(uniform[rows], part, None, hands=hands))
        whole = sample(logits, Draw(uniform, heat, None, hands=tuple((n, _Scaled()) for n in bent)))
        assert torch.equal(logits, before), "what was given is the network's"
        return found, [each[rows] for each in whole]

    for rows, bent in (([0], [0]), ([0, 1, 2, 3], [0, 1, 2, 3]), ([2], [2, 1]), ([3], [0])):
        for one, other in zip(*sampled(rows, bent), strict=True):
            assert torch.equal(one, other)
