"""pass@k and its intervals against enumeration, published values and simulation."""

import random
from itertools import combinations

import pytest

from archipel.training.environments.secret_order import SecretOrder
from archipel.training.evaluation import (
    bootstrap_interval,
    evaluation_tasks,
    pass_at_k,
    powers_of_two,
    score,
    wilson_interval,
)


@pytest.mark.parametrize("num_samples", [1, 4, 7])
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_sample(num_samples):
    for num_correct in range(num_samples + 1):
        right = [True] * num_correct + [False] * (num_samples - num_correct)
        for k in range(1, num_samples + 1):
            subsets = list(combinations(right, k))
            expected = sum(map(any, subsets)) / len(subsets)
            assert pass_at_k(num_correct, num_samples, k) == pytest.approx(expected, abs=1e-15)


def test_pass_at_k_known_values():
    assert pass_at_k(0, 1024, 1024) == 0.0
    assert pass_at_k(1, 1024, 1024) == 1.0
    assert pass_at_k(3, 200, 1) == 0.015
    assert pass_at_k(5, 10, 2) == pytest.approx(1 - 10 / 45)


@pytest.mark.parametrize("place", [(-1, 4, 1), (5, 4, 1), (1, 4, 0), (1, 4, 5), (0, 0, 1)])
def test_pass_at_k_refuses_what_has_no_meaning(place):
    with pytest.raises(ValueError, match="expected"):
        pass_at_k(*place)


@pytest.mark.parametrize(
    ("place", "low", "high"),
    [
        ((0, 10), 0.0, 0.2775328),  # z^2 / (n + z^2)
        ((10, 10), 0.7224672, 1.0),
        ((5, 10), 0.2365931, 0.7634069),
        ((81, 263), 0.2553, 0.3662),  # Newcombe 1998, table I
        ((15, 148), 0.0624, 0.1605),  # Newcombe 1998, table I
    ],
)
def test_wilson_known_values(place, low, high):
    assert wilson_interval(*place) == pytest.approx((low, high), abs=5e-5)


def test_wilson_covers_the_truth_about_as_often_as_it_says():
    rng = random.Random(1)
    covered = 0
    for _ in range(2000):
        low, high = wilson_interval(sum(rng.random() < 0.9 for _ in range(60)), 60)
        covered += low <= 0.9 <= high
    assert 0.93 <= covered / 2000 <= 0.98


def test_bootstrap_is_seeded_holds_the_mean_and_agrees_with_wilson_on_yes_or_no():
    values = [1.0] * 180 + [0.0] * 76
    low, high = bootstrap_interval(values, seed=3)
    assert (low, high) == bootstrap_interval(values, seed=3)
    assert (low, high) != bootstrap_interval(values, seed=4)
    assert low < 180 / 256 < high
    assert (low, high) == pytest.approx(wilson_interval(180, 256), abs=0.015)


@pytest.mark.parametrize(("value", "count"), [(0.0, 0), (1.0, 50)])
def test_bootstrap_never_claims_certainty(value, count):
    assert bootstrap_interval([value] * 50, seed=0) == wilson_interval(count, 50)


def test_samples_of_one_task_are_not_independent_evidence():
    few, many = ([1.0], [0.0]) * 20, ([1.0] * 64, [0.0] * 64) * 20
    narrow, wide = (score(0, "dev", [0.0] * 40, samples).pass_at[1] for samples in (many, few))
    assert (narrow.low, narrow.high) == (wide.low, wide.high)


def test_an_evaluation_counts_only_exact_answers_and_averages_all_rewards():
    report = score(7, "test", [1.0, 0.5, 1.0, 0.0], [[1.0, 0.9], [0.0, 0.0], [1.0, 1.0], [0, 0]])
    assert (report.version, report.split, report.num_tasks, report.num_samples) == (7, "test", 4, 2)
    assert report.greedy.value == 0.5
    assert report.greedy_reward == 0.625
    assert {k: round(v.value, 9) for k, v in report.pass_at.items()} == {1: 0.375, 2: 0.5}
    assert all(part.low <= part.value <= part.high for part in report.pass_at.values())


def test_metrics_are_integers_in_millionths():
    metrics = score(7, "test", [1.0, 1.0, 0.0], [[1.0, 0.0]] * 3).to_metrics()
    assert all(type(value) is int for value in metrics.values())
    assert metrics["greedy"] == 666_667
    assert metrics["pass_at_1"] == 500_000
    assert metrics["pass_at_2"] == 1_000_000
    assert metrics["pass_at_2_low"] < 1_000_000 == metrics["pass_at_2_high"]
    assert {"num_tasks", "num_samples", "greedy_low", "greedy_high"} < metrics.keys()


def test_k_runs_through_powers_of_two_up_to_the_number_of_samples():
    assert powers_of_two(0) == ()
    assert powers_of_two(1) == (1,)
    assert powers_of_two(6) == (1, 2, 4, 6)
    assert powers_of_two(64) == (1, 2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize(
    "rewards", [([],), ([1.0], [[1.0], [1.0]]), ([1.0, 1.0], [[1.0], [1.0, 0.0]])]
)
def test_incomplete_rewards_are_refused(rewards):
    with pytest.raises(ValueError, match="got"):
        score(0, "dev", *rewards)


def test_evaluation_tasks_do_not_repeat_and_end_with_the_split():
    environment = SecretOrder({"length": 3}, 0, None)
    tasks = evaluation_tasks(environment, "test", 30)
    assert len({task.detail["letters"] for task in tasks}) == 30
    everything = evaluation_tasks(environment, "test", 1000)
    assert len({task.prompt for task in everything}) == len(everything)
