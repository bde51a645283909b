"""The how-to pages are true: every planner command in them runs, and what they promise comes out."""

import re
import shlex
from pathlib import Path

import click
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


WITHOUT_COMMANDS = {
    "audit-in-floating-point.md",
    "blobs-in-s3.md",
    "bring-a-model.md",
    "deploy-a-lab.md",
    "mirror-a-release.md",
    "observe-import.md",
}
"""Pages that show no command line of `archipel` in a block."""


def _commands(page: Path) -> list[list[str]]:
    """Words of every command line in a page's blocks, after `archipel`, up to what a shell does with it."""
    text = page.read_text("utf-8")
    lines = [line.strip() for block in _blocks("sh", page) for line in block.splitlines()]
    lines += [line.strip() for line in re.findall(r"^ {4}archipel .*$", text, re.MULTILINE)]
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("archipel ")]
    ends = [next((n for n, word in enumerate(each) if word in "|>&&"), None) for each in found]
    return [each[1:end] for each, end in zip(found, ends, strict=True)]


FIRST_IS_A_NAME = {"ownership": "show", "pool": "start"}
"""Groups whose first word may be the name of a thing -> the command that is meant then."""


def _options(words: list[str]) -> set[str]:
    """Of the command that these words name; names of things come after it."""
    place: click.Command = command
    context, left = click.Context(command, info_name="archipel"), [*words]
    while left and isinstance(place, click.Group) and not left[0].startswith("-"):
        found = place.get_command(context, left[0])
        if found is None and hasattr(place, "itself"):
            place = place.itself
            break
        if found is None:
            left.insert(0, FIRST_IS_A_NAME[context.info_name or ""])
            continue
        place, context = found, click.Context(found, parent=context, info_name=left.pop(0))
    options = [each for each in place.params if isinstance(each, click.Option)]
    known = {name for each in options for name in (*each.opts, *each.secondary_opts)}
    if place.context_settings.get("ignore_unknown_options"):  # it hands them to `node join`
        known |= _options(["node", "join"])
    return known


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.name)
def test_every_command_of_a_page_exists_and_has_the_options_that_it_shows(page: Path) -> None:
    commands = _commands(page)
    assert (page.name in WITHOUT_COMMANDS) == (not commands)
    for words in commands:
        options = _options(words)
        given = [word.partition("=")[0] for word in words if word.startswith("--")]
        missing = [word for word in given if word not in options]
        assert not missing, f"{words} has no {missing}"


def test_what_a_trusted_machine_must_approve_is_said() -> None:
    assert ["update", "approve"] in [words[:2] for words in _commands(MACHINES)]


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
