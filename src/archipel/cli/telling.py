"""How far something came, told while it goes on: beside the results, and never too often."""

import math
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import click

P = TypeVar("P")
Tell = Callable[[str], None]
SELDOM_S = 2.0


def beside(line: str) -> None:
    """To standard error: results are elsewhere."""
    click.echo(line, err=True)


def seldom(tell: Tell = beside, every_s: float | None = None) -> Tell:
    """Tells, where nothing was told for so long (SELDOM_S); begins with silence."""
    told_s = time.monotonic()

    def at(line: str) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= (SELDOM_S if every_s is None else every_s):
            told_s = time.monotonic()
            tell(line)

    return at


def telling(line: Callable[[P], str]) -> Callable[[P], None]:
    """One line that is written over each second on a terminal; in a file a new one, after two seconds at first and
    after ten in the end, so that short work shows that it moves and long work fills no page.
    """
    is_terminal = sys.stderr.isatty()
    began, told = time.monotonic(), [-math.inf]

    def on_step(progress: P) -> None:
        pause_s = 1.0 if is_terminal else min(max(2.0, (time.monotonic() - began) / 5), 10.0)
        if time.monotonic() - told[0] > pause_s:
            told[0] = time.monotonic()
            text = f"\r\033[K{line(progress)}" if is_terminal else line(progress)
            click.echo(text, nl=not is_terminal, err=True)

    return on_step
