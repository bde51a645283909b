"""Rates at every step and one AdamW step, against the formulas written out."""

import math

import pytest
import torch
from torch import nn

from archipel.records.recipe import OptimiserSection, SupervisedSection
from archipel.training.optimiser import AdamSettings, Diverged, MasterAdamW
from archipel.training.schedule import learning_rate, warmed_up
from archipel.training.sft import Progress

SETTINGS = AdamSettings(beta1=0.8, beta2=0.9, weight_decay=0.5, clip_norm=0.25, epsilon=1e-3)


def section(schedule: str, warmup_steps: int) -> OptimiserSection:
    return OptimiserSection(
        learning_rate=2.0, warmup_steps=warmup_steps, schedule=schedule, final_fraction=0.2
    )


@pytest.mark.parametrize("warmup_steps", [0, 3])
def test_every_rate_of_every_schedule_is_its_formula(warmup_steps):
    for step in range(11):
        warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        part = max(0.0, (step - warmup_steps) / (10 - warmup_steps))
        wave = (1 - math.cos(math.pi * part)) / 2
        for name, done in (("constant", 0.0), ("linear", part), ("cosine", wave)):
            rate = learning_rate(section(name, warmup_steps), step, 11)
            assert rate == pytest.approx(2.0 * warm * (1 - 0.8 * done)), (name, step)


def test_a_run_shorter_than_its_warm_up_or_longer_than_planned_stays_in_bounds():
    for name in ("constant", "linear", "cosine"):
        assert learning_rate(section(name, 5), 0, 1) == pytest.approx(0.4)
        assert learning_rate(section(name, 5), 5, 6) == pytest.approx(2.0)
    assert learning_rate(section("linear", 0), 500, 10) == pytest.approx(0.4)
    assert warmed_up(3.0, 7, 0) == 3.0


def test_a_supervised_decay_is_linear_from_the_step_it_opens():
    settings = SupervisedSection(steps=4, batch_size=1, learning_rate=1.0, decay_steps=4)
    rates = [Progress(step=step, decay_from=4).next_rate(settings) for step in range(4, 8)]
    warm = warmed_up(1.0, 4, settings.warmup_steps)
    scaled = [rate / warmed_up(1.0, 4 + n, settings.warmup_steps) for n, rate in enumerate(rates)]
    assert warm > 0
    assert scaled == pytest.approx([1 - 0.95 * n / 4 for n in (1, 2, 3, 4)])
    assert not Progress(step=7, decay_from=4).is_done(settings)
    assert Progress(step=8, decay_from=4).is_done(settings)


def model_with(gradient: float) -> nn.Module:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]]))
        model.bias.copy_(torch.tensor([1.0, -1.0]))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    return model


@pytest.mark.parametrize("gradient", [0.01, 7.0])
def test_a_step_is_adamw_on_clipped_gradients_and_only_matrices_decay(gradient):
    model = model_with(gradient)
    optimiser = MasterAdamW(model, SETTINGS)
    before = optimiser.state()
    norm = optimiser.step(0.1)
    assert norm == pytest.approx(gradient * math.sqrt(8))
    clipped = gradient * min(1.0, 0.25 / (norm + 1e-6))
    push = clipped / (abs(clipped) + 1e-3)  # first step: both moments are bias-corrected to g, g^2
    state = optimiser.state()
    for name, decay in (("weight", 0.5), ("bias", 0.0)):
        expected = before[f"master.{name}"] * (1 - 0.1 * decay) - 0.1 * push
        torch.testing.assert_close(state[f"master.{name}"], expected, rtol=1e-5, atol=1e-6)
        assert torch.allclose(state[f"exp_avg.{name}"], torch.tensor(0.2 * clipped))
        assert torch.allclose(state[f"exp_avg_sq.{name}"], torch.tensor(0.1 * clipped**2))
    assert optimiser.steps == 1
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_restored_optimiser_takes_the_step_the_first_would_have_taken():
    first = MasterAdamW(model_with(0.3), SETTINGS)
    first.step(0.1)
    second_model, first_model = model_with(0.2), model_with(0.2)
    second = MasterAdamW(second_model, SETTINGS)
    second.load(first.state(), first.steps)
    assert second.steps == 1
    third = MasterAdamW(first_model, SETTINGS)
    third.load(first.state(), 40)
    for optimiser in (second, third):
        optimiser.step(0.1)
    for parameter in first._parameters.values():
        parameter.grad = torch.full_like(parameter, 0.2)
    first.step(0.1)
    for name, tensor in first.state().items():
        assert torch.equal(tensor, second.state()[name]), name
    assert not torch.equal(first.state()["master.weight"], third.state()["master.weight"])


def test_whoever_writes_a_state_down_at_once_needs_no_second_one():
    optimiser = MasterAdamW(model_with(0.3), SETTINGS)
    optimiser.step(0.1)
    copied, shared = optimiser.state(), optimiser.state(copy=False)
    assert all(torch.equal(copied[name], tensor) for name, tensor in shared.items())
    masters = {tensor.data_ptr() for tensor in optimiser._masters.values()}
    assert {shared[f"master.{name}"].data_ptr() for name in optimiser._masters} == masters
    assert not {copied[f"master.{name}"].data_ptr() for name in optimiser._masters} & masters


@pytest.mark.parametrize("key", ["master", "exp_avg", "exp_avg_sq"])
def test_a_state_of_another_shape_is_refused_by_the_tensors_name(key):
    optimiser = MasterAdamW(model_with(0.1), SETTINGS)
    state = optimiser.state()
    state[f"{key}.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match=rf"{key}.bias has shape"):
        optimiser.load(state, 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_dropped_and_the_next_one_counts(bad):
    model = model_with(bad)
    optimiser = MasterAdamW(model, SETTINGS)
    before = optimiser.state()
    with pytest.raises(Diverged, match="optimiser step 0"):
        optimiser.step(0.1)
    assert all(torch.equal(before[name], tensor) for name, tensor in optimiser.state().items())
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.01)
    assert optimiser.step(0.1) == pytest.approx(0.01 * math.sqrt(8))
