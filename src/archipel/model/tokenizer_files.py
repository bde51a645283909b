"""The tokenizer files of a model directory, read so that their ids are those of `transformers`.

Parts: `read_tokenizer_files`. tokenizer.json is the tokenizer, but not all of the truth: special tokens
stand in three other files, and for some declared classes `transformers` puts its own pipeline in the
place of the file's (see `stock_classes`).
Law: every file is bounded; what would make other ids than `transformers` is followed or refused by name.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import tokenizers
from tokenizers import AddedToken

from archipel.model.endings import CONFIG_FILE, read_end_ids
from archipel.model.json_files import BadJsonFile, read_json_object
from archipel.model.stock_classes import StockClass, UnlikeStock, as_stock_readers_do
from archipel.model.stock_tokenizer import stock_tokenizer
from archipel.records.recipe_model import ModelSection

MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
"""Largest tokenizer.json that is read; the largest published ones are near 35 MB."""
MAX_SETTINGS_BYTES = 4 * 1024 * 1024
"""Largest of the other files that is read."""
MAX_TOKEN_ID = 2**24
"""Some sixty times the largest published vocabulary."""
_MANY_DIGITS = re.compile(r'"\s*:\s*\d{8,}')
FAMILIES: tuple[str, ...] = get_args(ModelSection.model_fields["family"].annotation)
"""Architectures of ours, whose tokenizers are read here; any other is the library's to know."""
_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""Special tokens that every tokenizer can have, in the order in which other readers add them."""
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")


class InvalidTokenizer(ValueError):
    """The tokenizer's files are missing, too large or malformed, or make other ids elsewhere."""


@dataclass(frozen=True)
class TokenizerFiles:
    """What they say."""

    backend: tokenizers.Tokenizer
    named: Mapping[str, str]
    """Special tokens by name: `bos_token`, `unk_token`, ..."""
    end_ids: tuple[int, ...]
    """The ids that end a completion, by config.json and generation_config.json."""
    chat_template: str | None


def read_tokenizer_files(path: Path) -> TokenizerFiles:
    """Read the tokenizer of the model directory `path`.

    Raises:
        InvalidTokenizer: tokenizer.json is missing, or a file is too large, malformed or unlike.
    """
    text = _read_text(path / "tokenizer.json", MAX_TOKENIZER_BYTES)
    if text is None:
        raise InvalidTokenizer(f"{path} has no tokenizer.json; convert the tokenizer to that form")
    settings = _settings(path)
    config = _object(path / CONFIG_FILE)
    _require_few_ids(path / "tokenizer.json", text)
    try:
        backend = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise InvalidTokenizer(f"{path / 'tokenizer.json'}: {error}") from None
    if config.get("model_type") not in (None, *FAMILIES):
        return _as_the_library_does(path, config)
    # Lengths are the caller's business: a limit left in the file would cut every text.
    backend.no_truncation()
    backend.no_padding()
    try:
        stock = as_stock_readers_do(backend, settings, config)
        settings = {**stock.defaults, **settings}
        _add_tokens(backend, settings, stock)
        end_ids = read_end_ids(path, config)
    except (UnlikeStock, BadJsonFile) as error:
        raise InvalidTokenizer(f"{path}: {error}") from None
    template = _read_text(path / "chat_template.jinja", MAX_SETTINGS_BYTES)
    return TokenizerFiles(
        backend,
        _named(settings),
        end_ids,
        _template(settings.get("chat_template")) if template is None else template,
    )


def _require_few_ids(path: Path, text: str) -> None:
    """The library makes a table as long as the largest id, and ends the process where it cannot."""
    if _MANY_DIGITS.search(text) is None:
        return
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return  # the library says what is wrong
    model = told.get("model") if isinstance(told, dict) else None
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    added = told.get("added_tokens") if isinstance(told, dict) else None
    ids = [
        *(vocabulary.values() if isinstance(vocabulary, dict) else ()),
        *(each.get("id") for each in added or () if isinstance(each, dict)),
    ]
    largest = max((each for each in ids if isinstance(each, int)), default=0)
    if largest > MAX_TOKEN_ID:
        raise InvalidTokenizer(
            f"{path}: a token has id {largest!s:.20}; expected at most {MAX_TOKEN_ID}"
        )


def _as_the_library_does(path: Path, config: Mapping[str, Any]) -> TokenizerFiles:
    """Of an architecture that this software does not know."""
    try:
        stock = stock_tokenizer(path, _settings(path))
        end_ids = read_end_ids(path, config)
    except (UnlikeStock, BadJsonFile) as error:
        raise InvalidTokenizer(f"{path}: {error}") from None
    template = _read_text(path / "chat_template.jinja", MAX_SETTINGS_BYTES)
    said = stock.chat_template if template is None else template
    return TokenizerFiles(stock.backend, stock.named, end_ids, said)


