"""Rewards into advantages, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.records.recipe import AlgorithmSection
from archipel.training.algorithms import make_advantages

ALGORITHMS = {
    "grpo": AlgorithmSection(name="grpo"),
    "grpo_std": AlgorithmSection(name="grpo", scale_by_std=True),
    "rloo": AlgorithmSection(name="rloo"),
}
rewards = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=16).map(tuple)


def oracle(name, values):
    array = np.asarray(values, dtype=np.float64)
    if name == "rloo":
        count = len(array)
        return np.array([array[i] - np.delete(array, i).mean() for i in range(count)])
    centred = array - array.mean()
    return centred / (array.std(ddof=1) + 1e-4) if name == "grpo_std" else centred


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=60, deadline=None)
@given(values=rewards)
def test_advantages_equal_the_numpy_oracle(name, values):
    found = make_advantages(ALGORITHMS[name])(values)
    np.testing.assert_allclose(found, oracle(name, values), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=30, deadline=None)
@given(value=st.floats(-1e6, 1e6), count=st.integers(2, 50))
def test_equal_rewards_give_exactly_zero(name, value, count):
    assert make_advantages(ALGORITHMS[name])((value,) * count) == (0.0,) * count


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=30, deadline=None)
@given(values=rewards, shift=st.floats(-10, 10))
def test_a_constant_added_to_all_rewards_changes_nothing(name, values, shift):
    advantages = make_advantages(ALGORITHMS[name])
    moved = advantages(tuple(value + shift for value in values))
    np.testing.assert_allclose(moved, advantages(values), rtol=1e-4, atol=1e-6)
