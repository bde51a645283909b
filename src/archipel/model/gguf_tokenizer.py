"""The tokenizer that a GGUF file holds: byte-level byte pairs, their pre-tokenizer, special tokens, template.

Parts: `tokenizer_of`, `parting_named`. A file names its pre-tokenizer by a word (`tokenizer.ggml.pre`, as in llama.cpp's
llama-vocab.cpp) that stands for a pattern which it does not hold; the patterns known here are those that the
models' own tokenizer.json have.
Law: ids are those of the model's own folder; a pre-tokenizer or a setting that is not known here is refused by
name, never guessed.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from archipel.model.endings import MAX_END_IDS
from archipel.model.gguf_header import BadGguf
from archipel.model.stock_classes import QWEN_WORDS
from archipel.model.tokenizer import InvalidTokenizer, Tokenizer

T = TypeVar("T")
_START = "tokenizer.ggml."
_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED = 1, 2, 3, 4, 5
"""Kinds of token; 6 are bytes, which byte-level vocabularies have not."""
_IDS = {"bos": "bos_token", "eos": "eos_token", "padding": "pad_token", "unknown": "unk_token"}
_LLAMA_WORDS = QWEN_WORDS.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
"""As Qwen2's, but for up to three digits in a word."""
_ENDS = {
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>",
    "<end_of_turn>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
}  # fmt: skip
"""Control tokens that end a completion wherever they are: as llama.cpp, which a file relies on."""
_SILENT = {
    "tokens", "token_type", "scores", "merges", "model", "pre", "add_bos_token", "eot_token_id",
    "eom_token_id", "seperator_token_id", "mask_token_id", "cls_token_id",
    *(f"{name}_token_id" for name in _IDS),
    *(f"fim_{part}_token_id" for part in ("pre", "suf", "mid", "pad", "rep", "sep")),
    *(f"{part}_token_id" for part in ("prefix", "suffix", "middle")),
}  # fmt: skip
_FALSE = ("add_eos_token", "add_space_prefix", "add_sep_token", "remove_extra_whitespaces")
"""Settings that a byte-level tokenizer of ours has not; false is as good as missing."""


@dataclass(frozen=True)
class _Parting:
    """How text becomes words before byte pairs."""

    pre_tokenizer: Callable[[], pre_tokenizers.PreTokenizer]
    begins: bool = False
    """Whether a begin token stands before every text unless the file says otherwise."""
    whole_words: bool = False
    """Whether a word that is in the vocabulary is taken as it is, whatever its merges."""
    composes: bool = False
    """Whether characters are composed first (Unicode NFC)."""


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _single_digits() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _words(pattern: str) -> Callable[[], pre_tokenizers.PreTokenizer]:
    return lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


_LLAMA = _Parting(_words(_LLAMA_WORDS), begins=True, whole_words=True)
_QWEN = _Parting(_words(QWEN_WORDS), composes=True)
_PARTINGS = {
    "gpt-2": _Parting(_gpt2),
    "smollm": _Parting(_single_digits),
    "starcoder": _Parting(_single_digits),
    "refact": _Parting(_single_digits),
    "llama-bpe": _LLAMA,
    "llama3": _LLAMA,
    "llama-v3": _LLAMA,
    "qwen2": _QWEN,
    "deepseek-r1-qwen": _QWEN,
}


def parting_named(pre_tokenizer: Any, *, composes: bool, whole_words: bool) -> str | None:
    """What a file calls this way of making words, the tokenizer's own description of it; None: no name is known."""
    for name, parting in _PARTINGS.items():
        one = tokenizers.Tokenizer(models.BPE())
        one.pre_tokenizer = parting.pre_tokenizer()
        said = json.loads(one.to_str())["pre_tokenizer"]
        if (_bare(said), parting.composes, parting.whole_words) == (
            _bare(pre_tokenizer),
            composes,
            whole_words,
        ):
            return name
    return None


def _bare(said: Any) -> Any:
    """Without `trim_offsets`, which changes no ids."""
    if isinstance(said, Mapping):
        return {key: _bare(value) for key, value in said.items() if key != "trim_offsets"}
    return [_bare(each) for each in said] if isinstance(said, list) else said


def tokenizer_of(facts: Mapping[str, Any], vocab_size: int) -> Tokenizer:
    """The tokenizer of a file whose model has `vocab_size` embeddings, with the ids that end a completion.

    Raises:
        BadGguf: another kind of tokenizer, a pre-tokenizer that is not known here, or parts that do not fit.
    """
    said = {key.removeprefix(_START): facts[key] for key in facts if key.startswith(_START)}
    parting = _parting(said)
    words, kinds = _vocabulary(said, vocab_size)
    backend = _backend(words, kinds, _merges(said), parting)
    named = {
        name: words[index]
        for key, name in _IDS.items()
        if (index := _id(said, f"{key}_token_id", len(words))) is not None
    }
    begins = said.get("add_bos_token", parting.begins)
    if not isinstance(begins, bool):
        raise BadGguf(f"{_START}add_bos_token is {begins!r:.40}; expected true or false")
    if begins:
        _begin_every_text(backend, named.get("bos_token"))
    try:
        return Tokenizer(
            backend,
            bos_token=named.pop("bos_token", None),
            eos_token=named.pop("eos_token", None),
            pad_token=named.pop("pad_token", None),
            chat_template=_template(facts),
            other_tokens=named,
            end_ids=_ends(said, words, kinds),
        )
    except InvalidTokenizer as error:
        raise BadGguf(f"the file's tokenizer does not fit together: {error}") from None


