"""What a party of a dispute may be asked, and who answers: from a trace, or too late.

Parts: `Ask`, `Party`, `TraceParty`, `Hurried`.
"""

import queue
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

from archipel.engine.exact.hashing import CHUNK, Tree, row_tree
from archipel.engine.exact.trace import Question, Trace


@dataclass(frozen=True)
class Ask:
    """One thing that a party has to show of what it committed to."""

    what: Literal["children", "row children", "chunk", "row"]
    """Two digests under a node of the tree or of the tree of row `leaf`; a chunk of that row; or all of
    it, after the path that leads from it `level` levels up."""
    leaf: int = 0
    level: int = 0
    index: int = 0


class Party(Protocol):
    """Somebody who committed to every row of a rollout."""

    @property
    def question(self) -> Question:
        """What was computed."""

    @property
    def root(self) -> bytes:
        """The commitment."""

    def answer(self, ask: Ask) -> bytes | None:
        """None: it refuses, or is late."""


class TraceParty:
    """Answers from a trace."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    @property
    def question(self) -> Question:
        """See `Party`."""
        return self._trace.question

    @cached_property
    def _tree(self) -> Tree:
        return self._trace.tree()

    @property
    def root(self) -> bytes:
        """See `Party`."""
        return self._tree.root

    def answer(self, ask: Ask) -> bytes | None:
        """See `Party`; an ask that makes no sense is refused."""
        try:
            if ask.what == "children":
                return self._tree.children(ask.level, ask.index)
            row = self._trace.row(ask.leaf)
            if ask.what == "row":
                return self._tree.path(ask.leaf, ask.level) + row
            if ask.what == "chunk":
                size = 4 * CHUNK
                return row[ask.index * size : (ask.index + 1) * size]
            return row_tree(row).children(ask.level, ask.index)
        except IndexError:
            return None


class Hurried:
    """A party whose every answer comes within a time, or counts as refused."""

    def __init__(self, party: Party, limit_s: float) -> None:
        self._party, self._limit_s = party, limit_s
        self.question, self.root = party.question, party.root

    def answer(self, ask: Ask) -> bytes | None:
        """See `Party`. What comes too late is never looked at."""
        given: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=lambda: given.put(self._party.answer(ask)), daemon=True).start()
        try:
            return given.get(timeout=self._limit_s)
        except queue.Empty:
            return None
