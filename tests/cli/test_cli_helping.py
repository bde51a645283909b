"""Help pages fit terminals of any width, and their examples can still be pasted."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.cli.helping import first_sentence, folded


def _every(
    of: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, of
    if isinstance(of, click.Group):
        for name in of.list_commands(click.Context(of)):
            found = of.get_command(click.Context(of), name)
            assert found is not None
            yield from _every(found, (*path, name))


def _page(path: tuple[str, ...], width: int) -> str:
    shown = CliRunner().invoke(
        command, [*path, "--help"], terminal_width=width, prog_name="archipel"
    )
    assert shown.exit_code == 0
    return shown.output


def test_help_fits_the_terminal_and_every_option_has_words() -> None:
    """All commands in one test: their number is what another test each would cost."""
    commands = dict(_every(command))
    assert len(commands) > 100, "the tree is walked to its leaves"
    for path, width in product(commands, (80, 50)):
        for line in _page(path, width).splitlines():
            is_one_word = len(line.split()) <= 1 or "]" in line
            assert len(line) <= width or is_one_word or '"' in line, (path, line)
    for path, found in commands.items():
        shown = getattr(found, "itself", found)
        options = [each for each in shown.params if isinstance(each, click.Option)]
        assert [(path, each.opts[0]) for each in options if not each.help] == []


@pytest.mark.parametrize("path", [("plan", "train"), ("node", "join"), ("run", "verify")])
def test_an_example_in_a_narrow_terminal_is_the_same_command(path: tuple[str, ...]) -> None:
    wide = [
        line.split() for line in _page(path, 200).splitlines() if line.startswith("    archipel ")
    ]
    narrow = _page(path, 45).replace("\\\n", " ").splitlines()
    assert [line.split() for line in narrow if line.startswith("    archipel ")] == wide


def test_the_demo_takes_as_long_everywhere() -> None:
    """README, the list of commands and the command's own help say one figure."""
    said = "about two minutes"
    readme = Path(__file__).parents[2] / "README.md"
    for text in (readme.read_text("utf-8"), _page((), 80), _page(("demo",), 80)):
        assert said in " ".join(text.split())


def test_folding_keeps_quoted_words_whole_and_puts_remarks_below() -> None:
    line = '    archipel plan train --budget "50k USD" --stage all   everything'
    assert list(folded(line, 40)) == [
        "    archipel plan train --budget \\",
        '        "50k USD" --stage all',
        "        everything",
    ]
    assert list(folded("    short", 40)) == ["    short"]
    key = "      archipel update key           this machine's did, for `run open` and others' eyes"
    assert "this machine's did, for `run open` and others' eyes" in " ".join(
        " ".join(folded(key, 50)).split()
    )


def test_a_list_of_commands_shows_first_sentences_whole() -> None:
    assert first_sentence("Join LAB (twice: at once).\n\nMore.") == "Join LAB (twice: at once)"
    assert "..." not in _page(("node",), 80).partition("Commands:")[2]
    assert "give the work back at once)" in " ".join(_page(("node",), 80).split())
