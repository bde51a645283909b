"""Gym tasks: settings checked by name, disjoint splits, the dataset's own score."""

import pytest

from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.environment import make_environment
from archipel.training.environments.reasoning_gym import extract_answer
from archipel.training.environments.task import InvalidEnvironment

pytest.importorskip("reasoning_gym")


def gym(seed=0, **values):
    section = EnvironmentSection(name="reasoning_gym", parameters=values)
    return make_environment(section, seed, None)


@pytest.fixture(scope="module")
def sums():
    return gym(task="chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=2)


def test_tasks_are_a_pure_function_of_seed_split_and_index(sums):
    again = gym(task="chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=2)
    backwards = [again.task("train", index) for index in reversed(range(20))]
    assert [sums.task("train", index) for index in range(20)] == backwards[::-1]


def test_no_question_is_in_two_splits(sums):
    prompts = [
        {sums.task(split, index).prompt for index in range(150)}
        for split in ("train", "dev", "test")
    ]
    assert sum(map(len, prompts)) == len(set.union(*prompts))


def test_the_right_answer_earns_full_reward_bare_or_in_tags(sums):
    for index in range(20):
        task = sums.task("dev", index)
        right = task.detail["answer"]
        assert sums.grade(task, right, True) == 1.0
        assert sums.grade(task, f"let me see <answer> {right} </answer>", True) == 1.0
        assert sums.grade(task, right, False) == 0.0
        assert sums.grade(task, str(int(right) + 1), True) < 1.0


def test_own_labels_are_right_and_other_labels_say_nothing_about_the_question():
    settings = {"task": "chain_sum", "min_terms": 2, "max_terms": 2}
    own, other = gym(**settings), gym(**settings, labels="other")
    for environment, low, high in ((own, 40, 40), (other, 0, 8)):
        right = 0
        for index in range(40):
            prompt, answer = environment.supervised(index)
            task = environment.task("train", index)
            assert task.prompt == prompt
            right += environment.grade(task, answer, True) == 1.0
        assert low <= right <= high


def test_list_settings_are_written_as_json_text():
    environment = gym(task="basic_arithmetic", operators='["+"]')
    assert all("*" not in environment.task("train", index).prompt for index in range(20))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "chain_sums"}, "did you mean 'chain_sum'"),
        ({"task": "chain_sum", "min_term": 2}, "did you mean 'min_terms'"),
        ({"task": "chain_sum", "size": 2}, "unknown for task"),
        ({"task": "chain_sum", "min_terms": 5, "max_terms": 2}, "refuses its settings"),
        ({"task": "basic_arithmetic", "operators": "[+"}, "not a JSON list"),
        ({}, "task is missing"),
    ],
)
def test_settings_that_make_no_sense_are_named(values, message):
    with pytest.raises(InvalidEnvironment, match=message):
        gym(**values)


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("  4 ", "4"),
        ("<answer>4</answer> more", "4"),
        ("<answer>3</answer><answer>4</answer>", "4"),
        ("4</answer>", "4</answer>"),
        ("<answer>4", "<answer>4"),
    ],
)
def test_the_last_tagged_answer_counts_else_the_whole_text(completion, answer):
    assert extract_answer(completion) == answer
