"""The outer optimiser does what its formula says, in float32, and its first step as it is documented."""

import numpy as np
import pytest
import torch

from archipel.training.merging.outer import OuterTerms, outer_step
from training.merging.merge_case import tensors

NESTEROV = OuterTerms("nesterov", 0.7, 0.9)


@pytest.mark.slow  # torch's optimisers take seconds to import
def test_steps_are_those_of_torchs_nesterov() -> None:
    weights, memory = tensors(1), dict[str, np.ndarray]()
    theirs = {name: torch.from_numpy(each.copy()) for name, each in weights.items()}
    optimiser = torch.optim.SGD(theirs.values(), lr=0.7, momentum=0.9, nesterov=True)
    for step in range(4):
        delta = tensors(10 + step, 0.1)
        for name, each in theirs.items():
            each.grad = torch.from_numpy(delta[name].copy())
        optimiser.step()
        weights, memory = outer_step(weights, memory, delta, NESTEROV)
        for name, each in theirs.items():
            np.testing.assert_allclose(weights[name], each.numpy(), rtol=1e-5, atol=1e-6)
            assert weights[name].dtype == memory[f"momentum.{name}"].dtype == np.float32


def test_two_steps_by_hand() -> None:
    weights = {"w": np.array([10], np.float32)}
    terms, two, four = OuterTerms("nesterov", 0.5, 0.25), np.float32(2), np.float32(4)
    weights, memory = outer_step(weights, {}, {"w": np.array([two])}, terms)
    assert (weights["w"], memory["momentum.w"]) == (10 - 0.5 * 2.5, 2)
    weights, memory = outer_step(weights, memory, {"w": np.array([four])}, terms)
    assert (weights["w"], memory["momentum.w"]) == (8.75 - 0.5 * (4 + 0.25 * 4.5), 4.5)


def test_the_first_step_is_longer_by_the_momentum_and_like_ones_come_to_ten_times() -> None:
    weights, memory = {"w": np.zeros(1, np.float32)}, dict[str, np.ndarray]()
    one = {"w": np.ones(1, np.float32)}
    terms, lengths = OuterTerms("nesterov", 1.0, 0.9), list[float]()
    for _ in range(150):
        after, memory = outer_step(weights, memory, one, terms)
        lengths.append(float(weights["w"][0] - after["w"][0]))
        weights = after
    assert lengths[0] == pytest.approx(1.9)
    assert lengths[-1] == pytest.approx(10, rel=1e-3)


def test_sgd_remembers_nothing() -> None:
    weights, delta = tensors(1), tensors(2)
    made, memory = outer_step(weights, {}, delta, OuterTerms("sgd", 0.5))
    assert memory == {}
    for name, each in made.items():
        assert np.array_equal(each, weights[name] - np.float32(0.5) * delta[name])


def test_nothing_is_changed_in_place() -> None:
    weights, delta = tensors(1), tensors(2)
    _, memory = outer_step(weights, {}, delta, NESTEROV)
    kept = {name: each.copy() for name, each in memory.items()}
    outer_step(weights, memory, tensors(3), NESTEROV)
    for name, each in tensors(1).items():
        assert np.array_equal(weights[name], each)
        assert np.array_equal(delta[name], tensors(2)[name])
        assert np.array_equal(memory[f"momentum.{name}"], kept[f"momentum.{name}"])


@pytest.mark.parametrize(
    "wrong",
    [
        ("adam", 0.7, 0.9),
        ("sgd", 0.7, 0.9),
        ("sgd", 0.0, 0.0),
        ("nesterov", 0.7, 1.0),
        ("nesterov", float("nan"), 0.9),
    ],
)
def test_terms_out_of_bounds_are_refused(wrong: tuple[str, float, float]) -> None:
    with pytest.raises(ValueError, match=r"expected|leave it out"):
        OuterTerms(*wrong)  # type: ignore[arg-type]