def _parting(said: Mapping[str, Any]) -> _Parting:
    if (model := said.get("model")) != "gpt2":
        raise BadGguf(
            f"tokenizer {model!r:.40}; only byte-level byte pairs ('gpt2') are read from GGUF: get the "
            "model's folder instead"
        )
    for key, value in said.items():
        if key not in _SILENT and not (key in _FALSE and value is False):
            raise BadGguf(
                f"{_START}{key} is {value!r:.60}; a tokenizer of ours has nothing like it"
            )
    name = said.get("pre")
    if not isinstance(name, str) or name not in _PARTINGS:
        raise BadGguf(
            f"pre-tokenizer {name!r:.60}; known are {', '.join(_PARTINGS)}: get the model's folder instead"
        )
    return _PARTINGS[name]


def _vocabulary(said: Mapping[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    words, kinds = said.get("tokens"), said.get("token_type")
    if not _is_list_of(words, str) or not 0 < len(words) <= vocab_size:
        raise BadGguf(
            f"{_START}tokens is no list of 1 to {vocab_size} texts, one for each embedding"
        )
    if kinds is None:
        kinds = [_NORMAL] * len(words)
    if not _is_list_of(kinds, int) or len(kinds) != len(words):
        raise BadGguf(f"{_START}token_type does not name a kind for each of {len(words)} tokens")
    if others := set(kinds) - {_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED}:
        raise BadGguf(f"a token is of kind {min(others)}; expected 1 to 5 in byte-level byte pairs")
    used = [word for word, kind in zip(words, kinds, strict=True) if kind != _UNUSED]
    if len(set(used)) != len(used):
        raise BadGguf("a token is given two ids; expected each once")
    return words, kinds


def _merges(said: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = said.get("merges")
    if not _is_list_of(lines, str):
        raise BadGguf(f"{_START}merges is no list of texts")
    pairs = []
    for line in lines:
        cut = line.find(" ", 1)
        if cut < 1 or cut == len(line) - 1:
            raise BadGguf(f"merge {line!r:.60}; expected two parts with a blank between")
        pairs.append((line[:cut], line[cut + 1 :]))
    return pairs


def _backend(
    words: list[str], kinds: list[int], merges: list[tuple[str, str]], parting: _Parting
) -> tokenizers.Tokenizer:
    vocabulary = {word: i for i, word in enumerate(words) if kinds[i] != _UNUSED}
    try:
        model = models.BPE(vocabulary, merges, ignore_merges=parting.whole_words)
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise BadGguf(f"the file's byte pairs do not fit together: {error}") from None
    backend = tokenizers.Tokenizer(model)
    if parting.composes:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = parting.pre_tokenizer()
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens(
        [
            AddedToken(word, special=kind != _USER, normalized=False)
            for word, kind in zip(words, kinds, strict=True)
            if kind in (_UNKNOWN, _CONTROL, _USER) and word
        ]
    )
    return backend


def _begin_every_text(backend: tokenizers.Tokenizer, begin: str | None) -> None:
    if begin is None:
        raise BadGguf("every text begins with a token that the file does not name (bos_token_id)")
    place = (begin, backend.token_to_id(begin))
    backend.post_processor = processors.TemplateProcessing(
        single=[place[0], "$A"], pair=[place[0], "$A", place[0], "$B:1"], special_tokens=[place]
    )


def _ends(said: Mapping[str, Any], words: list[str], kinds: list[int]) -> tuple[int, ...]:
    named = [_id(said, f"{key}_token_id", len(words)) for key in ("eos", "eot", "eom")]
    known = [i for i, word in enumerate(words) if word in _ENDS and kinds[i] == _CONTROL]
    ends = tuple(dict.fromkeys(each for each in (*named, *known) if each is not None))
    return ends[:MAX_END_IDS]


def _id(said: Mapping[str, Any], key: str, size: int) -> int | None:
    index = said.get(key)
    if index is None:
        return None
    if type(index) is not int or not 0 <= index < size:
        raise BadGguf(f"{_START}{key} is {index!r:.40}; expected an id below {size}")
    return index


def _template(facts: Mapping[str, Any]) -> str | None:
    template = facts.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise BadGguf(f"tokenizer.chat_template is {template!r:.40}; expected text")
    return template


def _is_list_of(value: Any, kind: type[T]) -> TypeGuard[list[T]]:
    return isinstance(value, list) and all(type(each) is kind for each in value)
