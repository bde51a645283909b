"""The adapter to the verifiers interface: a taskset by module name, graded as one exchange."""

import importlib.util
from pathlib import Path

import pytest

from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.grading import Grader, Submission

INSTALLED = importlib.util.find_spec("verifiers") is not None
needs_verifiers = pytest.mark.skipif(not INSTALLED, reason="extra `verifiers` is not installed")
# Its dependencies warn in their own ways; those are theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _taskset_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def sums(**values):
    section = EnvironmentSection(name="verifiers", parameters={"taskset": "sums_taskset", **values})
    return make_environment(section, 0, None)


@pytest.mark.skipif(INSTALLED, reason="extra `verifiers` is installed")
def test_a_missing_extra_is_named():
    with pytest.raises(InvalidEnvironment, match=r"\.\[verifiers\]"):
        sums()


@needs_verifiers
def test_the_reward_is_the_weighted_sum_of_the_tasks_own_rewards():
    environment = sums()
    for index in range(5):
        task = environment.task("train", index)
        one, other = task.prompt.rstrip("=").split("+")
        right = str(int(one) + int(other))
        assert environment.grade(task, right, True) == 1.0
        assert environment.grade(task, f"{right}1", True) == 0.25
        assert environment.grade(task, "who knows", True) == 0.0
        assert environment.grade(task, right, False) == 0.0


@needs_verifiers
def test_no_prompt_is_in_two_splits():
    environment = sums()
    prompts = [
        {environment.task(split, index).prompt for index in range(200)}
        for split in ("train", "dev", "test")
    ]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == 100


@needs_verifiers
def test_a_grader_runs_a_taskset_in_its_own_process():
    section = EnvironmentSection(name="verifiers", parameters={"taskset": "sums_taskset"})
    task = sums().task("dev", 3)
    one, other = task.prompt.rstrip("=").split("+")
    with Grader(section, seed=0) as grader:
        right = Submission("dev", 3, str(int(one) + int(other)), True)
        assert grader.grade([right, Submission("dev", 3, "", True)]) == (1.0, 0.0)
    assert not grader.faults


@needs_verifiers
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"taskset": "no_such_taskset"}, "not found"),
        ({"heighest": 3}, "heighest"),
        ({"machine": True}, "prepares a machine"),
        ({"highest": 0}, "leaves no task"),
        ({"max_tasks": 0}, "from 1 to"),
    ],
)
def test_what_cannot_be_used_is_named(values, message):
    with pytest.raises(InvalidEnvironment, match=message):
        sums(**values)
