"""Tasks made in another process: the same as made here, and the process costs nobody more than a sentence."""

import gc
import json
import os
import signal
import time

import pytest

from archipel.records.recipe import EnvironmentSection
from archipel.training.environments import apart
from archipel.training.environments.apart import Apart, TaskProcessLost
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import InvalidEnvironment


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    path = tmp_path_factory.mktemp("apart") / "sums.jsonl"
    rows = [{"question": f"{n}+{n} \u00e9", "answer": f"#### {2 * n}"} for n in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return EnvironmentSection(name="jsonl", parameters={"path": str(path)})


@pytest.fixture
def there(section):
    return Apart(section, 0)


def child_of(environment):
    process = environment._talk.end.peek()[2][0]
    return process.pid


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_environment_apart_says_what_it_would_say_here(section, there):
    here = make_environment(section, 0, None)
    for split in ("train", "dev", "test"):
        assert [there.task(split, n) for n in range(9)] == [here.task(split, n) for n in range(9)]
    assert [there.supervised(n) for n in range(9)] == [here.supervised(n) for n in range(9)]
    task = here.task("train", 0)
    for completion, finished in ((here.supervised(0)[1], True), ("#### 999", True), ("", False)):
        assert there.grade(task, completion, finished) == here.grade(task, completion, finished)
    assert there.supervised_floor is here.supervised_floor is None
    order = EnvironmentSection(name="secret_order")
    assert Apart(order, 0).supervised_floor == make_environment(order, 0, None).supervised_floor


def test_a_recipe_at_fault_is_told_in_the_same_words(section):
    wrong = section.model_copy(update={"parameters": {"path": "gone.jsonl"}})
    with pytest.raises(InvalidEnvironment, match=r"^cannot read gone\.jsonl"):
        Apart(wrong, 0)
    with pytest.raises(InvalidEnvironment, match="no environment"):
        Apart(EnvironmentSection(name="elsewhere"), 0)


def test_a_process_that_dies_or_hangs_costs_one_answer(there, monkeypatch):
    expected = there.task("train", 1)
    os.kill(child_of(there), signal.SIGKILL)
    with pytest.raises(TaskProcessLost, match="'jsonl' gave no answer"):
        there.task("train", 1)
    assert there.task("train", 1) == expected
    os.kill(child_of(there), signal.SIGSTOP)
    monkeypatch.setattr(apart, "ANSWER_LIMIT_S", 0.2)
    began = time.monotonic()
    with pytest.raises(TaskProcessLost, match="timed out"):
        there.task("train", 1)
    assert time.monotonic() - began < 5.0
    monkeypatch.undo()
    assert there.task("train", 1) == expected


def test_the_process_ends_with_its_last_holder(section):
    environment = Apart(section, 0)
    pid = child_of(environment)
    assert is_alive(pid)
    del environment
    gc.collect()
    assert not is_alive(pid)


def test_places_that_no_environment_has_are_refused_here(there):
    with pytest.raises(ValueError, match="split"):
        there.task("exam", 0)
    with pytest.raises(ValueError, match="index"):
        there.task("train", -1)
