"""docs/how-to/train-your-own.md, as a newcomer types it: from a reward in Python to a merged adapter."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel.cli.recipes import find_recipe
from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.environment import make_environment
from newcomer import Newcomer, is_open, until
from ports import free_port

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "train-your-own.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = BLOCK.findall(PAGE.read_text("utf-8"))
LIMIT_S = 300.0
MAX_LINES = 30
"""Of a reward of one's own."""
SMALLER = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "steps": 60,
    "versions": 3,
    "groups_per_update": 4,
    "every": 3,
    "num_tasks": 8,
}
"""What differs from the recipe of the page, so that it is over in a minute."""


def code() -> str:
    (only,) = (text for language, text in BLOCKS if language == "python")
    return str(only)


def test_the_reward_of_the_page_is_short_and_rewards_its_own_answers(tmp_path: Path) -> None:
    (tmp_path / "coins.py").write_text(code())
    assert len(code().splitlines()) <= MAX_LINES
    section = EnvironmentSection(
        name="python", parameters={"path": str(tmp_path / "coins.py"), "highest": 20}
    )
    environment = make_environment(section, 0, None)
    for index in range(20):
        prompt, answer = environment.supervised(index)
        task = environment.task("train", index)
        assert task.prompt == prompt
        assert environment.grade(task, answer, True) == 1.0
        assert environment.grade(task, f"{answer} 1", True) < 1.0
        assert environment.grade(task, "many", True) == 0.0


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    person = Newcomer(tmp_path)
    yield person
    person.presses_ctrl_c()


def make_smaller(recipe: Path) -> None:
    text = recipe.read_text()
    for key, value in SMALLER.items():
        text, times = re.subn(rf"^{key} = .*", f"{key} = {value}", text, flags=re.MULTILINE)
        assert times == 1, key
    recipe.write_text(text)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_of_the_page_works_in_its_order_from_a_clean_home(
    newcomer: Newcomer, tmp_path: Path
) -> None:
    port, said = free_port(), {}
    (tmp_path / "coins.py").write_text(code())
    for language, text in BLOCKS:
        if language == "toml":
            with (tmp_path / "mine.toml").open("a") as recipe:
                recipe.write(f"\n{text}")
        for line in text.splitlines() if language == "sh" else ():
            said[line] = newcomer.types(at(line, port))
            if "recipe show" in line:
                make_smaller(tmp_path / "mine.toml")
            if "lab start" in line:
                until(lambda: is_open(port), LIMIT_S)
    recipe = find_recipe(str(tmp_path / "mine.toml"))
    assert recipe.adapter is not None
    assert recipe.optimiser.learning_rate == 2e-3, "what the page says of an adapter"
    course = (tmp_path / "course.txt").read_text()
    assert " coins complete 3" in course.splitlines()[-1]
    assert (tmp_path / "trained" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    (verified,) = (text for line, text in said.items() if "ledger verify" in line)
    assert "all hold" in verified


def at(line: str, port: int) -> str:
    """The command, at a port that is free here."""
    if "lab start" in line:
        return f"{line} --port {port}"
    if line.startswith(("archipel run", "archipel ledger verify")):
        words, sign, rest = line.partition(" > ")
        return f"{words} --lab http://127.0.0.1:{port}{sign}{rest}"
    return line.replace("8440", str(port))


def test_no_command_of_the_page_is_left_out() -> None:
    lines = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
    assert len(lines) >= 18
    assert {shlex.split(line)[0] for line in lines} == {"archipel", "sed"}
