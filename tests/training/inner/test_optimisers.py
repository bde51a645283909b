"""AdamW and Muon over fp32 weights: against the textbook, and taken up again."""

import numpy as np
import pytest
import torch

from archipel.training.inner.muon import is_moved_by_muon, orthogonal
from archipel.training.inner.optimiser import InnerOptimiser
from archipel.training.optimiser import Diverged
from training.inner.texts import tiny_terms
from training.tiny_learner import tiny_model

torch.set_num_threads(1)
MATRIX, VECTOR = "model.layers.0.mlp.up_proj.weight", "model.norm.weight"


def gradients(model, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=source)


def test_adamw_is_the_textbooks_with_decay_of_matrices_alone():
    terms, model = tiny_terms(clip_norm=1e9, weight_decay=0.5), tiny_model(1)
    optimiser, rates = InnerOptimiser(model, terms), (0.1, 0.05)
    expected = {name: model.get_parameter(name).detach().double() for name in (MATRIX, VECTOR)}
    means, squares = dict.fromkeys(expected, 0.0), dict.fromkeys(expected, 0.0)
    for t, rate in enumerate(rates, 1):
        gradients(model, t)
        for name, weights in expected.items():
            gradient = model.get_parameter(name).grad.double()
            means[name] = 0.9 * means[name] + 0.1 * gradient
            squares[name] = 0.95 * squares[name] + 0.05 * gradient**2
            push = means[name] / (1 - 0.9**t) / ((squares[name] / (1 - 0.95**t)) ** 0.5 + 1e-8)
            decay = rate * 0.5 if name == MATRIX else 0.0
            expected[name] = weights * (1 - decay) - rate * push
        optimiser.step(rate)
    for name, weights in expected.items():
        torch.testing.assert_close(
            model.get_parameter(name).double(), weights, rtol=1e-5, atol=1e-6
        )


def test_the_whole_gradient_is_clipped():
    model = tiny_model(1)
    optimiser = InnerOptimiser(model, tiny_terms(clip_norm=0.5))
    gradients(model, 1)
    whole = sum(float((p.grad**2).sum()) for p in model.parameters()) ** 0.5
    first = model.get_parameter(MATRIX).grad.clone()
    assert optimiser.step(0.1) == pytest.approx(whole, rel=1e-5)
    mean = optimiser.moments()[f"exp_avg.{MATRIX}"]
    torch.testing.assert_close(mean, 0.1 * first * 0.5 / whole, rtol=1e-4, atol=1e-9)


def test_a_gradient_that_is_not_finite_moves_nothing():
    model = tiny_model(1)
    optimiser = InnerOptimiser(model, tiny_terms())
    before = model.get_parameter(MATRIX).detach().clone()
    gradients(model, 1)
    model.get_parameter(VECTOR).grad[0] = float("inf")
    with pytest.raises(Diverged, match="gradient norm is inf after 0 steps"):
        optimiser.step(0.1)
    assert torch.equal(model.get_parameter(MATRIX), before)
    assert optimiser.steps == 0
    assert not any(each.any() for each in optimiser.moments().values())


@pytest.mark.parametrize("shape", [(8, 8), (12, 4), (4, 12)])
def test_a_muon_step_has_singular_values_of_about_one_and_the_momentums_directions(shape):
    momentum = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 1e-3
    left, values, right = torch.linalg.svd(momentum, full_matrices=False)
    inside = left.T @ orthogonal(momentum) @ right.T
    spread = inside.diagonal()[values > values[0] / 20]
    assert 0.6 < float(spread.min()) <= float(spread.max()) < 1.3
    assert float((inside - inside.diagonal().diag()).abs().max()) < 1e-3


def test_muon_moves_the_matrices_of_layers_by_the_rate_whatever_their_gradient():
    terms, model = tiny_terms(optimiser="muon", weight_decay=0.0, rest_factor=0.5), tiny_model(1)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    optimiser = InnerOptimiser(model, terms)
    gradients(model, 1)
    optimiser.step(0.1)
    for name, parameter in model.named_parameters():
        moved = parameter.detach() - before[name]
        if is_moved_by_muon(name, tuple(moved.shape), terms):
            size = float(torch.linalg.matrix_norm(moved, 2))
            rows, columns = moved.shape
            assert 0.06 < size / (rows / columns) ** 0.5 < 0.13
        else:  # AdamW's first step: the rate, everywhere
            assert float((moved.abs() - 0.05).abs().max()) < 1e-3
    embedding = "model.embed_tokens.weight"
    assert not is_moved_by_muon(embedding, before[embedding].shape, terms)
    assert not is_moved_by_muon(MATRIX, before[MATRIX].shape, tiny_terms())


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_moments_taken_up_elsewhere_go_on_as_if_never_put_down(name):
    terms = tiny_terms(optimiser=name)
    one, other = tiny_model(1), tiny_model(1)
    first, second = InnerOptimiser(one, terms), InnerOptimiser(other, terms)
    for step in range(2):
        gradients(one, step)
        first.step(0.1)
    other.load_state_dict(one.state_dict())
    second.load({n: each.clone() for n, each in first.moments().items()}, first.steps)
    for optimiser, model in ((first, one), (second, other)):
        gradients(model, 7)
        optimiser.step(0.05)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_rates_rise_and_fall_over_the_whole_run_and_stay_at_the_end():
    terms = tiny_terms(learning_rate=1.0)
    rates = [terms.rate(step) for step in range(14)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert np.all(np.diff(rates[2:12]) < 0)
    assert rates[11:] == pytest.approx([0.1] * 3)
    assert tiny_terms(schedule="constant", learning_rate=1.0).rate(11) == 1.0


@pytest.mark.parametrize("name", ["beta1", "beta2", "momentum"])
def test_a_decay_that_lets_nothing_new_in_is_refused_before_an_optimiser_is_made(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 1.0; expected at least 0 and below 1"):
        tiny_terms(**{name: 1.0})
