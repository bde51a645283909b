"""How help pages are written: inside the terminal's width, examples as commands that can still be pasted."""

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

import click

STACKED_BELOW = 60
"""Columns of a terminal in which an option and its words stand below each other."""
DEEPER = "    "
_WORDS = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*'|["'])+""")
"""What a shell takes for one word; quoted spaces stay inside, and a quote that nothing closes is a sign like others."""
_COMMAND = re.compile(r"\s+archipel\s")
_REMARK = re.compile(r"\s{3,}(?=\S)")
"""Between a command and what is said of it."""


class Page(click.HelpFormatter):
    """click's formatter for terminals of any width."""

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Two columns, or below each other where two columns leave no room."""
        if self.width >= STACKED_BELOW:
            super().write_dl(list(rows), col_max, col_spacing)
            return
        for name, text in rows:
            self.write(f"{'':{self.current_indent}}{name}\n")
            self.indent()
            self.write_text(text)
            self.dedent()

    def write(self, string: str) -> None:
        """As it comes; what is too wide is folded."""
        lines = string.split("\n")
        super().write("\n".join(each for line in lines for each in folded(line, self.width)))


class Group(click.Group):
    """Lists each command with the first sentence of its help, whole."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, which would cut the sentences at 80 columns whatever the terminal."""
        named = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, first_sentence(found.help or "")) for name, found in named if found]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def first_sentence(text: str) -> str:
    """Of a docstring, without its full stop."""
    paragraph = " ".join(inspect.cleandoc(text).split("\n\n")[0].split())
    return re.split(r"(?<=[.)])\s+(?=[A-Z])", paragraph)[0].removesuffix(".")


def folded(line: str, width: int) -> Iterator[str]:
    """A line of a help page in at most `width` columns, if its words allow it."""
    if len(line) <= width or not line.strip():
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())]
    said, *remark = _REMARK.split(line.strip(), maxsplit=1)
    joint = " \\" if _COMMAND.match(indent + said) else ""
    words = _WORDS.findall(said) if joint else said.split()
    yield from _filled(words, indent, indent + DEEPER, width, joint)
    for each in remark:
        yield from _filled(each.split(), indent + DEEPER, indent + DEEPER, width, "")


def _filled(words: list[str], first: str, then: str, width: int, joint: str) -> Iterator[str]:
    """The words over several lines. joint: ends every line but the last, so that a shell reads on."""
    line, is_begun = first, False
    for word in words:
        if is_begun and len(line) + 1 + len(word) + len(joint) > width:
            yield line + joint
            line, is_begun = then, False
        line += f" {word}" if is_begun else word
        is_begun = True
    yield line


def use_everywhere() -> None:
    """For every command of this process."""
    context: Any = click.Context
    context.formatter_class = Page
