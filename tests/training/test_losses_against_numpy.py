"""Every loss against an oracle in NumPy float64: values, and gradients by central differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.records.recipe import LossSection
from archipel.training.losses import MAX_LOG_RATIO, make_objective

NAMES = ("ppo_clip", "tis", "cispo", "trust_region")
ALL = (*NAMES, "gspo")
STEP = 1e-6
LENGTH = 8
"""Tokens of a completion."""


def section_of(name, **given):
    return LossSection(name=name, mean_over="sequences" if name == "gspo" else "tokens", **given)


def oracle(name, logprobs, behaviour, advantages, frozen, section):
    """Loss per token; `frozen` are the log-probs at which weights and masks are taken."""
    ratio = np.exp(logprobs - behaviour)
    held = np.exp(frozen - behaviour)
    if name == "ppo_clip":
        low, high = 1 - section.clip_low, 1 + section.clip_high
        return -np.minimum(ratio * advantages, np.clip(ratio, low, high) * advantages)
    if name == "tis":
        return -np.minimum(held, section.ratio_cap) * advantages * logprobs
    if name == "cispo":
        bounded = np.clip(held, section.cispo_low, section.cispo_high)
        return -bounded * advantages * logprobs
    moved = np.exp(frozen) - np.exp(behaviour)
    delta = section.trust_delta
    keep = ~(((advantages > 0) & (moved > delta)) | ((advantages < 0) & (moved < -delta)))
    return -1.0 * keep * advantages * ratio + section.kl_coefficient * (logprobs - behaviour) ** 2


def sample(seed, spread, count=64):
    rng = np.random.default_rng(seed)
    behaviour = np.log(rng.uniform(0.02, 0.98, count))
    logprobs = np.minimum(behaviour + rng.normal(0.0, spread, count), -1e-3)
    advantages = rng.normal(0.0, 1.0, count) * rng.integers(0, 4, count).clip(0, 1)
    return logprobs, behaviour, advantages


def run(name, logprobs, behaviour, advantages, section):
    leaf = torch.tensor(logprobs, dtype=torch.float64, requires_grad=True)
    sequences = torch.arange(len(logprobs)) // LENGTH
    loss = make_objective(section)(
        leaf, torch.tensor(behaviour), torch.tensor(advantages), sequences
    )
    loss.values_N.sum().backward()
    return loss, leaf.grad.numpy()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), spread=st.sampled_from([1e-4, 0.1, 0.6, 2.0]))
def test_loss_and_gradient_equal_the_numpy_oracle(name, seed, spread):
    section = LossSection(name=name, kl_coefficient=0.05)
    logprobs, behaviour, advantages = sample(seed, spread)
    loss, gradient = run(name, logprobs, behaviour, advantages, section)
    expected = oracle(name, logprobs, behaviour, advantages, logprobs, section)
    np.testing.assert_allclose(loss.values_N.detach().numpy(), expected, rtol=1e-12, atol=1e-13)
    above = oracle(name, logprobs + STEP, behaviour, advantages, logprobs, section)
    below = oracle(name, logprobs - STEP, behaviour, advantages, logprobs, section)
    # A difference across a kink of the clip is no derivative.
    ratio = np.exp(logprobs - behaviour)
    smooth = np.minimum(abs(ratio - 0.8), abs(ratio - 1.28)) > 10 * STEP
    slope = (above - below) / (2 * STEP)
    np.testing.assert_allclose(gradient[smooth], slope[smooth], rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_on_policy_every_loss_has_the_policy_gradient(name):
    _, behaviour, advantages = sample(3, 1.0)
    _, gradient = run(name, behaviour, behaviour, advantages, LossSection(name=name))
    np.testing.assert_allclose(gradient, -advantages, rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("gap", [-500.0, -30.0, 30.0, 500.0])
@pytest.mark.parametrize("advantage", [-1.0, 1.0])
def test_extreme_log_ratios_stay_finite(name, gap, advantage):
    logprobs = torch.tensor([-1.0 + min(gap, 0.0)], requires_grad=True)
    behaviour = torch.tensor([-1.0 - max(gap, 0.0)])
    objective = make_objective(section_of(name))
    loss = objective(logprobs, behaviour, torch.tensor([advantage]), torch.tensor([0]))
    loss.values_N.sum().backward()
    assert torch.isfinite(loss.values_N).all()
    assert torch.isfinite(logprobs.grad).all()
    assert abs(loss.values_N.item()) < np.exp(MAX_LOG_RATIO) * 2


def test_trust_region_masks_only_moves_in_the_advantage_direction():
    behaviour = torch.tensor([0.5] * 6).log()
    logprobs = torch.tensor([0.75, 0.25] * 3).log()
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0, 0.0, 0.0])
    objective = make_objective(LossSection(name="trust_region"))
    loss = objective(logprobs, behaviour, advantages, torch.arange(6))
    assert loss.held_back_N.tolist() == [True, False, False, True, False, False]


def test_tis_and_cispo_are_one_formula_with_two_caps():
    logprobs, behaviour, advantages = sample(5, 2.0)
    capped = LossSection(name="cispo", cispo_low=0.0, cispo_high=3.0)
    truncated = LossSection(name="tis", ratio_cap=3.0)
    one, gradient = run("cispo", logprobs, behaviour, advantages, capped)
    other, same_gradient = run("tis", logprobs, behaviour, advantages, truncated)
    assert torch.equal(one.values_N, other.values_N)
    assert (gradient == same_gradient).all()


def gspo_oracle(logprobs, behaviour, advantages, section):
    """Equation 5 of arXiv 2507.18071, one number a completion."""
    shaped = [array.reshape(-1, LENGTH) for array in (logprobs, behaviour, advantages)]
    ratio = np.exp((shaped[0] - shaped[1]).mean(axis=1))
    low, high = 1 - section.sequence_clip_low, 1 + section.sequence_clip_high
    advantage = shaped[2][:, 0]
    return -np.minimum(ratio * advantage, np.clip(ratio, low, high) * advantage)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), spread=st.sampled_from([1e-4, 1e-3, 0.1]))
def test_gspo_and_its_gradient_equal_the_numpy_oracle_of_whole_completions(seed, spread):
    section = section_of("gspo")
    logprobs, behaviour, advantages = sample(seed, spread)
    advantages = np.repeat(advantages[::LENGTH], LENGTH)
    loss, gradient = run("gspo", logprobs, behaviour, advantages, section)
    gradient = gradient / LENGTH  # as `mean_over = "sequences"` weighs tokens
    values = loss.values_N.detach().numpy()
    expected = gspo_oracle(logprobs, behaviour, advantages, section)
    np.testing.assert_allclose(values, np.repeat(expected, LENGTH), rtol=1e-12)
    ratio = np.exp((logprobs - behaviour).reshape(-1, LENGTH).mean(axis=1))
    smooth = np.minimum(abs(ratio - (1 - 3e-4)), abs(ratio - (1 + 4e-4))) > 1e-7
    for place in range(0, len(logprobs), 5):
        moved = np.zeros_like(logprobs)
        moved[place] = STEP
        above = gspo_oracle(logprobs + moved, behaviour, advantages, section).sum()
        below = gspo_oracle(logprobs - moved, behaviour, advantages, section).sum()
        if smooth[place // LENGTH]:
            assert gradient[place] == pytest.approx(
                (above - below) / (2 * STEP), abs=1e-7, rel=1e-4
            )


def test_gspo_passes_over_tokens_that_are_not_valid():
    logprobs, behaviour, advantages = (torch.tensor(each) for each in sample(4, 1e-3, 16))
    sequences = torch.arange(16) // LENGTH
    objective = make_objective(section_of("gspo"))
    whole = objective(logprobs, behaviour, advantages, sequences)
    keep = torch.ones(16, dtype=torch.bool)
    keep[[1, 5, 12]] = False
    spoilt = torch.where(keep, behaviour, -50.0)
    masked = objective(logprobs, spoilt, advantages, torch.where(keep, sequences, -1))
    alone = objective(logprobs[keep], behaviour[keep], advantages[keep], sequences[keep])
    assert torch.equal(masked.values_N[keep], alone.values_N)
    assert not torch.equal(masked.values_N[keep], whole.values_N[keep])
    nothing = objective(logprobs, behaviour, advantages, torch.full((16,), -1))
    assert torch.isfinite(nothing.values_N).all()


def test_gspo_is_for_means_over_completions():
    with pytest.raises(ValueError, match='give mean_over = "sequences"'):
        LossSection(name="gspo")
