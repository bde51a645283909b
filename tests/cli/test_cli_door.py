"""The command line: light until a command runs, an example in every help, errors as one sentence."""

import json
import math
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command, run
from archipel.cli.doors import show

HEAVY = ("torch", "numpy", "pydantic", "httpx", "fastapi", "rich", "matplotlib", "tokenizers")


def _walk(
    group: click.Command, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(group, click.Group):
        return [(path, group)]
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        sub = group.get_command(context, name)
        assert sub is not None, f"{' '.join(path)} {name} is listed but has no file"
        found += _walk(sub, (*path, name))
    return found


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from archipel.cli.archipel import command\n"
        "command.main(['--help'], standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_every_command_has_an_example_in_its_help() -> None:
    """All commands in one test: their number is what another test each would cost."""
    leaves = _walk(command)
    assert len(leaves) > 100, "the tree is walked to its leaves"
    for path, leaf in leaves:
        shown = CliRunner().invoke(leaf, ["--help"])
        assert shown.exit_code == 0, shown.output
        assert "Example" in shown.output, " ".join(path)
        assert f"archipel {path[0]}" in shown.output or "completion" in path


def _outcome(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    return int(ended.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sft", "secret-ordr", "--out", "x"], "did you mean 'secret-order'"),
        (["run", "list", "--lab", "http://127.0.0.1:9"], "no answer from the lab"),
        (["frobnicate"], "No such command"),
        (["node", "join"], "Missing argument"),
    ],
)
def test_mistakes_end_as_one_sentence_and_a_code(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = _outcome(arguments, capsys)
    assert code != 0
    assert expected in text
    assert "Traceback" not in text


def test_completion_script_is_a_script() -> None:
    shown = CliRunner().invoke(command, ["completion", "bash"])
    assert shown.exit_code == 0
    assert "_ARCHIPEL_COMPLETE" in shown.output


def test_a_figure_that_is_not_known_is_null_to_machines(capsys: pytest.CaptureFixture[str]) -> None:
    show({"ratio": math.nan, "parts": [(1.5, math.inf)], "seeds": 1}, True, lambda: "")
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "ratio": None,
        "parts": [[1.5, None]],
        "seeds": 1,
    }
