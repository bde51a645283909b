"""Gym tasks: settings checked by name, disjoint splits, the dataset's own score."""

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from archipel.records.recipe import EnvironmentSection
from archipel.training.environments import gym_entries
from archipel.training.environments.environment import make_environment
from archipel.training.environments.reasoning_gym import ReasoningGym, extract_answer
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.grading import Grader, Submission

pytest.importorskip("reasoning_gym")


def gym(seed=0, **values):
    """In this process, whatever its hash seed: these tasks do not hang on it."""
    return ReasoningGym(values, seed)


@pytest.fixture(scope="module")
def sums():
    return gym(task="chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=2)


@pytest.mark.slow
def test_the_grader_has_the_same_tasks_whatever_hash_seed_its_asker_has():
    """Else the right answer to the learner's task is a wrong one to the grader's."""
    section = EnvironmentSection(
        name="reasoning_gym", parameters={"task": "polynomial_multiplication"}
    )
    environment = make_environment(section, 3, None)
    with Grader(section, 3) as grader:
        tasks = [environment.task("train", index) for index in range(20)]
        own = [Submission("train", task.index, task.detail["answer"], True) for task in tasks]
        assert grader.grade(own) == (1.0,) * 20


TASKS_HERE = """
import sys, json
from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.environment import make_environment
told = {}
for name in sys.argv[1:]:
    section = EnvironmentSection(name="reasoning_gym", parameters={"task": name})
    environment = make_environment(section, 3, None)
    told[name] = [environment.task("train", index).prompt for index in range(8)]
print(json.dumps(told))
"""


@pytest.mark.slow
def test_tasks_are_the_same_in_processes_with_any_hash_seed():
    names = ["polynomial_multiplication", "isomorphic_strings", "ransom_note", "codeio"]
    told = []
    for seed in "0127":
        done = subprocess.run(
            [sys.executable, "-c", TASKS_HERE, *names],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            timeout=300,
        )
        told.append(json.loads(done.stdout))
    assert told[0] == told[1] == told[2] == told[3]


@pytest.mark.parametrize("name", ["gsm_symbolic", "list_functions"])
def test_a_dataset_that_is_a_list_has_a_task_for_every_number_and_the_same_each_time(name):
    there, again = gym(task=name), gym(task=name)
    assert len({there.task("train", index).prompt for index in range(40)}) > 20
    for index in (0, 7, 10**6, 2**40, 7):
        task = there.task("dev", index)
        assert again.task("dev", index) == task
        assert there.grade(task, task.detail["answer"], True) == 1.0


def test_what_a_generator_prints_reaches_no_output(monkeypatch, capsys):
    class Talking(Shrinking):
        def __getitem__(self, number):
            print("Error executing code")
            return {"question": f"{number}?", "answer": "A"}

        def score_answer(self, answer, entry):
            print("close")
            return 0.5

    monkeypatch.setattr(gym_entries, "_make_dataset", lambda name, values, size: Talking())
    environment = gym(task="any")
    assert environment.grade(environment.task("train", 1), "B", True) == 0.5
    assert capsys.readouterr().out == ""


class Shrinking:
    """A dataset that refuses some numbers, and then all beyond them."""

    size = 1

    def __getitem__(self, number):
        if number >= self.size > 1 or number % 3 == 0:
            self.size = number
            raise IndexError(number)
        return {"question": f"{number}?", "answer": "A", "metadata": {}}

    def score_answer(self, answer, entry):
        return 0.01


def test_a_number_that_fails_is_passed_over_and_spoils_no_later_one(monkeypatch):
    monkeypatch.setattr(gym_entries, "_make_dataset", lambda name, values, size: Shrinking())
    environment, again = gym(task="any"), gym(task="any")
    tasks = [environment.task("train", index) for index in range(50)]
    assert len({task.prompt for task in tasks}) > 40
    assert tasks == [again.task("train", index) for index in reversed(range(50))][::-1]
    assert environment.grade(tasks[0], " A ", True) == 1.0, "its own answer, whatever its score"
    assert environment.grade(tasks[0], "B", True) == 0.01


def test_an_entry_that_draws_from_global_chance_is_the_same_and_leaves_it_alone(monkeypatch):
    class Drawing(Shrinking):
        def __getitem__(self, number):
            return {"question": f"{number}: {random.random()} {np.random.rand()}?", "answer": "A"}

    monkeypatch.setattr(gym_entries, "_make_dataset", lambda name, values, size: Drawing())
    environment, again = gym(task="any"), gym(task="any")
    random.seed(5)
    np.random.seed(5)
    undisturbed = [random.random(), random.random(), np.random.rand(), np.random.rand()]
    random.seed(5)
    np.random.seed(5)
    drawn = [random.random(), np.random.rand()]
    first = environment.task("train", 3)
    assert [drawn[0], random.random(), drawn[1], np.random.rand()] == undisturbed
    assert again.task("train", 3) == first


def test_a_dataset_that_seeds_numpy_is_given_numbers_that_fit(monkeypatch):
    class Seeding(Shrinking):
        def __getitem__(self, number):
            np.random.seed(number)
            return {"question": f"{np.random.rand()}?", "answer": None}

    monkeypatch.setattr(gym_entries, "_make_dataset", lambda name, values, size: Seeding())
    environment = gym(task="any")
    assert len({environment.task("train", index).prompt for index in range(50)}) == 50
    assert environment.supervised(0) is None, "it gives no answers, and `None` is not one"


def test_a_dataset_whose_every_entry_fails_is_refused_when_the_recipe_is_read(monkeypatch):
    class Empty(Shrinking):
        def __getitem__(self, number):
            raise RuntimeError("no pair found")

    monkeypatch.setattr(gym_entries, "_make_dataset", lambda name, values, size: Empty())
    with pytest.raises(InvalidEnvironment, match=r"no train question .*no pair found"):
        gym(task="any")


@pytest.mark.parametrize("code", ["time.time()", "read('/tmp/tmphhzhvllb')", "datetime.now()"])
def test_code_that_asks_the_clock_or_the_machine_is_no_task(monkeypatch, code):
    class Clock(Shrinking):
        def __getitem__(self, number):
            asks = code if number % 2 else "add(1, 2)"
            return {"question": f"{number}: what is {asks}?", "answer": "3"}

    monkeypatch.setattr(gym_entries, "_make_dataset", lambda name, values, size: Clock())
    environment = gym(task="any")
    assert all("add" in environment.task("train", index).prompt for index in range(50))


def test_a_template_stands_around_every_question_and_its_label(sums):
    settings = {"task": "chain_sum", "min_terms": 2, "max_terms": 2, "max_digits": 2}
    environment = gym(**settings, template="<q>{question}</q>", min_digits=1)
    for index in range(5):
        task = environment.task("train", index)
        assert task.prompt == f"<q>{sums.task('train', index).prompt}</q>"
        assert environment.supervised(index)[0] == task.prompt
    with pytest.raises(InvalidEnvironment, match="question"):
        gym(**settings, template="Answer:")


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
