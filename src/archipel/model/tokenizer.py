"""Text to token ids and back, by the `tokenizers` library and its `tokenizer.json`.

Parts: `Tokenizer`; `character_tokenizer` and `byte_tokenizer`, which need no training.
Law: ids are the truth. A sampled completion is kept as ids; decoding it is for people and graders.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
"""Largest tokenizer.json that is read; the largest published ones are near 35 MB."""
MAX_SETTINGS_BYTES = 4 * 1024 * 1024
"""Largest tokenizer_config.json or chat template that is read."""

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789=#,+-*/ :.?()<>[]'\n!\"_|&;"


class InvalidTokenizer(ValueError):
    """The tokenizer's files are missing, too large or malformed."""


class UnknownText(ValueError):
    """The text has a character that this vocabulary cannot express."""


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary with its special tokens and, if it has one, its chat template."""

    backend: tokenizers.Tokenizer
    bos_token: str | None = None
    eos_token: str | None = None
    pad_token: str | None = None
    chat_template: str | None = None

    def __post_init__(self) -> None:
        for token in (self.bos_token, self.eos_token, self.pad_token):
            if token is not None and self.backend.token_to_id(token) is None:
                raise InvalidTokenizer(f"special token {token!r:.60} is not in the vocabulary")

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

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
    def special_tokens(self) -> dict[str, str]:
        """Names that a chat template may use, such as `bos_token`, with their text."""
        named = {
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            "pad_token": self.pad_token,
        }
        return {name: text for name, text in named.items() if text is not None}

    def encode(self, text: str, *, parse_special: bool = True) -> list[int]:
        """Ids of `text`, with nothing added before or after.

        parse_special: whether "<eos>" written in the text becomes the special id. Turn it off for
        text that a stranger wrote.

        Raises:
            UnknownText: the vocabulary has no ids for some character.
        """
        self.backend.encode_special_tokens = not parse_special
        try:
            return list(self.backend.encode(text, add_special_tokens=False).ids)
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception
            raise UnknownText(f"cannot encode {text!r:.60}: {error}") from None

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens skipped."""
        return self.backend.decode(list(ids), skip_special_tokens=True)

    def with_chat_template(self, template: str) -> Self:
        """The same vocabulary with another chat template (Jinja)."""
        return replace(self, chat_template=template)

    @classmethod
    def from_directory(cls, path: Path) -> Self:
        """Read tokenizer.json, tokenizer_config.json and chat_template.jinja of a model directory.

        Raises:
            InvalidTokenizer: tokenizer.json is missing, or a file is too large or malformed.
        """
        text = _read_text(path / "tokenizer.json", MAX_TOKENIZER_BYTES)
        if text is None:
            raise InvalidTokenizer(
                f"{path} has no tokenizer.json; convert the tokenizer to that form"
            )
        try:
            backend = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # noqa: BLE001 - the library raises bare Exception
            raise InvalidTokenizer(f"{path / 'tokenizer.json'}: {error}") from None
        settings = _settings(path / "tokenizer_config.json")
        template = _read_text(path / "chat_template.jinja", MAX_SETTINGS_BYTES)
        return cls(
            backend,
            bos_token=_token(settings.get("bos_token")),
            eos_token=_token(settings.get("eos_token")),
            pad_token=_token(settings.get("pad_token")),
            chat_template=_template(settings.get("chat_template"))
            if template is None
            else template,
        )

    def write(self, path: Path) -> None:
        """Write what `from_directory` and `transformers.AutoTokenizer` read."""
        settings: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            "pad_token": self.pad_token,
        }
        (path / "tokenizer.json").write_text(self.backend.to_str(pretty=True), encoding="utf-8")
        (path / "tokenizer_config.json").write_text(
            json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        template = path / "chat_template.jinja"
        if self.chat_template is None:
            template.unlink(missing_ok=True)
        else:
            template.write_text(self.chat_template, encoding="utf-8")

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self.backend.token_to_id(token)


def character_tokenizer() -> Tokenizer:
    """64 ids, one character each: pad, bos, eos, a-z, 0-9 and 25 signs. Other text is refused."""
    specials = [PAD, BOS, EOS]
    vocabulary = {symbol: index for index, symbol in enumerate([*specials, *_CHARACTERS])}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=""))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    return _with_specials(backend, specials)


def byte_tokenizer() -> Tokenizer:
    """259 ids: pad, bos, eos and the 256 bytes of UTF-8. Expresses any text."""
    specials = [PAD, BOS, EOS]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate([*specials, *alphabet])}
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return _with_specials(backend, specials)


def tokenizer_named(name: Literal["characters", "bytes"]) -> Tokenizer:
    """The tokenizer that a recipe's `model.tokenizer` names."""
    return character_tokenizer() if name == "characters" else byte_tokenizer()


def _with_specials(backend: tokenizers.Tokenizer, specials: list[str]) -> Tokenizer:
    backend.add_special_tokens([AddedToken(token, special=True) for token in specials])
    return Tokenizer(backend, bos_token=BOS, eos_token=EOS, pad_token=PAD)


def _read_text(path: Path, max_bytes: int) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise InvalidTokenizer(f"{path} is larger than {max_bytes} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidTokenizer(f"{path} is not UTF-8: {error}") from None


def _settings(path: Path) -> dict[str, Any]:
    text = _read_text(path, MAX_SETTINGS_BYTES)
    if text is None:
        return {}
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidTokenizer(f"{path} is not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise InvalidTokenizer(f"{path} holds {type(settings).__name__}; expected an object")
    return settings


def _token(value: Any) -> str | None:
    """Special tokens are written as text or as an object with the text in `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    if value is not None and not isinstance(value, str):
        raise InvalidTokenizer(f"special token is {value!r:.60}; expected text")
    return value


def _template(value: Any) -> str | None:
    """One template, or a list of named ones of which `default` is meant."""
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
        value = named.get("default")
    if value is not None and not isinstance(value, str):
        raise InvalidTokenizer("chat_template is neither text nor a list with a default")
    return value
