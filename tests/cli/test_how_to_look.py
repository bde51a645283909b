"""The page on looking into a run is true: its commands and options exist, its taskset gives rewards."""

import importlib.util
import re
import shlex
import sys
import tomllib
from pathlib import Path

import click
import pytest

from archipel.cli.archipel import command
from archipel.curves.concerns import GRAVE
from archipel.records.recipe import AlarmSection, EnvironmentSection, parse_recipe
from archipel.training.environments.environment import make_environment

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "look-into-a-run.md"
TEXT = PAGE.read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


LINES = [line for block in _blocks("sh") for line in block.splitlines() if line]


@pytest.mark.parametrize("line", LINES)
def test_every_command_of_the_page_exists_with_its_options(line: str) -> None:
    words = shlex.split(line.partition(">")[0])
    assert words.pop(0) == "archipel"
    leaf: click.Command = command
    while isinstance(leaf, click.Group):
        found = leaf.get_command(click.Context(leaf), words.pop(0))
        assert found is not None, line
        leaf = found
    known = {option for parameter in leaf.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known, line


def test_the_page_gives_the_bounds_that_the_warnings_have() -> None:
    bounds = AlarmSection()
    assert bounds.window == 5
    assert "newest five versions" in TEXT
    assert f"below {bounds.entropy_nats} nats" in TEXT
    assert f"more than {bounds.mismatch_nats} nats" in TEXT
    assert f"one answer is {bounds.commonest_answer:.0%} of all" in TEXT
    assert f"(within {bounds.constant_margin})" in TEXT
    assert f"less than {bounds.effective_sample:.0%} do" in TEXT
    assert f"more than {bounds.unusable:.0%} of the tokens" in TEXT
    assert all(f"`{kind}`" in TEXT for kind in GRAVE)


def test_a_recipe_with_the_alarms_of_the_page_pauses() -> None:
    head = '[run]\nname = "mine"\nversions = 2\n[environment]\nname = "secret_order"\n'
    plain = parse_recipe(head)
    (table,) = (block for block in _blocks("toml") if "[alarms]" in block)
    assert parse_recipe(head + table).alarms == AlarmSection(pause=True)
    assert b"alarms" not in plain.canonical_bytes(), "so that older recipes keep their digests"


def test_the_taskset_of_the_page_gives_rewards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,), (table, *_) = (
        _blocks("python"),
        [block for block in _blocks("toml") if "[environment]" in block],
    )
    compile(module, "reversal.py", "exec")
    section = EnvironmentSection.model_validate(tomllib.loads(table)["environment"])
    if importlib.util.find_spec("verifiers") is None:
        pytest.skip("extra `verifiers` is not installed")
    (tmp_path / "reversal.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "reversal", raising=False)
    environment = make_environment(section, 0, None)
    task = environment.task("train", 0)
    right = task.prompt.split()[1].rstrip(":")[::-1]
    assert environment.grade(task, right, True) == 1.0
    assert environment.grade(task, f"{right}x", True) == 0.0
