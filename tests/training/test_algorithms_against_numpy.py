"""Rewards into advantages, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.records.recipe import AlgorithmSection
from archipel.training.algorithms import make_advantages, parts
from archipel.training.algorithms.shaping import shaped

ALGORITHMS = {
    "grpo": AlgorithmSection(name="grpo"),
    "grpo_std": AlgorithmSection(name="grpo", scale_by_std=True),
    "rloo": AlgorithmSection(name="rloo"),
    "reinforce": AlgorithmSection(name="reinforce"),
    "reinforce_group": AlgorithmSection(name="reinforce_group"),
}
BY_GROUP = ("grpo", "grpo_std", "rloo")
rewards = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=16).map(tuple)


batches = st.lists(rewards, min_size=1, max_size=6)


def batch_oracle(name, groups):
    if name in BY_GROUP:
        return [oracle(name, values) for values in groups]
    flat = np.concatenate([np.asarray(values, dtype=np.float64) for values in groups])
    if name == "reinforce":
        if flat.min() == flat.max():
            return [np.zeros(len(values)) for values in groups]
        return [(np.asarray(v) - flat.mean()) / (flat.std(ddof=1) + 1e-8) for v in groups]
    centred = [np.asarray(v, dtype=np.float64) - np.mean(v, dtype=np.float64) for v in groups]
    centred = [np.where(np.ptp(v) == 0, 0.0, c) for v, c in zip(groups, centred, strict=True)]
    scale = np.concatenate(centred).std(ddof=1) + 1e-8
    return [each / scale for each in centred]


def oracle(name, values):
    array = np.asarray(values, dtype=np.float64)
    if name == "rloo":
        count = len(array)
        return np.array([array[i] - np.delete(array, i).mean() for i in range(count)])
    centred = array - array.mean()
    return centred / (array.std(ddof=1) + 1e-4) if name == "grpo_std" else centred


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=25, deadline=None)
@given(groups=batches)
def test_advantages_equal_the_numpy_oracle(name, groups):
    found = make_advantages(ALGORITHMS[name])(groups)
    for each, expected in zip(found, batch_oracle(name, groups), strict=True):
        np.testing.assert_allclose(each, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=15, deadline=None)
@given(value=st.floats(-1e6, 1e6), count=st.integers(2, 50))
def test_equal_rewards_give_exactly_zero(name, value, count):
    groups = [(value,) * count] * 2
    assert make_advantages(ALGORITHMS[name])(groups) == [(0.0,) * count] * 2


@pytest.mark.parametrize("name", [*BY_GROUP, "reinforce_group"])
def test_a_group_whose_rewards_are_equal_is_worth_nothing_beside_others(name):
    found = make_advantages(ALGORITHMS[name])([(0.3,) * 4, (0.0, 1.0, 0.0, 0.5)])
    assert found[0] == (0.0,) * 4
    assert any(found[1])


def test_against_the_batch_a_group_whose_rewards_are_equal_says_how_hard_it_was():
    easy, hard, mixed = make_advantages(ALGORITHMS["reinforce"])(
        [(1.0,) * 4, (0.0,) * 4, (0.0, 1.0, 0.0, 1.0)]
    )
    assert min(easy) > 0 > max(hard)
    assert sum(mixed) == pytest.approx(0.0)


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=15, deadline=None)
@given(groups=batches, shift=st.floats(-10, 10))
def test_a_constant_added_to_all_rewards_changes_nothing(name, groups, shift):
    advantages = make_advantages(ALGORITHMS[name])
    flat = np.concatenate([np.asarray(values) for values in groups])
    if 0 < np.ptp(flat) < 1e-3 or any(0 < np.ptp(values) < 1e-3 for values in groups):
        return  # the shift itself is rounded there
    moved = advantages([tuple(value + shift for value in values) for values in groups])
    for each, expected in zip(moved, advantages(groups), strict=True):
        np.testing.assert_allclose(each, expected, rtol=1e-4, atol=1e-6)


part_groups = st.lists(
    st.integers(2, 8).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(-5, 5, width=32), min_size=n, max_size=n).map(tuple),
            min_size=3, max_size=3,
        )
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(groups=part_groups)
def test_reward_parts_are_scaled_each_by_itself_as_the_numpy_oracle_does(groups):
    weights = (1.0, 0.5, -0.25)
    summed = []
    for group in groups:
        table = np.asarray(group, dtype=np.float64)
        centred = table - table.mean(axis=1, keepdims=True)
        centred[np.ptp(table, axis=1) == 0] = 0.0
        scaled = centred / (table.std(axis=1, ddof=1, keepdims=True) + 1e-4)
        summed.append(np.asarray(weights) @ scaled)
    expected_scale = np.concatenate(summed).std(ddof=1) + 1e-8
    found = parts.advantages(groups, weights)
    for each, expected in zip(found, summed, strict=True):
        np.testing.assert_allclose(each, expected / expected_scale, rtol=1e-5, atol=1e-6)


def test_a_part_of_small_range_is_not_drowned_by_one_of_large_range():
    small = [((0.0, 0.0, 0.01, 0.01), (0.0, 100.0, 0.0, 100.0))]
    (found,) = parts.advantages(small, (1.0, 1.0))
    assert found[2] - found[0] == pytest.approx(found[1] - found[0], rel=0.03)
    (summed,) = make_advantages(ALGORITHMS["grpo_std"])([(0.0, 100.0, 0.01, 100.01)])
    assert summed[2] - summed[0] < 0.001 * (summed[1] - summed[0])


def test_parts_and_weights_have_to_be_as_many():
    with pytest.raises(ValueError, match="got 2 reward parts, expected 1"):
        parts.advantages([((0.0, 1.0), (1.0, 0.0))], (1.0,))


def test_overlong_completions_lose_along_the_line_of_dapo():
    """L = 20, C = 5: nothing up to 15, all of the penalty at 20."""
    section = AlgorithmSection(overlong_tokens=5, overlong_penalty=0.5)
    lengths = (1, 15, 16, 18, 20)
    found = shaped((1.0,) * 5, lengths, section, 20)
    oracle = 1.0 + 0.5 * np.interp(lengths, (15, 20), (0.0, -1.0))
    np.testing.assert_allclose(found, oracle)
    assert shaped((1.0,) * 5, lengths, AlgorithmSection(), 20) == (1.0,) * 5


def test_shorter_right_answers_earn_more_and_wrong_ones_earn_nothing_by_being_short():
    section = AlgorithmSection(length_weight=0.4)
    rewards, lengths = (1.0, 1.0, 0.0, 0.0), (10, 30, 10, 30)
    assert shaped(rewards, lengths, section, 64) == pytest.approx((1.2, 0.8, 0.0, -0.2))
    assert shaped((0.0,) * 3, (2, 2, 2), section, 64) == (0.0,) * 3
    (wrong,) = make_advantages(section)([shaped((0.0,) * 3, (2, 10, 4), section, 64)])
    assert wrong[0] == wrong[2] > wrong[1], "among wrong ones only the long are held back"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "reinforce", "scale_by_std": True}, "scales by the batch's standard deviation"),
        ({"part_weights": {"right": 1.0}}, 'needs name = "grpo" and scale_by_std = true'),
        (
            {"part_weights": {"right": 1.0}, "scale_by_std": True, "length_weight": 0.1},
            "let the environment give length as a part",
        ),
    ],
)
def test_keys_that_do_not_fit_together_are_refused_with_a_sentence(given, said):
    with pytest.raises(ValueError, match=said):
        AlgorithmSection(**given)
