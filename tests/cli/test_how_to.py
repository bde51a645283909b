"""The how-to pages are true: every planner command in them runs, and what they promise comes out."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.cli.recipes import find_recipe
from archipel.records.adapter import TARGETS

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
PAGE = PAGES / "plan-a-run.md"
MACHINES = PAGES / "several-machines.md"


def _blocks(language: str, page: Path = PAGE) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)


@pytest.mark.slow
def test_plan_a_run_goes_from_a_budget_to_a_recipe_and_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (table,) = _blocks("toml")
    Path("mine.toml").write_text(table)
    commands = [line for block in _blocks("sh") for line in block.splitlines() if line]
    assert len(commands) >= 10
    for line in commands:
        words = shlex.split(line)
        assert words[:2] == ["archipel", "plan"], line
        shown = CliRunner().invoke(command, words[1:], catch_exceptions=False)
        assert shown.exit_code == 0, f"{line}\n{shown.output}"
    recipe = find_recipe("planned.toml")
    assert recipe.run.group_size == 16
    assert recipe.sampling.max_new_tokens == 4096
    assert Path("report.html").read_text().count("<svg") >= 4
    assert f"archipel run open {'planned.toml'}" in PAGE.read_text("utf-8")


def test_every_command_of_several_machines_exists_and_what_a_trusted_machine_must_approve_is_said() -> (
    None
):
    lines = [line for block in _blocks("sh", MACHINES) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("archipel ")]
    assert ["archipel", "update", "approve"] in [words[:3] for words in commands]
    for words in commands:
        names = [word for word in words[1:3] if not word.startswith("-")]
        shown = CliRunner().invoke(command, [*names, "--help"])
        assert shown.exit_code == 0, f"{words}\n{shown.output}"
        missing = [word for word in words if word.startswith("--") and word not in shown.output]
        assert not missing, f"{words} has no {missing}"


@pytest.mark.parametrize(
    "name",
    [
        "several-devices-as-one.md",
        "check-a-lab.md",
        "run-a-lab.md",
        "sample-exactly.md",
        "own-several-nodes.md",
        "pay-and-be-paid.md",
        "own-a-model-together.md",
        "ask-a-small-model-first.md",
        "release-and-verify.md",
        "make-a-corpus.md",
        "give-compute.md",
    ],
)
def test_every_command_of_the_pages_for_sceptics_and_operators_exists(name: str) -> None:
    lines = [line for block in _blocks("sh", PAGES / name) for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines]
    assert len(commands) >= 4
    for words in commands:
        names = [word for word in words[1:4] if not word.startswith("-")]
        names = names if words[1:3] == ["door", "key"] else names[:2]
        shown = CliRunner().invoke(command, [*names, "--help"])
        assert shown.exit_code == 0, f"{words}\n{shown.output}"
        missing = [word for word in words if word.startswith("--") and word not in shown.output]
        assert not missing, f"{words} has no {missing}"


def test_the_adapters_page_has_a_recipe_that_reads_and_commands_that_exist(tmp_path: Path) -> None:
    page = PAGES / "train-an-adapter.md"
    (recipe,) = _blocks("toml", page)
    (tmp_path / "my-adapter.toml").write_text(recipe)
    read = find_recipe(str(tmp_path / "my-adapter.toml"))
    assert read.adapter is not None
    assert read.adapter.form.targets == TARGETS, "the page shows the default"
    lines = [line for block in _blocks("sh", page) for line in block.splitlines()]
    for words in map(shlex.split, lines):
        options = CliRunner().invoke(command, [*words[1:3], "--help"]).output
        if words[1] in ("chat", "eval", "sft"):
            options = CliRunner().invoke(command, [words[1], "--help"]).output
        missing = [word for word in words if word.startswith("--") and word not in options]
        assert not missing, f"{words} has no {missing}"
