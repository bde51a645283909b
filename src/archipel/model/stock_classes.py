"""The tokenizer class that a model directory declares, where it changes what tokenizer.json says.

`transformers` 5 takes vocabulary, merges and post-processor from tokenizer.json, but for a class that
has a pipeline of its own (normaliser, pre-tokenizer, decoder) puts that in the place of the file's.
Law: such a class is followed here or refused by name; other readers must see the same ids.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

_PLAIN = {"PreTrainedTokenizer", "TokenizersBackend"}
"""Classes that take tokenizer.json as it is."""
_AS_IT_IS = ("olmo2", "mistral", "mixtral", "phi3", "granite")
"""Families whose tokenizer.json counts, whatever class is declared beside it."""
_OF_FAMILY = {
    "qwen3": "Qwen2Tokenizer",
    "qwen3_moe": "Qwen2Tokenizer",
    "olmoe": "GPTNeoXTokenizer",
}
"""Where no class is declared."""
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen2 models were trained to part words: single digits, no contractions."""
_MEND = "write PreTrainedTokenizerFast as tokenizer_class in tokenizer_config.json"


class UnlikeStock(ValueError):
    """Other readers would make other ids of the same files."""


@dataclass(frozen=True)
class StockClass:
    """What a class adds of its own to the files it reads."""

    defaults: Mapping[str, str] = field(default_factory=dict)
    """Special tokens by name, where the files are silent."""
    drops_flags: bool = False
    """Whether special tokens are found bare: blanks beside them stay text, whatever the files say."""


def as_stock_readers_do(
    backend: tokenizers.Tokenizer, settings: Mapping[str, Any], config: Mapping[str, Any]
) -> StockClass:
    """Give `backend`, read from tokenizer.json, the pipeline of its declared class; say what that adds.

    settings: tokenizer_config.json. config: config.json; {} where there is none.

    Raises:
        UnlikeStock: ids that depend on chance, or a class whose pipeline is not known here.
    """
    if getattr(backend.model, "dropout", None):
        raise UnlikeStock("tokenizer.json has dropout, which makes ids random; remove it")
    if settings.get("fix_mistral_regex"):
        raise UnlikeStock(
            "tokenizer_config.json has fix_mistral_regex, by which other readers part words by a pattern of their "
            "own; write that pattern into tokenizer.json and remove the setting"
        )
    name = _stock_class(backend, settings, config)
    if name in _PLAIN:
        return StockClass()
    pipeline = _PIPELINES.get(name)
    if pipeline is None:
        raise UnlikeStock(
            f"tokenizer_class is {name!r:.60}, which other readers build by rules of its own; {_MEND} "
            "if tokenizer.json says all"
        )
    if not isinstance(backend.model, models.BPE):
        raise UnlikeStock(
            f"other readers take this tokenizer for a {name} and its "
            f"{type(backend.model).__name__} vocabulary for byte pairs; {_MEND} or choose another family"
        )
    pipeline(backend, settings)
    return _CLASSES[name]


def puts_a_blank_before(backend: tokenizers.Tokenizer) -> bool:
    """Whether byte-level words begin with a blank: a class that has its own pipeline must be told."""
    state = b"" if backend.pre_tokenizer is None else backend.pre_tokenizer.__getstate__()
    return b'"add_prefix_space":true' in state


def _stock_class(
    backend: tokenizers.Tokenizer, settings: Mapping[str, Any], config: Mapping[str, Any]
) -> str:
    """The class that `transformers.AutoTokenizer` takes for these files."""
    family = config.get("model_type")
    declared = settings.get("tokenizer_class") or config.get("tokenizer_class")
    name = str(declared).removesuffix("Fast") if declared else None
    if family == "qwen2":
        return "Qwen2Tokenizer"
    parts = (backend.pre_tokenizer, backend.decoder, backend.post_processor)
    is_byte_level = "ByteLevel" in repr(parts)
    if family in _AS_IT_IS or (name == "LlamaTokenizer" and is_byte_level):
        return "TokenizersBackend"
    return name or _OF_FAMILY.get(str(family), "TokenizersBackend")


def _qwen2(backend: tokenizers.Tokenizer, settings: Mapping[str, Any]) -> None:
    spaced = bool(settings.get("add_prefix_space"))
    _set_flags(backend.model, fuse_unk=False, byte_fallback=False)
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=spaced, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()


def _llama(backend: tokenizers.Tokenizer, settings: Mapping[str, Any]) -> None:
    spaced = settings.get("add_prefix_space")
    spaced = True if spaced is None else bool(spaced)
    scheme = "never" if not spaced else "always" if settings.get("legacy", False) else "first"
    _set_flags(backend.model, fuse_unk=True, byte_fallback=True)
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    ends = [decoders.Strip(content=" ", left=1)] if spaced else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *ends]
    )


def _gpt2(backend: tokenizers.Tokenizer, settings: Mapping[str, Any]) -> None:
    """Refused where the file says more: models were trained with what the file says."""
    plain = pre_tokenizers.ByteLevel(add_prefix_space=bool(settings.get("add_prefix_space")))
    if backend.normalizer is not None or not _alike(backend.pre_tokenizer, plain):
        raise UnlikeStock(
            "tokenizer_class is 'GPT2Tokenizer', for which other readers leave out the normalizer and "
            f"pre-tokenizer that tokenizer.json has; {_MEND}"
        )
    _set_flags(backend.model, fuse_unk=False, byte_fallback=False)
    backend.decoder = decoders.ByteLevel()


def _gpt_neox(backend: tokenizers.Tokenizer, settings: Mapping[str, Any]) -> None:
    spaced = bool(settings.get("add_prefix_space"))
    _set_flags(backend.model, fuse_unk=False, byte_fallback=False)
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    backend.decoder = decoders.ByteLevel()
    # Whatever the files say of begin and end tokens.
    backend.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A $B", special_tokens=[]
    )


_PIPELINES: dict[str, Callable[[tokenizers.Tokenizer, Mapping[str, Any]], None]] = {
    "Qwen2Tokenizer": _qwen2,
    "LlamaTokenizer": _llama,
    "GPT2Tokenizer": _gpt2,
    "GPTNeoXTokenizer": _gpt_neox,
}


_END_OF_TEXT = "<|endoftext|>"
_CLASSES = {
    "Qwen2Tokenizer": StockClass(
        {"eos_token": _END_OF_TEXT, "unk_token": _END_OF_TEXT, "pad_token": _END_OF_TEXT}, True
    ),
    "LlamaTokenizer": StockClass(
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, False
    ),
    "GPT2Tokenizer": StockClass(
        {"bos_token": _END_OF_TEXT, "eos_token": _END_OF_TEXT, "unk_token": _END_OF_TEXT}, False
    ),
    "GPTNeoXTokenizer": StockClass(
        {
            **dict.fromkeys(("bos_token", "eos_token", "unk_token"), _END_OF_TEXT),
            "pad_token": "<|padding|>",
        },
        False,
    ),
}


def _set_flags(model: models.BPE, *, fuse_unk: bool, byte_fallback: bool) -> None:
    model.unk_token = None
    model.fuse_unk, model.byte_fallback, model.ignore_merges = fuse_unk, byte_fallback, False


def _alike(one: Any, other: Any) -> bool:
    """Whether two pre-tokenizers part text alike; their offsets do not matter here."""
    return one is not None and _settings_of(one) == _settings_of(other)


def _settings_of(part: Any) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(part.__getstate__())
    return {key: value for key, value in settings.items() if key != "trim_offsets"}