def _settings(path: Path) -> dict[str, Any]:
    """tokenizer_config.json, with the older files that count where it lists no added tokens."""
    settings = _object(path / "tokenizer_config.json")
    if "added_tokens_decoder" in settings:
        return settings
    settings |= _object(path / "special_tokens_map.json")
    special = set(_named(settings).values()) | {str(_text(each)) for each in _extra(settings)}
    listed = {
        str(index): {
            "content": token,
            "normalized": token not in special,
            "special": token in special,
        }
        for token, index in _object(path / "added_tokens.json").items()
    }
    return settings | {"added_tokens_decoder": listed}


def _add_tokens(
    backend: tokenizers.Tokenizer, settings: Mapping[str, Any], stock: StockClass
) -> None:
    """Let the tokens that only the other files name be found in text, with the flags given there."""
    known = {token.content: (index, token) for index, token in _added(backend)}
    tokens: dict[str, AddedToken] = {}
    for index, entry in _sorted_entries(settings.get("added_tokens_decoder")):
        token = _added_token(entry)
        if token.content in known:
            there, other = known[token.content]
            if there != index:
                raise UnlikeStock(
                    f"token {token.content!r:.60} is {there} in tokenizer.json and {index} in "
                    "tokenizer_config.json; make them one"
                )
            if all(getattr(token, flag) == getattr(other, flag) for flag in _FLAGS):
                continue
        tokens[token.content] = token
    named = _named(settings)
    values = [*(settings[name] for name in named), *_extra(settings)]
    special = [str(_text(value)) for value in values]
    for content, value in zip(special, values, strict=True):
        if content in known or content in tokens:
            continue
        is_meant = content in named.values() and content not in stock.defaults.values()
        if is_meant and backend.token_to_id(content) is None:
            raise UnlikeStock(f"special token {content!r:.60} is not in the vocabulary")
        flags = _flags(value) if isinstance(value, dict) else {}
        tokens[content] = AddedToken(content, **(flags | {"special": True}))
    if tokens:
        backend.add_tokens(list(tokens.values()))
    if stock.drops_flags:
        backend.add_tokens([AddedToken(content, special=True) for content in special])


def _added(backend: tokenizers.Tokenizer) -> list[tuple[int, AddedToken]]:
    return sorted(backend.get_added_tokens_decoder().items())


def _sorted_entries(entries: Any) -> list[tuple[int, Any]]:
    try:
        return sorted(
            ((int(index), entry) for index, entry in (entries or {}).items()), key=lambda e: e[0]
        )
    except (AttributeError, TypeError, ValueError):
        raise UnlikeStock("added_tokens_decoder is not a table of ids") from None


def _added_token(entry: Any) -> AddedToken:
    content = _text(entry)
    if content is None or not isinstance(entry, dict):
        raise UnlikeStock(f"an added token is {entry!r:.60}; expected an object with content")
    return AddedToken(content, **_flags(entry))


def _flags(entry: Mapping[str, Any]) -> dict[str, bool]:
    flags = {flag: entry[flag] for flag in _FLAGS if flag in entry}
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise UnlikeStock(f"an added token has flags {flags!r:.80}; expected booleans")
    return flags


def _named(settings: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens by name; a name is any key that ends in `_token` and holds text."""
    keys = [key for key in settings if key.endswith("_token") and key not in _NAMES]
    found = {
        key: _text(settings[key])
        for key in (*_NAMES, *keys)
        if key in settings and not isinstance(settings[key], bool)
    }
    return {key: text for key, text in found.items() if text is not None}


def _extra(settings: Mapping[str, Any]) -> list[Any]:
    """Special tokens without a name of their own."""
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    listed = list(extra.values()) if isinstance(extra, dict) else extra
    if not isinstance(listed, list) or any(_text(each) is None for each in listed):
        raise InvalidTokenizer(f"extra special tokens are {extra!r:.60}; expected a list of texts")
    return listed


def _text(value: Any) -> str | None:
    """Special tokens are written as text or as an object with the text in `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    if value is not None and not _is_text(value):
        raise InvalidTokenizer(f"special token is {value!r:.60}; expected text")
    return value


def _is_text(value: Any) -> bool:
    """Half of a surrogate pair, which JSON can name, is none."""
    return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)


def _template(value: Any) -> str | None:
    """One template, or a list or table of named ones of which `default` is meant."""
    if isinstance(value, list):
        value = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
    if isinstance(value, dict):
        value = value.get("default")
    if value is not None and not _is_text(value):
        raise InvalidTokenizer("chat_template is neither text nor a list with a default")
    return value


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return read_json_object(path, MAX_SETTINGS_BYTES)
    except BadJsonFile as error:
        raise InvalidTokenizer(str(error)) from None


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
