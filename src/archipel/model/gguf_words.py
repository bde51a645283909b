"""What a GGUF file says of a tokenizer: words, merges, kinds, special ids, the name of how text is parted.

Parts: `words_of`, the way back of `gguf_tokenizer.tokenizer_of`. Laws: ids are the tokenizer's own; a way of parting
text that has no name among those known here is refused, never approximated.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from archipel.model.gguf_header import CannotWrite
from archipel.model.gguf_tokenizer import parting_named
from archipel.model.tokenizer import Tokenizer

UINT32, BOOL, STRING, ARRAY, INT32 = 4, 7, 8, 9, 5
NORMAL, CONTROL, USER, UNUSED = 1, 3, 4, 5
"""Kinds of token."""
_ENDS = ("eos", "eot", "eom")
Fact = tuple[str, int, Any]
"""Key, type, value; an array's value is (type of its elements, elements)."""


def words_of(tokenizer: Tokenizer, vocab_size: int) -> Iterator[Fact]:
    """The facts of a model with `vocab_size` embeddings; those without a word are unused ones.

    Raises:
        CannotWrite: no byte pairs over bytes, parted in an unknown way, with ids missing or too many.
    """
    said = json.loads(tokenizer.backend.to_str())
    parting, merges = _parting(said), said["model"]["merges"]
    words, kinds = _vocabulary(tokenizer, vocab_size)
    yield "tokenizer.ggml.model", STRING, "gpt2"
    yield "tokenizer.ggml.pre", STRING, parting
    yield "tokenizer.ggml.tokens", ARRAY, (STRING, words)
    yield "tokenizer.ggml.token_type", ARRAY, (INT32, kinds)
    yield "tokenizer.ggml.merges", ARRAY, (STRING, [" ".join(pair) for pair in merges])
    ends = dict(zip(_ENDS, tokenizer.stop_ids, strict=False))
    for name, index in {"bos": tokenizer.bos_id, **ends, "padding": tokenizer.pad_id}.items():
        if index is not None:
            yield f"tokenizer.ggml.{name}_token_id", UINT32, index
    begins = tokenizer.bos_id is not None and tokenizer.encode_prompt("")[:1] == [tokenizer.bos_id]
    yield "tokenizer.ggml.add_bos_token", BOOL, begins
    yield "tokenizer.ggml.add_eos_token", BOOL, False
    yield "tokenizer.ggml.add_space_prefix", BOOL, False
    if tokenizer.chat_template is not None:
        yield "tokenizer.chat_template", STRING, tokenizer.chat_template


def _parting(said: Mapping[str, Any]) -> str:
    """Without merges any parting into bytes gives the same ids, so any name will do."""
    model, normalizer = said["model"], said["normalizer"]
    words = said["pre_tokenizer"] or {}
    if model["type"] == "BPE" and not model.get("byte_fallback"):
        composes = normalizer is not None and normalizer["type"] == "NFC"
        if not model["merges"] and normalizer is None:
            form = (words.get("type"), words.get("use_regex"), words.get("add_prefix_space"))
            if form == ("ByteLevel", False, False):
                return "gpt-2"
        whole = bool(model.get("ignore_merges"))
        name = parting_named(words, composes=composes, whole_words=whole)
        if name is not None and (composes or normalizer is None):
            return name
    raise CannotWrite(
        "the tokenizer parts text in a way that has no name among those known here; convert the folder with llama.cpp's "
        "convert_hf_to_gguf.py, which knows more"
    )


def _vocabulary(tokenizer: Tokenizer, vocab_size: int) -> tuple[list[str], list[int]]:
    """Every id's word and kind."""
    ids = tokenizer.backend.get_vocab(with_added_tokens=True)
    words = sorted(ids, key=lambda word: ids[word])
    if [ids[word] for word in words] != list(range(len(ids))):
        raise CannotWrite(
            "the tokenizer's ids are not 0, 1, 2 and so on: some are missing between them"
        )
    if len(words) > vocab_size:
        raise CannotWrite(f"the tokenizer has {len(words)} ids and the model {vocab_size}")
    added = tokenizer.backend.get_added_tokens_decoder()
    kinds = [
        CONTROL
        if index in tokenizer.special_ids or (index in added and added[index].special)
        else USER
        if index in added
        else NORMAL
        for index in range(len(words))
    ]
    spare = range(len(words), vocab_size)
    return [*words, *(f"[PAD{index}]" for index in spare)], [*kinds, *(UNUSED for _ in spare)]
