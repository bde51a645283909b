"""The grader: whatever one completion does, it costs that completion its reward and no more."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from archipel.records.recipe import EnvironmentSection
from archipel.training import grading
from archipel.training.environments.environment import make_environment
from archipel.training.grading import Grader, GraderUnavailable, Submission

SECRET = b"\x00\xff open"


def faulty_grader(monkeypatch, limit_s=30.0, **parameters):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    section = EnvironmentSection(name="faulty", parameters=parameters, time_limit_s=limit_s)
    return Grader(section, seed=0, secret=SECRET, factory="faulty_environment:make")


def submissions(*completions):
    return [Submission("dev", 7, completion, True) for completion in completions]


def test_rewards_are_those_of_the_environment_itself():
    section = EnvironmentSection(name="secret_order", parameters={"length": 4})
    environment = make_environment(section, 5, SECRET)
    tasks = [environment.task("train", index // 4) for index in range(64)]
    answers = [environment.supervised(task.index)[1] for task in tasks]
    answers[::3] = [environment.solution(task) for task in tasks[::3]]
    batch = [
        Submission(task.split, task.index, answer, number % 5 != 0)
        for number, (task, answer) in enumerate(zip(tasks, answers, strict=True))
    ]
    with Grader(section, 5, SECRET) as grader:
        rewards = grader.grade(batch)
    assert list(rewards) == [
        environment.grade(task, item.completion, item.finished)
        for task, item in zip(tasks, batch, strict=True)
    ]
    assert 1.0 in rewards
    assert not grader.faults


def test_each_fault_costs_one_reward_and_is_counted_by_cause(monkeypatch):
    with faulty_grader(monkeypatch, limit_s=1.0) as grader:
        rewards = grader.grade(
            submissions("right", "hang", "half", "crash", "right", "leave", "raise", "right")
            + submissions("nan", "infinite", "below", "above", "nothing", "half")
        )
    assert rewards == (1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5)
    assert grader.faults == {"timeout": 1, "crash": 2, "exception": 2, "out_of_range": 4}


def test_the_deadline_is_per_grading_not_per_batch(monkeypatch):
    with faulty_grader(monkeypatch, limit_s=1.0) as grader:
        assert grader.grade(submissions(*["nap"] * 8)) == (0.75,) * 8
    assert not grader.faults


def test_a_runaway_allocation_is_an_exception_of_that_grading(monkeypatch):
    with faulty_grader(monkeypatch) as grader:
        assert grader.grade(submissions("eat", "right")) == (0.0, 1.0)
    assert grader.faults == {"exception": 1}


def test_printing_and_reading_do_not_disturb_the_conversation(monkeypatch):
    with faulty_grader(monkeypatch) as grader:
        assert grader.grade(submissions("print", "read", "right")) == (0.25, 0.0, 1.0)
    assert not grader.faults


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_child_sees_the_task_and_the_secret_but_not_through_arguments(monkeypatch):
    with faulty_grader(monkeypatch) as grader:
        assert grader.grade(submissions("place", "secret", "exposed")) == (1.0, 1.0, 0.0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_child_inherits_no_environment_and_loads_no_tensor_library(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "hunter2")
    with faulty_grader(monkeypatch) as grader:
        assert grader.grade(submissions("environment", "torch")) == (0.0, 0.0)


def test_large_batches_and_long_completions_never_block_both_pipes(monkeypatch):
    long = "x" * (grading.MAX_COMPLETION_CHARS // 4)
    with faulty_grader(monkeypatch) as grader:
        rewards = grader.grade(submissions(*[long] * 12, *["half"] * 100))
        assert rewards == (0.0,) * 12 + (0.5,) * 100
        assert grader.faults == {"exception": 12}


@pytest.mark.slow
def test_both_pipes_may_be_full_at_once(monkeypatch):
    with faulty_grader(monkeypatch) as grader:
        assert grader.grade(submissions(*["no such deed " * 30] * 300)) == (0.0,) * 300
    assert grader.faults == {"exception": 300}


def test_an_oversized_completion_is_not_sent(monkeypatch):
    monkeypatch.setattr(grading, "MAX_COMPLETION_CHARS", 4)
    with faulty_grader(monkeypatch) as grader:
        assert grader.grade(submissions("right", "half")) == (0.0, 0.5)
    assert grader.faults == {"oversized": 1}


def test_any_text_survives_the_pipe():
    section = EnvironmentSection(name="secret_order")
    with Grader(section, 0, SECRET) as grader:
        texts = ["", "\n", "\x00", "\ud800", "é\u2028", '"]', "{}\n[]"]
        assert grader.grade([Submission("dev", 0, text, True) for text in texts]) == (0.0,) * 7
    assert not grader.faults


def test_an_environment_that_cannot_be_made_says_why(monkeypatch):
    with pytest.raises(GraderUnavailable, match="ValueError: the data is gone"):
        faulty_grader(monkeypatch, broken=True).__enter__()


def test_an_unknown_parameter_is_told_before_any_grading():
    section = EnvironmentSection(name="secret_order", parameters={"lenght": 6})
    with pytest.raises(GraderUnavailable, match="did you mean 'length'"):
        Grader(section, 0, SECRET).__enter__()


@pytest.mark.slow
def test_threads_may_share_a_grader(monkeypatch):
    wrong = []
    with faulty_grader(monkeypatch) as grader:

        def work(completion, reward):
            for _ in range(5):
                if grader.grade(submissions(*[completion] * 10)) != (reward,) * 10:
                    wrong.append(completion)

        threads = [
            threading.Thread(target=work, args=deed) for deed in (("right", 1.0), ("half", 0.5))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_no_child_outlives_the_context(monkeypatch):
    with faulty_grader(monkeypatch, limit_s=0.5) as grader:
        first = grader._child._process.pid
        grader.grade(submissions("hang", "right"))
        second = grader._child._process.pid
    for pid in (first, second):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_closed_grader_starts_again(monkeypatch):
    grader = faulty_grader(monkeypatch)
    for _ in range(2):
        assert grader.grade(submissions("right")) == (1.0,)
        grader.close()


def test_the_room_is_light_to_enter():
    code = (
        "import sys, archipel.training.grading, archipel.training.environments.environment;"
        "print(sorted({'torch', 'numpy', 'reasoning_gym', 'verifiers'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert said.stdout.strip() == b"[]"


def test_what_packages_write_on_import_goes_with_the_process(monkeypatch):
    with faulty_grader(monkeypatch) as grader:
        folder = Path(grader._child._folder.name)
        (folder / "cache").write_text("x")
    assert not folder.exists()
