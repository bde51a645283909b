"""From tokens to text while they come: no half characters, nothing of a stop string, nothing twice.

Parts: `Voice`, `voice_of`. Law: what a voice has said, all together, is what the tokenizer makes of all tokens at
once, up to the stop string that ended them.
"""

import codecs
from typing import Protocol

from archipel.model.pieces import NoPieces, Pieces
from archipel.model.tokenizer import Tokenizer


class Voice(Protocol):
    """Of one answer."""

    def say(self, token: int) -> str:
        """What can be said for certain once this token is there."""

    def end(self) -> str:
        """The rest."""


def voice_of(tokenizer: Tokenizer, stops: tuple[str, ...]) -> Voice:
    """stops: texts of which none is said, nor anything after one.

    Raises:
        NoPieces: `stops` with a tokenizer that does not put tokens side by side.
    """
    try:
        pieces = tokenizer.pieces
    except NoPieces:
        if stops:
            raise
        return _Whole(tokenizer)
    return _ByPieces(tokenizer, pieces, tuple(stop.encode() for stop in stops))


class _ByPieces:
    """Token by token, in as many steps as there are bytes."""

    def __init__(self, tokenizer: Tokenizer, pieces: Pieces, stops: tuple[bytes, ...]) -> None:
        self._tokenizer, self._pieces, self._stops = tokenizer, pieces, stops
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = b""
        """Written, not said yet: it may be the beginning of a stop string."""
        self._has_begun = self._has_ended = False

    def say(self, token: int) -> str:
        """See `Voice.say`."""
        if self._has_ended:
            return ""
        piece = self._pieces[token] if 0 <= token < len(self._pieces) else b""
        if piece and not self._has_begun:
            self._has_begun = True
            if piece.startswith(b" ") and not self._tokenizer.decode([token]).startswith(" "):
                piece = piece[1:]  # some decoders take the blank before a text away
        self._held += piece
        return self._decoder.decode(self._certain())

    def end(self) -> str:
        """See `Voice.end`."""
        held, self._held = self._held, b""
        return self._decoder.decode(held, final=True)

    def _certain(self) -> bytes:
        """Taken from what is held: all that no stop string can claim any more."""
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            certain, self._held, self._has_ended = self._held[: min(found)], b"", True
            return certain
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        certain, self._held = self._held[:cut], self._held[cut:]
        return certain


def _overlap(written: bytes, stop: bytes) -> int:
    """The most bytes at the end of `written` with which `stop` begins."""
    most = min(len(written), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if written.endswith(stop[:n])), 0)


class _Whole:
    """By decoding everything again, for tokenizers whose text is not its tokens' texts side by side."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._said = ""

    def say(self, token: int) -> str:
        """See `Voice.say`."""
        self._tokens.append(token)
        text = self._tokenizer.decode(self._tokens)
        if text.endswith("\ufffd") or not text.startswith(self._said):
            return ""
        new, self._said = text[len(self._said) :], text
        return new

    def end(self) -> str:
        """See `Voice.end`."""
        text = self._tokenizer.decode(self._tokens)
        return text[len(self._said) :] if text.startswith(self._said) else ""
