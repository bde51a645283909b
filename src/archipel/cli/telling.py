"""How far something came, told while it goes on: beside the results, and never too often."""

import math
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import click

P = TypeVar("P")


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
