"""Texts that end a completion, found while it is sampled, over token boundaries and half characters.

A completion ends with the first token after which the bytes written so far hold one of the texts. That token and
all before it are the completion's tokens: they were sampled, and they are what is learned from. Its text is
what stands before the text that ended it.
Method: one automaton for all the texts (Aho and Corasick 1975), a state per place in a text. Laws: a token costs
as many steps as it has bytes, however long the completion is; the end is a function of the tokens alone.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from archipel.model.pieces import Pieces
from archipel.records.requests import ENDED

_MAX_KNOWN = 1 << 18
"""Steps of (state, token) that are remembered."""


@dataclass(frozen=True, eq=False)
class StopStrings:
    """Of one vocabulary; an `Ending` of a request."""

    texts: tuple[bytes, ...]
    pieces: Pieces = field(repr=False)
    _next: tuple[dict[int, int], ...] = field(repr=False, compare=False)
    """State -> byte -> state, where a text goes on; state 0 is before the first byte."""
    _back: tuple[int, ...] = field(repr=False, compare=False)
    """State -> the longest other one that what was read ends with."""
    _ends: tuple[bool, ...] = field(repr=False, compare=False)
    _known: dict[tuple[int, int], int] = field(repr=False, compare=False, default_factory=dict)

    @classmethod
    def of(cls, texts: Sequence[str], pieces: Pieces) -> Self:
        """texts: none is empty."""
        coded = tuple(dict.fromkeys(text.encode() for text in texts))
        following, ends = _trie(coded)
        return cls(coded, pieces, following, *_links(following, ends))

    def after(self, state: int, token: int) -> int:
        """The state after one more token, or `ENDED`. A completion begins in state 0."""
        step = (state, token)
        found = self._known.get(step)
        if found is None:
            found = self._read(state, self._piece(token))
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[step] = found
        return found

    def end_of(self, tokens: Sequence[int]) -> int | None:
        """How many of `tokens` the completion has, up to the one that ends it; None: none does."""
        state = 0
        for place, token in enumerate(tokens):
            state = self.after(state, token)
            if state == ENDED:
                return place + 1
        return None

    def text(self, tokens: Sequence[int], whole: str) -> str:
        """What stands before the text that ended it. whole: `tokens`, decoded."""
        written = b"".join(map(self._piece, tokens))
        starts = [at for text in self.texts if (at := written.find(text)) >= 0]
        if not starts:
            return whole
        before = written[: min(starts)].decode("utf-8", "replace")
        taken = _blanks(written.decode("utf-8", "replace")) - _blanks(whole)
        return before[min(max(0, taken), _blanks(before)) :]

    def _piece(self, token: int) -> bytes:
        return self.pieces[token] if 0 <= token < len(self.pieces) else b""

    def _read(self, state: int, piece: bytes) -> int:
        for byte in piece:
            while state and byte not in self._next[state]:
                state = self._back[state]
            state = self._next[state].get(byte, 0)
            if self._ends[state]:
                return ENDED
        return state


def _blanks(text: str) -> int:
    """At the beginning, where some decoders take one away."""
    return len(text) - len(text.lstrip(" "))


def _trie(texts: Sequence[bytes]) -> tuple[tuple[dict[int, int], ...], list[bool]]:
    following: list[dict[int, int]] = [{}]
    ends = [False]
    for text in texts:
        state = 0
        for byte in text:
            if byte not in following[state]:
                following[state][byte] = len(following)
                following.append({})
                ends.append(False)
            state = following[state][byte]
        ends[state] = True
    return tuple(following), ends


def _links(
    following: Sequence[dict[int, int]], ends: list[bool]
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Where to go on when a text does not, breadth first; a state that ends with a text ends, too."""
    back = [0] * len(following)
    queue = deque(following[0].values())
    while queue:
        state = queue.popleft()
        ends[state] = ends[state] or ends[back[state]]
        for byte, child in following[state].items():
            link = back[state]
            while link and byte not in following[link]:
                link = back[link]
            back[child] = following[link].get(byte, 0)
            queue.append(child)
    return tuple(back), tuple(ends)
