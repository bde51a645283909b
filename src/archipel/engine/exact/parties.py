"""What a party of a dispute may be asked, and who answers: from a trace, or too late.

Parts: `Ask`, `Party`, `TraceParty`, `Hurried`.
"""

import queue
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from archipel.engine.exact.attention_working import working_of
from archipel.engine.exact.hashing import (
    CHUNK,
    NUMBER_BYTES,
    Tree,
    chunk_hash,
    number_bytes,
    row_of,
    row_tree,
)
from archipel.engine.exact.trace import Question, Trace
from archipel.engine.exact.workings import Numbers, Working

Within = tuple[int, ...]
MAX_WORKINGS = 4
"""Kept at a time; a dispute needs two."""


@dataclass(frozen=True)
class Ask:
    """One thing that a party has to show of what it committed to."""

    what: Literal[
        "children", "row children", "chunk", "row", "row chunk",
        "working", "working children", "number", "agreed number",
    ]  # fmt: skip
    """Two digests under a node of the tree or of the tree of row `leaf`; chunk `index` of that row; all of
    it, after the path that leads from it `level` levels up; or chunk `index` after both paths. Of the working
    `within`: the path from its last number to its root; two digests under a node; number `index`, alone or after
    the path that leads from it `level` levels up."""
    leaf: int = 0
    level: int = 0
    index: int = 0
    within: Within = ()
    """Which number of row `leaf` is worked out; then, which number of that working."""


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
        self._workings: dict[tuple[int, Within], tuple[bytes, Tree]] = {}

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
            return self._of_working(ask) if ask.within else self._of_rows(ask)
        except IndexError:
            return None

    def _of_rows(self, ask: Ask) -> bytes:
        if ask.what == "children":
            return self._tree.children(ask.level, ask.index)
        row = self._trace.row(ask.leaf)
        if ask.what == "row":
            return self._tree.path(ask.leaf, ask.level) + row
        size = 4 * CHUNK
        chunk = row[ask.index * size : (ask.index + 1) * size]
        if ask.what == "chunk":
            return chunk
        tree = row_tree(row)
        if ask.what == "row chunk":
            paths = self._tree.path(ask.leaf, ask.level), tree.path(ask.index, tree.depth)
            return b"".join(paths) + chunk
        return tree.children(ask.level, ask.index)

    def _of_working(self, ask: Ask) -> bytes:
        numbers, tree = self._working(ask.leaf, ask.within)
        if ask.what == "working":
            return tree.path(len(numbers) // NUMBER_BYTES - 1, tree.depth)
        if ask.what == "working children":
            return tree.children(ask.level, ask.index)
        number = numbers[ask.index * NUMBER_BYTES : (ask.index + 1) * NUMBER_BYTES]
        return number if ask.what == "number" else tree.path(ask.index, ask.level) + number

    def _working(self, leaf: int, within: Within) -> tuple[bytes, Tree]:
        """Numbers and the tree over them, kept for the questions that follow."""
        if (leaf, within) not in self._workings:
            if len(self._workings) >= MAX_WORKINGS:
                self._workings.clear()
            numbers = number_bytes(self._numbers(leaf, within))
            starts = range(0, len(numbers), NUMBER_BYTES)
            leaves = [chunk_hash(numbers[at : at + NUMBER_BYTES]) for at in starts]
            self._workings[leaf, within] = numbers, Tree(leaves)
        return self._workings[leaf, within]

    def _numbers(self, leaf: int, within: Within) -> Numbers:
        """Of a working; the last is what was said before, whatever the others lead to."""
        trace, (element, *deeper) = self._trace, within
        working: Working | None = working_of(
            trace.config, trace.question.variant, trace.steps, leaf, element
        )
        claim = np.float64(row_of(trace.row(leaf))[element])
        for index in deeper:
            claim = self._numbers(leaf, within[:1])[index]
            working = None if working is None else working.deeper(index)
        if working is None:
            raise IndexError("this number has no working")
        numbers = working.numbers(lambda each: row_of(trace.row(each)))
        numbers[-1] = claim
        return numbers


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
