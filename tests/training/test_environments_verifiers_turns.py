"""Tasksets of several turns of the verifiers interface: tools with state, stops, users that are code."""

import importlib.util
from pathlib import Path

import pytest

from archipel.model.tool_calls import Call
from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.environment import make_environment
from archipel.training.environments.episodic import Episodic, Turn
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.grading import Grader, Submission

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # its dependencies warn in their own ways
    pytest.mark.skipif(
        importlib.util.find_spec("verifiers") is None, reason="extra `verifiers` is not installed"
    ),
]


@pytest.fixture(autouse=True)
def _taskset_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def made(taskset: str, **values):
    section = EnvironmentSection(
        name="verifiers", parameters={"taskset": taskset, **values}, time_limit_s=30.0
    )
    return section, make_environment(section, 0, None)


def call(name: str, **arguments: str) -> Turn:
    return Turn(f"<tool_call>{name}</tool_call>", (Call(name, arguments),))


def test_tools_keep_their_state_over_turns_and_rewards_read_it():
    section, shelves = made("tools_taskset")
    assert isinstance(shelves, Episodic)
    assert {each.name: set(each.parameters) for each in shelves.tools} == {
        "look": {"shelf"},
        "take": {"shelf", "number"},
    }
    task = shelves.task("train", 0)
    assert task.prompt.startswith("Use your tools.\n\ntake ")
    wanted, shelf = task.prompt.split()[-3], task.prompt.split()[-1]
    said = [call("take", shelf=shelf, number=wanted), call("look", shelf=shelf), Turn(wanted)]
    assert shelves.reply(task, said[:1]) == (f"took {wanted}",)
    assert shelves.reply(task, said[:2]) == (f'{{"shelf": "{shelf}", "lies": {3 - int(wanted)}}}',)
    assert shelves.reply(task, said) is None
    again = made("tools_taskset")[1]
    assert again.reply(task, said[:2]) == shelves.reply(task, said[:2]), (
        "played again from the start"
    )
    assert shelves.reward(task, said, True) == 1.0
    assert shelves.reward(task, [said[0], Turn("9")], True) == 0.75
    assert shelves.reward(task, [Turn(wanted)], True) == 0.25
    assert shelves.reward(task, said, False) == 0.0
    shown = [
        Submission("train", 0, said[-1].text, True, turns=tuple(said)),
        Submission("train", 0, "9", True, turns=(Turn("9"),)),
    ]
    with Grader(section, seed=0) as grader:
        assert grader.grade(shown) == (1.0, 0.0)
    assert not grader.faults


def test_episodes_of_one_task_do_not_share_their_state():
    _, shelves = made("tools_taskset")
    task = shelves.task("train", 1)
    shelf = task.prompt.split()[-1]
    one, other = call("take", shelf=shelf, number="1"), call("look", shelf=shelf)
    assert shelves.reply(task, [one]) == ("took 1",)
    assert '"lies": 3' in shelves.reply(task, [other])[0]
    assert '"lies": 2' in shelves.reply(task, [one, other])[0]


def test_what_a_tool_raises_and_what_cannot_be_read_is_told_to_the_model():
    _, shelves = made("tools_taskset")
    task = shelves.task("train", 0)
    shelf = task.prompt.split()[-1]
    assert (
        "there are not so many" in shelves.reply(task, [call("take", shelf=shelf, number="99")])[0]
    )
    assert "error" in shelves.reply(task, [call("take", shelf=shelf, number="many")])[0]
    assert shelves.reply(task, [Turn("x", fault="a call is not json")]) == (
        "error: a call is not json",
    )


def test_a_stop_of_theirs_ends_the_episode():
    _, shelves = made("tools_taskset")
    task = shelves.task("train", 0)
    said = [call("look", shelf="x")] * 6
    answers = [shelves.reply(task, said[: number + 1]) for number in range(6)]
    assert [answer is None for answer in answers] == [False] * 5 + [True]


def test_an_env_of_theirs_is_the_user():
    section, numbers = made("user_taskset")
    task = numbers.task("dev", 0)
    assert task.prompt == "Guess my number."
    guesses, low, high = [], 0, 60
    while True:
        guesses.append((low + high) // 2)
        answer = numbers.reply(task, [Turn(str(each)) for each in guesses])
        if answer is None:
            break
        assert answer in (("higher",), ("lower",))
        low, high = (guesses[-1] + 1, high) if answer == ("higher",) else (low, guesses[-1] - 1)
    turns = tuple(Turn(str(each)) for each in guesses)
    with Grader(section, seed=0) as grader:
        shown = [Submission("dev", 0, turns[-1].text, True, turns=turns)]
        shown.append(Submission("dev", 0, "no", True, turns=(Turn(str(guesses[-1] + 1)),)))
        assert grader.grade(shown) == (1.0, 0.0)


def test_a_turn_that_breaks_their_code_is_a_named_fault():
    _, numbers = made("user_taskset")
    task = numbers.task("dev", 0)
    with pytest.raises(Exception, match="invalid literal"):
        numbers.reply(task, [Turn("not a number")])
    assert numbers.reply(task, [Turn("-1")]) == ("higher",), "the next episode is played"


def test_what_cannot_be_played_is_refused_by_name(monkeypatch):
    for taskset, message in (("two_agents_taskset", "2 agents"), ("judging_taskset", "finalize")):
        with pytest.raises(InvalidEnvironment, match=message):
            made(taskset)
