"""What an agent shows while it works: one line that is redrawn on a terminal, sparse whole lines elsewhere.

Law: what is redrawn never wraps, and nothing in it moves the cursor; a terminal that is gone silences the screen
and never ends the agent.
"""

import os
import textwrap
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len, set_cell_size

from archipel.cli.doors import printable
from archipel.node.totals import Loss
from archipel.node.wording import line_of, summary_of, waits_for

if TYPE_CHECKING:
    from archipel.node.agent import Agent

FILE_EVERY_S = 60.0
"""A line about how it stands, where lines stay."""
SAME_NEWS_S = 60.0
"""The same sentence is not said again within this time."""
DEFAULT_COLUMNS = 80
MIN_CUT = 16
"""Fewer cells of a part are not worth showing."""
INDENT = " " * len("00:00 ")
CLEAR = "\r\x1b[K"


class Screen:
    """One agent's."""

    def __init__(
        self,
        agents: "Agent | Mapping[str, Agent]",
        stream: TextIO | None,
        is_terminal: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """agents: one, or those of several labs by name. is_terminal: its line can be redrawn."""
        self._agents = agents if isinstance(agents, Mapping) else {"": agents}
        self._stream, self._clock = stream, clock
        self._is_terminal = is_terminal
        self._start_s = clock()
        self._next_line_s = self._start_s + FILE_EVERY_S
        self._last_line = ""
        self._said: dict[str, float] = {}
        self._losses: dict[str, Loss | None] = {}

    def tick(self) -> None:
        """Show what is new; to be called about every second."""
        parts: tuple[str, ...] = ()
        for name, agent in self._agents.items():
            self._tell_news(f"{name}: " if name else "", agent)
            told = line_of(agent.standing, agent.totals, self._clock())
            parts += (f"{name}: {told[0]}",) if name else told
        if self._is_terminal:
            shown = fitted((self._elapsed(), *parts), self._columns() - 1)
            self._write(f"{CLEAR}{shown}")
        elif self._clock() >= self._next_line_s:
            self._next_line_s = self._clock() + FILE_EVERY_S
            if " · ".join(parts) != self._last_line:
                self._last_line = " · ".join(parts)
                self.say(self._last_line)

    def _tell_news(self, whose: str, agent: "Agent") -> None:
        loss = agent.totals.last_loss
        if loss is not None and loss is not self._losses.get(whose):
            self._say_once(f"{whose}{loss}", f"{whose}{loss.why}")
        self._losses[whose] = loss
        while agent.standing.news:
            news = agent.standing.news.popleft()
            self._say_once(f"{whose}{news}", f"{whose}{news.partition(': ')[2] or news}")

    def stopping(self) -> None:
        """Ctrl-C was pressed: say what it waits for."""
        for name, agent in self._agents.items():
            whose = f"{name}: " if name else ""
            self.say(f"{whose}{waits_for(agent.standing, self._clock())}")
        self.tick()

    def end(self) -> None:
        """The last words, on a line of their own."""
        self.tick()
        if self._is_terminal:
            self._write(CLEAR)
        for name, agent in self._agents.items():
            summary = summary_of(agent.standing, agent.totals)
            if summary:
                self.say(f"{name}: {summary}" if name else summary)

    def say(self, text: str) -> None:
        """One whole line that stays; on a terminal it is broken between words."""
        line = f"{self._elapsed()} {one_line(text)}"
        if self._is_terminal:
            width = max(self._columns() - 1, MIN_CUT)
            line = CLEAR + "\n".join(textwrap.wrap(line, width, subsequent_indent=INDENT))
        self._write(f"{line}\n")

    def _say_once(self, text: str, why: str) -> None:
        """why: what must be new in it."""
        now_s = self._clock()
        self._said = {said: at for said, at in self._said.items() if now_s - at < SAME_NEWS_S}
        if why not in self._said:
            self._said[why] = now_s
            self.say(text)

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(self._clock() - self._start_s), 60)
        return f"{minutes:02}:{seconds:02}"

    def _columns(self) -> int:
        """As wide as the terminal is now; it may have been resized since the last line."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns if self._stream else 0
        except (OSError, ValueError):
            columns = 0
        return columns or DEFAULT_COLUMNS

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone, or the disk behind it is full
            self._stream = None


def one_line(text: str) -> str:
    """Text of strangers on one line."""
    return printable(" ".join(text.split()))


def fitted(parts: tuple[str, ...], cells: int) -> str:
    """The parts in `cells` columns, each whole or left out; only the last that is begun may be cut."""
    first, *rest = (one_line(part) for part in parts)
    line, joint = first, " "
    for part in rest:
        room = cells - cell_len(line) - cell_len(joint)
        if cell_len(part) <= room:
            line, joint = f"{line}{joint}{part}", " · "
        else:
            is_worth = joint == " " or room >= MIN_CUT
            return cut(f"{line}{joint}{part}" if is_worth else line, cells)
    return cut(line, cells)


def cut(text: str, cells: int) -> str:
    """The text in at most `cells` columns, with a sign that something is missing."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + "…" if cells > 0 else ""
