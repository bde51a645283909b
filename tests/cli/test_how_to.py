"""The how-to pages are true: every planner command in them runs, and what they promise comes out."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.cli.recipes import find_recipe

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "plan-a-run.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)


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
