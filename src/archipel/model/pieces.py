"""What each token of a vocabulary writes, as bytes: text that is looked at token by token, without decoding it again.

Parts: `pieces_of`. A token may write half a character; only the bytes of several in a row are UTF-8.
Law: the bytes of tokens in a row are what the tokenizer's own decoder makes of them, but for a blank that some
decoders take from the beginning of a text, and for how bytes that are no UTF-8 are shown. Decoders for
which this does not hold (those that put blanks between tokens, or tidy up) are refused by name.
"""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import tokenizers
from tokenizers import pre_tokenizers

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")
_TRIALS, _TRIAL_LENGTH = 32, 12
MAX_PIECE_CHARACTERS = 65_536
"""That a decoder's replacements make of one token."""

Pieces = tuple[bytes, ...]
"""Of each token id, in order; empty: it writes nothing."""


class NoPieces(ValueError):
    """A tokenizer whose text is not its tokens' texts side by side."""


def pieces_of(backend: tokenizers.Tokenizer, silent: Set[int]) -> Pieces:
    """What each id writes. silent: ids that a decoder skips.

    Raises:
        NoPieces: the decoder does more than to write one token after the other.
    """
    added = {index: token.content for index, token in backend.get_added_tokens_decoder().items()}
    written = _writer(json.loads(backend.to_str())["decoder"])
    vocabulary = backend.get_vocab(with_added_tokens=True)
    found = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for token, index in vocabulary.items():
        if index not in silent:
            found[index] = written(added.get(index, token))
    pieces = tuple(found)
    _require_law(backend, pieces)
    return pieces


def _writer(decoder: Mapping[str, Any] | None) -> Callable[[str], bytes]:
    """A decoder's own words for one token; unknown ones are taken as plain text, and `_require_law` finds out."""
    parts: Sequence[Mapping[str, Any]] = [] if decoder is None else [decoder]
    if decoder is not None and decoder["type"] == "Sequence":
        parts = decoder["decoders"]
    kinds = {part["type"] for part in parts}
    if "ByteLevel" in kinds:
        symbols = _byte_symbols()
        return lambda token: _of_symbols(token, symbols)
    blanks = {
        part["pattern"]["String"]: part["content"]
        for part in parts
        if part["type"] == "Replace" and "String" in part["pattern"]
    }
    blanks |= {part["replacement"]: " " for part in parts if part["type"] == "Metaspace"}

    def written(token: str) -> bytes:
        found = _BYTE_TOKEN.match(token) if "ByteFallback" in kinds else None
        if found is not None:
            return bytes([int(found[1], 16)])
        for sign, text in blanks.items():
            if len(token) + token.count(sign) * len(text) > MAX_PIECE_CHARACTERS:
                raise NoPieces(
                    f"this model's tokenizer writes more than {MAX_PIECE_CHARACTERS} characters for one token; stop "
                    "strings and allowed characters need a decoder that does not: leave them out"
                )
            token = token.replace(sign, text)
        return token.encode("utf-8", "replace")

    return written


def _byte_symbols() -> dict[str, int]:
    """The characters by which byte-level vocabularies write bytes: those that are seen stand for themselves."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    symbols = {chr(byte): byte for byte in seen}
    others = (byte for byte in range(256) if byte not in seen)
    symbols |= {chr(256 + place): byte for place, byte in enumerate(others)}
    if set(symbols) != set(pre_tokenizers.ByteLevel.alphabet()):
        raise NoPieces("this tokenizers library writes bytes in another way; update archipel")
    return symbols


def _of_symbols(token: str, symbols: Mapping[str, int]) -> bytes:
    if all(character in symbols for character in token):
        return bytes(symbols[character] for character in token)
    return token.encode("utf-8", "replace")


def _require_law(backend: tokenizers.Tokenizer, pieces: Pieces) -> None:
    """Some rows of tokens that write whole characters, the same on every machine, written both ways."""
    speaking = [index for index, piece in enumerate(pieces) if _is_text(piece)]
    chance = random.Random(0)  # noqa: S311 - which rows are tried, no secret
    for _ in range(_TRIALS if speaking else 0):
        row = [chance.choice(speaking) for _ in range(_TRIAL_LENGTH)]
        ours = _plain(b"".join(pieces[index] for index in row).decode("utf-8", "replace"))
        theirs = _plain(backend.decode(row, skip_special_tokens=True))
        if ours.removeprefix(" ") != theirs.removeprefix(" "):
            raise NoPieces(
                f"this model's tokenizer writes {theirs!r:.60} where its tokens by themselves are {ours!r:.60}; stop "
                "strings and allowed characters need one that puts tokens side by side: leave them out"
            )


def _plain(text: str) -> str:
    """Without what is shown for bytes that are no UTF-8."""
    return text.replace("\ufffd", "")


def _is_text(piece: bytes) -> bool:
    return bool(piece) and "\ufffd" not in piece.decode("utf-8", "replace")
