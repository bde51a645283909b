"""A Python file whose tasks take several turns: its answers, its tools, its rewards, each in a process of their own."""

import time
from pathlib import Path

import pytest

from archipel.model.tokenizer import character_tokenizer
from archipel.model.tool_calls import Call
from archipel.records.recipe import EnvironmentSection, parse_recipe
from archipel.training.environments.environment import make_environment
from archipel.training.environments.episodic import Episodic, Turn
from archipel.training.environments.python_turns import from_file
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.episodes import conduct_of
from archipel.training.grading import Grader, Submission

FILE = '''
KEY = "nobody else's"

def tasks():
    for number in range(60):
        yield {"prompt": f"Door {number}: ", "number": number}

def knock(task, said, times):
    """Knock at the door."""
    return f"{task['number'] % 7 + int(times)}"

TOOLS = {"knock": knock}

def reply(task, said):
    if said[-1] == "hang":
        while True:
            pass
    if said[-1] == "break":
        raise RuntimeError("broken")
    return None if said[-1] == "open" else f"{len(said)} {KEY}"

def right(task, said):
    return float(said[-1] == "open")

def short(task, said):
    return 1.0 / len(said)

REWARDS = {"right": right, "short": short}

def answer(task):
    return ["hello", "open"]
'''
RECIPE = '[run]\nname = "d"\nversions = 1\n[environment]\nname = "python"\n[episode]\nturns = 5\n'


@pytest.fixture
def section(tmp_path: Path) -> EnvironmentSection:
    (tmp_path / "doors.py").write_text(FILE)
    path = str(tmp_path / "doors.py")
    return EnvironmentSection(name="python", parameters={"path": path}, time_limit_s=0.3)


@pytest.mark.slow
def test_a_file_answers_turns_in_its_own_process_and_one_that_hangs_costs_its_episode_alone(
    section: EnvironmentSection,
) -> None:
    doors = make_environment(section, 0, None)
    assert isinstance(doors, Episodic)
    (tool,) = doors.tools
    assert (tool.name, tool.description, dict(tool.parameters)) == (
        "knock", "Knock at the door.", {"times": "times"},
    )  # fmt: skip
    task = doors.task("train", 0)
    assert doors.reply(task, [Turn("hello")]) == ("1 nobody else's",)
    calls = (Call("knock", {"times": "2"}),)
    assert doors.reply(task, [Turn("", calls)]) == (f"{task.detail['number'] % 7 + 2}",)
    assert doors.reply(task, [Turn("x", fault="no call")]) == ("error: no call",)
    start = time.monotonic()
    for what in ("hang", "break"):
        with pytest.raises(RuntimeError):
            doors.reply(task, [Turn(what)])
    assert time.monotonic() - start < 20
    assert doors.reply(task, [Turn("hello"), Turn("open")]) is None
    shown = doors.demonstration(0)
    assert shown is not None
    assert shown[1] == ("hello", "open")


def test_its_rewards_get_all_that_was_said_with_their_parts(section: EnvironmentSection) -> None:
    turns = (Turn("hello"), Turn("open"))
    with Grader(section, seed=0) as grader:
        (judged,) = grader.graded([Submission("train", 0, "open", True, turns=turns)])
    assert judged.reward == 0.75
    assert judged.parts == {"part_right": 1.0, "part_short": 0.5}


def test_a_file_of_several_turns_needs_episodes_and_one_of_one_turn_takes_none(
    section: EnvironmentSection, tmp_path: Path
) -> None:
    tokenizer = character_tokenizer()
    recipe = parse_recipe(RECIPE).model_copy(update={"environment": section})
    doors = from_file(dict(section.parameters))
    conduct = conduct_of(recipe, doors, tokenizer)
    assert conduct is not None
    assert conduct.is_hosted
    with pytest.raises(InvalidEnvironment, match=r"add \[episode\]"):
        conduct_of(recipe.model_copy(update={"episode": None}), doors, tokenizer)
    (tmp_path / "plain.py").write_text(
        "def tasks():\n    return [{'prompt': str(n)} for n in range(60)]\n\n"
        "def reward(task, completion):\n    return 1.0\n"
    )
    plain = from_file({"path": str(tmp_path / "plain.py")})
    with pytest.raises(InvalidEnvironment, match="one turn each"):
        conduct_of(recipe, plain, tokenizer)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def knock(task, said, times)", "def knock(times)", "expected task, said"),
        ('TOOLS = {"knock": knock}', "TOOLS = [knock]", "name -> function"),
        ("def answer(task)", "def asks(task, completion)", "cannot define asks"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "doors.py").write_text(FILE.replace(old, new))
    with pytest.raises(InvalidEnvironment, match=message):
        from_file({"path": str(tmp_path / "doors.py")})
