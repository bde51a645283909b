"""The table of figures in the README: which command makes which claim.

Parts: `Row`, `rows_of`, `argv_of`.
"""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TITLE = "## Measured"
BLANKS = ("N", "MODEL", "FOLDER", "DIR", "bundle")
"""What a command leaves to whoever types it."""
PROGRAMS = ("archipel", "pytest", "make")
_COMMAND = re.compile(r"`([^`]+)`")
_BETWEEN = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Row:
    """One claim, its figure as printed, and the commands that print it."""

    claim: str
    figure: str
    commands: tuple[str, ...]


def rows_of(readme: str) -> list[Row]:
    """All rows of the table under "Measured"; a command that leaves its program out has the one before it.

    Raises:
        ValueError: there is no such table, or a row of other than three cells or without a command.
    """
    _, found, rest = readme.partition(f"\n{TITLE}\n")
    if not found:
        raise ValueError(f"there is no section '{TITLE}'")
    lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [_row(line) for line in lines[2:]]


def _row(line: str) -> Row:
    cells = [cell.strip() for cell in _BETWEEN.split(line)[1:-1]]
    if len(cells) != 3:
        raise ValueError(
            f"a row of {len(cells)} cells where claim, figure, command were expected: {line:.80}"
        )
    commands = tuple(_whole(said) for said in _COMMAND.findall(cells[2]))
    if not commands:
        raise ValueError(f"no command in the row of '{cells[0]:.60}'")
    return Row(cells[0], cells[1], commands)


def _whole(command: str) -> str:
    return command if command.split()[0] in PROGRAMS else f"archipel {command}"


def argv_of(command: str, given: Mapping[str, str], quick: bool) -> Sequence[str] | None:
    """What to run in this Python; None where a blank is left.

    given: what stands in the place of each blank. quick: benches in their short form; the rest has none.
    """
    words = [given.get(word, word) for word in shlex.split(command)]
    if any(word in BLANKS for word in words):
        return None
    if words[0] == "make":
        return words
    module = {"archipel": "archipel.cli.archipel", "pytest": "pytest"}[words[0]]
    bench = words[:2] == ["archipel", "bench"]
    options = (["--json"] if bench else []) + (["--quick"] if bench and quick else [])
    return [sys.executable, "-m", module, *words[1:], *options]
