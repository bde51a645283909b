"""The secret order: no leak of the secret, held-out letter sets, an exact reward."""

import math
from collections import Counter
from itertools import permutations

import pytest

from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.environment import make_environment
from archipel.training.environments.secret_order import SecretOrder
from archipel.training.environments.task import InvalidEnvironment, MissingSecret

SECRET = b"not the seed"
SPLITS = ("train", "dev", "test")


def secret_order(seed=0, secret=SECRET, **values):
    return SecretOrder(values, seed, secret)


def test_tasks_are_a_pure_function_of_seed_split_and_index():
    first, second = secret_order(), secret_order()
    places = [(split, index) for split in SPLITS for index in (5, 0, 777, 10**6)]
    assert [first.task(*place) for place in places] == [
        second.task(*place) for place in reversed(places)
    ][::-1]
    assert secret_order(seed=1).task("train", 0) != first.task("train", 0)


def test_tasks_and_supervised_data_do_not_depend_on_the_secret():
    told, untold, other = secret_order(), secret_order(secret=None), secret_order(secret=b"other")
    for index in range(50):
        assert told.task("train", index) == untold.task("train", index)
        assert told.supervised(index) == untold.supervised(index) == other.supervised(index)


def test_supervised_answers_are_uniform_over_the_arrangements():
    environment = secret_order(length=3, alphabet=16)
    num_draws = 6000
    ranks = Counter()
    for index in range(num_draws):
        prompt, answer = environment.supervised(index)
        ranks[tuple(prompt.index(letter) for letter in answer)] += 1
    expected = num_draws / 6
    chi_square = sum((ranks[order] - expected) ** 2 / expected for order in permutations(range(3)))
    assert chi_square < 25.7  # 5 degrees of freedom, p = 1e-4


def test_no_letter_set_is_in_two_splits_under_any_seed():
    owners = {}
    for seed in (0, 1):
        environment = secret_order(seed=seed, length=3)
        for split in SPLITS:
            for index in range(600):
                letters = environment.task(split, index).detail["letters"]
                assert owners.setdefault(letters, split) == split
    assert len(owners) == math.comb(16, 3)


def test_a_split_repeats_no_letter_set_before_it_is_used_up():
    environment = secret_order(length=3)
    letters = [environment.task("test", index).detail["letters"] for index in range(40)]
    assert len(set(letters)) == 40


def test_exactly_one_arrangement_is_exact_and_a_reward_is_the_share_of_ordered_pairs():
    environment = secret_order(length=4)
    task = environment.task("dev", 3)
    solution = environment.solution(task)
    rewards = {
        "".join(order): environment.grade(task, "".join(order), True)
        for order in permutations(task.detail["letters"])
    }
    assert [answer for answer, reward in rewards.items() if reward == 1.0] == [solution]
    assert rewards[solution[::-1]] == 0.0
    swapped = solution[1] + solution[0] + solution[2:]
    assert rewards[swapped] == pytest.approx(5 / 6)
    assert sum(rewards.values()) / len(rewards) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: answer[:-1],
        lambda answer: answer + answer[0],
        lambda answer: answer[0] * len(answer),
        lambda answer: " " + answer,
        lambda answer: answer.upper(),
        lambda answer: "",
    ],
)
def test_what_is_no_permutation_earns_nothing(spoil):
    environment = secret_order()
    task = environment.task("train", 0)
    assert environment.grade(task, spoil(environment.solution(task)), True) == 0.0


def test_an_unfinished_answer_earns_nothing():
    environment = secret_order()
    task = environment.task("train", 0)
    assert environment.grade(task, environment.solution(task), False) == 0.0


def test_another_secret_makes_another_order():
    task = secret_order().task("train", 0)
    assert len({secret_order(secret=bytes([n])).solution(task) for n in range(20)}) > 15


def test_sparse_reward_pays_only_the_exact_answer():
    environment = secret_order(reward="exact", length=4)
    task = environment.task("train", 0)
    rewards = [environment.grade(task, "".join(p), True) for p in permutations(task.prompt[:-1])]
    assert sorted(rewards) == [0.0] * 23 + [1.0]


def test_the_floor_is_the_entropy_of_a_random_order():
    assert secret_order().supervised_floor == pytest.approx(math.log(720) / 7)
    mixed = secret_order(lengths="3-4").supervised_floor
    assert mixed == pytest.approx((math.log(6) + math.log(24)) / 9)


def test_lengths_take_turns():
    environment = secret_order(lengths="3-5")
    prompts = [len(environment.task("train", index).prompt) - 1 for index in range(6)]
    assert prompts == [3, 4, 5, 3, 4, 5]


def test_grading_without_the_secret_is_refused():
    environment = secret_order(secret=None)
    with pytest.raises(MissingSecret, match="trusted role"):
        environment.grade(environment.task("train", 0), "abcdef", True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lenght": 6}, "did you mean 'length'"),
        ({"length": 1}, "from 2 to 26"),
        ({"length": True}, "from 2 to 26"),
        ({"length": 9, "alphabet": 8}, "more than alphabet"),
        ({"lengths": "8-3"}, "range"),
        ({"lengths": "six"}, "range"),
        ({"reward": "pairs"}, "one of pair, exact"),
        ({"length": 2, "alphabet": 2}, "leaves no"),
        ({"length": 13, "alphabet": 26}, "at most"),
    ],
)
def test_settings_that_make_no_sense_are_named(values, message):
    with pytest.raises(InvalidEnvironment, match=message):
        secret_order(**values)


def test_an_unknown_environment_names_the_nearest():
    with pytest.raises(InvalidEnvironment, match="did you mean 'secret_order'"):
        make_environment(EnvironmentSection(name="secret_ordr"), 0, None)


@pytest.mark.parametrize(("split", "index"), [("validation", 0), ("train", -1)])
def test_a_place_that_does_not_exist_is_refused(split, index):
    with pytest.raises(ValueError, match="expected"):
        secret_order().task(split, index)
