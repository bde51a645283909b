"""Text to token ids and back, by the `tokenizers` library and its `tokenizer.json`.

Parts: `Tokenizer`; `character_tokenizer` and `byte_tokenizer`, which need no training.
Laws: ids are the truth: a sampled completion is kept as ids, decoding it is for people and graders. A
directory's ids are those that `transformers` makes of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from archipel.model.pieces import Pieces, pieces_of
from archipel.model.stock_classes import puts_a_blank_before
from archipel.model.tokenizer_files import InvalidTokenizer, read_tokenizer_files

__all__ = [
    "InvalidTokenizer",
    "Tokenizer",
    "UnknownText",
    "byte_tokenizer",
    "character_tokenizer",
    "tokenizer_named",
]

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789=#,+-*/ :.?()<>[]'\n!\"_|&;"
_BYTE_SYMBOLS = sorted(pre_tokenizers.ByteLevel.alphabet())


class UnknownText(ValueError):
    """The text has a character that this vocabulary cannot express."""


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary with its special tokens, end tokens and, if it has one, its chat template."""

    backend: tokenizers.Tokenizer
    bos_token: str | None = None
    eos_token: str | None = None
    pad_token: str | None = None
    chat_template: str | None = None
    other_tokens: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Further named special tokens, such as `unk_token`."""
    end_ids: tuple[int, ...] = ()
    """What the model's configuration says of ends; () leaves it to `eos_token`."""

    def __post_init__(self) -> None:
        for token in (self.bos_token, self.eos_token, self.pad_token):
            if token is not None and self.backend.token_to_id(token) is None:
                raise InvalidTokenizer(f"special token {token!r:.60} is not in the vocabulary")

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def has_the_tokens_of(self, other: "Tokenizer") -> bool:
        """Whether each id is the same token there, so that what one writes the other can read as ids."""
        ours, theirs = (each.backend.get_vocab(with_added_tokens=True) for each in (self, other))
        return ours == theirs

    @property
    def bos_id(self) -> int | None:
        """Id that begins a sequence."""
        return self._id(self.bos_token)

    @property
    def eos_id(self) -> int | None:
        """Id that ends a sequence."""
        return self._id(self.eos_token)

    @property
    def pad_id(self) -> int | None:
        """Id that fills unused places."""
        return self._id(self.pad_token)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Every id that ends a completion: the configuration's, or else the tokenizer's own."""
        return self.end_ids or (() if self.eos_id is None else (self.eos_id,))

    @property
    def special_tokens(self) -> dict[str, str]:
        """Names that a chat template may use, such as `bos_token`, with their text."""
        named = {
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            "pad_token": self.pad_token,
        }
        return {**self.other_tokens, **{name: text for name, text in named.items() if text}}

    @cached_property
    def special_ids(self) -> Mapping[int, AddedToken]:
        """The ids that are control, not text, with their tokens."""
        added = self.backend.get_added_tokens_decoder()
        return {index: token for index, token in added.items() if token.special}

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """Those of `special_ids` that no text may make: all but the one for what is unknown."""
        unknown = self._id(getattr(self.backend.model, "unk_token", None))
        return frozenset(self.special_ids) - {unknown}

    def encode(self, text: str, *, parse_special: bool = True) -> list[int]:
        """Ids of `text`, with nothing added before or after.

        parse_special: whether "<eos>" written in the text becomes the special id. Turn it off for
        text that a stranger wrote.

        Raises:
            UnknownText: the vocabulary has no ids for some character.
        """
        return self._encode(text, parse_special, frame=False)

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a whole text as other readers of this tokenizer make them: with the ids that it puts
        before and after every text (often one that begins it), and no others that are control.

        Raises:
            UnknownText: the vocabulary has no ids for some character.
        """
        return self._encode(text, parse_special=False, frame=True)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens skipped."""
        return self.backend.decode(list(ids), skip_special_tokens=True)

    @cached_property
    def pieces(self) -> Pieces:
        """What each id writes, as bytes. Raises NoPieces: the decoder does not put tokens side by side."""
        return pieces_of(self.backend, frozenset(self.special_ids))

    def endings(self, texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Stop strings as they can be found: those of text, and the ids of those that name a special token, which no
        text has.
        """
        named = {token.content: index for index, token in self.special_ids.items()}
        written = tuple(text for text in texts if text not in named)
        return written, tuple(named[text] for text in texts if text in named)

    def with_chat_template(self, template: str) -> Self:
        """The same vocabulary with another chat template (Jinja)."""
        return replace(self, chat_template=template)

    @classmethod
    def from_directory(cls, path: Path) -> Self:
        """Read tokenizer.json and what belongs to it from a model directory (see `tokenizer_files`).

        Raises:
            InvalidTokenizer: tokenizer.json is missing, or a file is too large or malformed, or other
                readers would make other ids of it.
        """
        files = read_tokenizer_files(path)
        named = dict(files.named)
        return cls(
            files.backend,
            bos_token=named.pop("bos_token", None),
            eos_token=named.pop("eos_token", None),
            pad_token=named.pop("pad_token", None),
            chat_template=files.chat_template,
            other_tokens=named,
            end_ids=files.end_ids,
        )

    def write(self, path: Path) -> None:
        """Write what `from_directory` and `transformers.AutoTokenizer` read."""
        settings: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            # For readers that do not look at the post-processor.
            "add_bos_token": self.encode_prompt("")[:1] == [self.bos_id],
            "add_prefix_space": puts_a_blank_before(self.backend),
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            "pad_token": self.pad_token,
            # Said even where there is none: some classes would add one of their own.
            "unk_token": None,
        } | dict(self.other_tokens)
        (path / "tokenizer.json").write_text(self.backend.to_str(pretty=True), encoding="utf-8")
        (path / "tokenizer_config.json").write_text(
            json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        template = path / "chat_template.jinja"
        if self.chat_template is None:
            template.unlink(missing_ok=True)
        else:
            template.write_text(self.chat_template, encoding="utf-8")

    def _encode(self, text: str, parse_special: bool, frame: bool) -> list[int]:
        self.backend.encode_special_tokens = not parse_special
        try:
            encoding = self.backend.encode(text, add_special_tokens=frame)
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception
            raise UnknownText(f"cannot encode {text!r:.60}: {error}") from None
        if self._loses_text:
            self._refuse_losses(text, parse_special)
        ids = list(encoding.ids)
        if not parse_special:
            self._refuse_control(text, ids, encoding.special_tokens_mask)
        return ids

    def _refuse_control(self, text: str, ids: Sequence[int], frame_mask: Sequence[int]) -> None:
        """Some vocabularies hold their control tokens as words, and find them in plain text."""
        for index, is_frame in zip(ids, frame_mask, strict=True):
            if not is_frame and index in self.control_ids:
                token = self.special_ids[index].content
                raise UnknownText(
                    f"cannot encode {text!r:.60}: {token!r:.40} in it would become a control token; "
                    "take it out"
                )

    def _refuse_losses(self, text: str, parse_special: bool) -> None:
        """Byte pairs without an unknown token leave out what the vocabulary lacks, and say nothing."""
        plain = text
        for token in self.backend.get_added_tokens_decoder().values():
            if parse_special or not token.special:
                plain = plain.replace(token.content, "")
        if self.backend.normalizer is not None:
            plain = self.backend.normalizer.normalize_str(plain)
        pre_tokenizer = self.backend.pre_tokenizer
        pieces = pre_tokenizer.pre_tokenize_str(plain) if pre_tokenizer else [(plain, (0, 0))]
        for piece, (start, end) in pieces:
            if any(self.backend.token_to_id(symbol) is None for symbol in piece):
                raise UnknownText(
                    f"cannot encode {text!r:.60}: the vocabulary has nothing for {plain[start:end]!r:.20}"
                )

    @cached_property
    def _loses_text(self) -> bool:
        model = self.backend.model
        if not isinstance(model, models.BPE) or model.unk_token is not None or model.byte_fallback:
            return False
        if model.continuing_subword_prefix or model.end_of_word_suffix or model.ignore_merges:
            return False  # What stands in the vocabulary is then no plain symbol.
        return any(self.backend.token_to_id(symbol) is None for symbol in _BYTE_SYMBOLS)

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self.backend.token_to_id(token)


def character_tokenizer() -> Tokenizer:
    """64 ids, one character each: pad, bos, eos, a-z, 0-9 and 25 signs. Other text is refused."""
    symbols = [pre_tokenizers.ByteLevel(False).pre_tokenize_str(c)[0][0] for c in _CHARACTERS]
    return _of_symbols(symbols)


def byte_tokenizer() -> Tokenizer:
    """259 ids: pad, bos, eos and the 256 bytes of UTF-8. Expresses any text."""
    return _of_symbols(_BYTE_SYMBOLS)


def tokenizer_named(name: Literal["characters", "bytes"]) -> Tokenizer:
    """The tokenizer that a recipe's `model.tokenizer` names."""
    return character_tokenizer() if name == "characters" else byte_tokenizer()


def _of_symbols(symbols: Sequence[str]) -> Tokenizer:
    """Byte pairs without merges, the one form that readers of every family take; BOS begins each text."""
    specials = [PAD, BOS, EOS]
    vocabulary = {symbol: index for index, symbol in enumerate([*specials, *symbols])}
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B:1", special_tokens=[(BOS, vocabulary[BOS])]
    )
    backend.add_special_tokens([AddedToken(token, special=True) for token in specials])
    return Tokenizer(backend, bos_token=BOS, eos_token=EOS, pad_token=PAD)
