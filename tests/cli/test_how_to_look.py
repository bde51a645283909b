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
from archipel.curves.concerns import LOW_ENTROPY_NATS, MISMATCH_NATS, WINDOW
from archipel.records.recipe import EnvironmentSection
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
    assert WINDOW == 5
    assert "newest five versions" in TEXT
    assert f"below {LOW_ENTROPY_NATS} nats" in TEXT
    assert f"more than {MISMATCH_NATS} nats" in TEXT


def test_the_taskset_of_the_page_gives_rewards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,), (table,) = _blocks("python"), _blocks("toml")
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
