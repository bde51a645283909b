"""What tenants are answered, and what is gathered for them, against a second writing in float64."""

import numpy as np
import pytest
import torch

from archipel.model.adapter import adapt, trained
from archipel.training.tenants.losses import LOSSES, constants_of, loss_and_slope
from archipel.training.tenants.operations import Datum, ForwardBackward, OptimStep, Stepped
from training.tenants.asked import ask, datum, form_of, moved, run, scored, tenants
from training.tenants.oracle import AdamOracle, Oracle, loss_of
from training.tiny_learner import rounded_copy, tiny_model

torch.set_num_threads(1)
CONFIGS = {"ppo": {"clip_low_threshold": 0.5, "clip_high_threshold": 1.7}, "dro": {"beta": 0.3}}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "own head"])
def setting(request):
    changes = {"tie_word_embeddings": request.param}
    base = {
        name: tensor.detach()
        for name, tensor in rounded_copy(tiny_model(seed=3, **changes)).state_dict().items()
    }
    return tenants(**changes), base


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_logprobs_and_gradient_are_those_of_the_formulas(setting, loss: str) -> None:
    over, base = setting
    state = moved(over, form_of(), 1)
    asked = ask(7, (9, 1, 14), loss, **CONFIGS.get(loss, {}))
    views = state.layout.views(state.rounded())
    oracle = Oracle(over.config, base, views, state.layout.form.scale)
    found = scored(run(over, state, asked)[0])
    total = torch.zeros((), dtype=torch.float64)
    for each, logprobs in zip(asked.data, found.logprobs, strict=True):
        expected = oracle.logprobs(each.tokens_T, each.inputs["target_tokens"])
        assert np.allclose(logprobs, expected.detach().numpy(), rtol=0, atol=2e-5)
        total = total + loss_of(loss, expected, each, asked.config)
    assert found.metrics["loss:sum"] == pytest.approx(float(total.detach()), rel=1e-5, abs=1e-4)
    total.backward()
    gathered = state.layout.views(state.gradient)
    for name, weights in oracle.adapter.items():
        size = float(weights.grad.abs().max())
        assert size > 0, name
        assert torch.allclose(
            gathered[name].double(), weights.grad, rtol=0, atol=2e-5 * size + 1e-6
        ), name


def test_gradients_of_several_operations_add_up_and_a_forward_pass_adds_none(setting) -> None:
    over, _ = setting
    form, asked = form_of(), [ask(1, (5, 6)), ask(2, (7,), "importance_sampling")]
    apart = []
    for each in asked:
        state = moved(over, form, 1)
        run(over, state, each)
        apart.append(state.gradient)
    state = moved(over, form, 1)
    looked = ForwardBackward(asked[0].data, "cross_entropy", forward_only=True)
    one, two, _ = run(over, state, asked[0], looked, asked[1])
    assert torch.allclose(state.gradient, apart[0] + apart[1], rtol=1e-6, atol=1e-7)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(scored(one).logprobs, scored(two).logprobs, strict=True)
    )


def test_steps_are_those_of_adamw(setting) -> None:
    over, _ = setting
    state = moved(over, form_of(), 1)
    oracle = AdamOracle(state.masters.numpy())
    for number in range(3):
        run(over, state, ask(number, (8,)))
        gradient = state.gradient.numpy().astype(np.float64)
        norm = np.sqrt((gradient**2).sum())
        clip = 0.5 * norm if number else 0.0
        step = OptimStep(3e-3, 0.8, 0.9, 1e-8, 0.1, clip)
        (outcome,) = run(over, state, step)
        assert isinstance(outcome, Stepped)
        assert outcome.metrics["gradient_norm"] == pytest.approx(norm)
        oracle.step(gradient * (0.5 if number else 1.0), 3e-3, (0.8, 0.9), 1e-8, 0.1)
        assert state.gradient is None
        assert np.allclose(state.masters.numpy(), oracle.weights, rtol=1e-5, atol=1e-7)


def test_an_adapter_begins_as_the_trainers_does(setting) -> None:
    over, _ = setting
    inside = form_of(targets=("q_proj", "down_proj"))
    decoder = tiny_model()
    adapt(decoder, inside, 11)
    views = over.create(inside, 11).layout.views(over.create(inside, 11).masters)
    assert {name: each.tolist() for name, each in trained(decoder).items()} == {
        name: each.tolist() for name, each in views.items()
    }


@pytest.mark.parametrize("loss", ["gspo", "dro"])
def test_a_mask_names_the_places_of_a_ratio_or_of_a_square(loss) -> None:
    one = datum(7, 6, sampled=True)
    mask = np.array([1, 0, 1, 1, 0, 0], np.float32)
    one = Datum(one.tokens_T, {**one.inputs, "mask": mask})
    inputs = {n: torch.from_numpy(v) for n, v in one.inputs.items() if n != "target_tokens"}
    logprobs_T = torch.linspace(-3.2, -2.7, 6)
    leaf = logprobs_T.double().requires_grad_()
    expected = loss_of(loss, leaf, one, {})
    (slope,) = torch.autograd.grad(expected, leaf)
    found, found_slope = loss_and_slope(loss, constants_of(loss, {}), logprobs_T, inputs)
    assert found == pytest.approx(float(expected.detach()), rel=1e-5)
    assert found_slope.tolist() == pytest.approx(slope.tolist(), rel=1e-4, abs=1e-7)
