"""The tokenizer of a model that `transformers` computes, as that library makes it of the directory's files.

Law: it is asked where the architecture is none of ours, so that ids are its own for every class of tokenizer; no code
from the directory is run, and whoever calls has read the files within bounds before.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from archipel.model.stock_classes import UnlikeStock
from archipel.model.stock_library import NotInstalled, has_class, library, shortly


@dataclass(frozen=True)
class StockTokenizer:
    """What the library made of the files."""

    backend: tokenizers.Tokenizer
    named: Mapping[str, str]
    """Special tokens by name that are in the vocabulary."""
    chat_template: str | None


def stock_tokenizer(path: Path, settings: Mapping[str, Any]) -> StockTokenizer:
    """Of the model directory `path`.

    settings: its tokenizer_config.json. A class that lies in the directory as code is refused, which the library,
    without running it, would put another in the place of.

    Raises:
        UnlikeStock: the library is not installed, cannot read it, or has no fast tokenizer for it.
    """
    try:
        known = library()
    except NotInstalled as error:
        raise UnlikeStock(str(error)) from None
    declared = settings.get("tokenizer_class")
    if settings.get("auto_map") and not has_class(declared):
        raise UnlikeStock(
            f"tokenizer_class is {declared!r:.60}, which transformers {known.__version__} has not; code from a "
            "directory is never run"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the library to itself
            made: Any = known.AutoTokenizer.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            )
        inner = getattr(made, "backend_tokenizer", None)
        named = {key: str(value) for key, value in made.special_tokens_map.items()}
        template = made.chat_template
    except Exception as error:  # noqa: BLE001 - whatever the library makes of strange files
        raise UnlikeStock(f"transformers cannot read the tokenizer: {shortly(error)}") from None
    if not isinstance(inner, tokenizers.Tokenizer):
        raise UnlikeStock(
            f"transformers reads it by {type(made).__name__}, which is not of the library tokenizers; convert it to "
            "tokenizer.json"
        )
    backend = tokenizers.Tokenizer.from_str(inner.to_str())
    backend.no_truncation()
    backend.no_padding()
    if getattr(backend.model, "dropout", None):
        raise UnlikeStock("tokenizer.json has dropout, which makes ids random; remove it")
    there = {key: text for key, text in named.items() if backend.token_to_id(text) is not None}
    return StockTokenizer(backend, there, template if isinstance(template, str) else None)
