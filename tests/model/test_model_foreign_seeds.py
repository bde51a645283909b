"""Tokenizer folders drawn at random: the ids are those of `transformers`, or the folder is refused."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from archipel.model.dialogue import chat_ids
from archipel.model.tokenizer import InvalidTokenizer, Tokenizer, UnknownText

SPECIALS = ["<pad>", "<bos>", "<eos>", "<unk>"]
PIECES = [*"abcd12 <>|_/Ġ▁é世\n", "<eos>", "<x>", "abc", "<bos> ", " <Y>", "<new>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<x>[assistant]{% endif %}"
)
CLASSES = ["PreTrainedTokenizerFast", "TokenizersBackend", "LlamaTokenizer", "LlamaTokenizerFast",
           "Qwen2Tokenizer", "GPT2Tokenizer", None]  # fmt: skip
PARTERS: list[Any] = [
    pre_tokenizers.ByteLevel(add_prefix_space=False),
    pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
    pre_tokenizers.Metaspace(),
    pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
    pre_tokenizers.Whitespace(),
]
NORMALIZERS: list[Any] = [
    None,
    normalizers.NFC(),
    normalizers.Lowercase(),
    normalizers.Prepend("▁"),
]
FRAMES = ["$A", "<bos> $A", "<bos> $A <eos>"]


def some_backend(rng: random.Random) -> tokenizers.Tokenizer:
    symbols = [*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet()), "▁"]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    merges = []
    for _ in range(20):
        pair = rng.choice("abcĠ▁1"), rng.choice("abcĠ▁12")
        if "".join(pair) not in vocabulary:
            merges.append(pair)
            vocabulary["".join(pair)] = len(vocabulary)
    unknown = rng.choice([None, "<unk>"])
    kinds: list[Any] = [
        models.BPE(vocabulary, merges, unk_token=unknown, byte_fallback=rng.random() < 0.2),
        models.WordLevel(vocabulary, unk_token="<unk>"),
        models.Unigram(
            [(symbol, -float(index % 7)) for symbol, index in vocabulary.items()], unk_id=3
        ),
    ]
    backend = tokenizers.Tokenizer(rng.choices(kinds, [4, 1, 1])[0])
    backend.normalizer, backend.pre_tokenizer = rng.choice(NORMALIZERS), rng.choice(PARTERS)
    backend.decoder = rng.choice([decoders.ByteLevel(), decoders.Metaspace(), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing(
        single=rng.choice(FRAMES), special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    backend.add_special_tokens(rng.sample(SPECIALS, rng.choice([2, 3, 4])))
    for content in rng.sample(["<x>", "<Y>", "abc"], rng.choice([0, 1, 2])):
        flags = {flag: rng.random() < 0.3 for flag in ("lstrip", "rstrip", "normalized", "special")}
        backend.add_tokens([AddedToken(content, **flags)])
    if rng.random() < 0.3:
        backend.enable_truncation(4)
    return backend


def some_settings(rng: random.Random, backend: tokenizers.Tokenizer) -> dict[str, Any]:
    eos = {"__type": "AddedToken", "content": "<eos>", "lstrip": False, "rstrip": rng.random() < 0.5,
           "normalized": False, "single_word": False}  # fmt: skip
    settings: dict[str, Any] = {"bos_token": "<bos>", "eos_token": rng.choice(["<eos>", eos])}
    choices = {
        "tokenizer_class": CLASSES,
        "add_bos_token": [True, False],
        "add_prefix_space": [True, False, None],
        "legacy": [True, False],
        "extra_special_tokens": [["<x>", "<new>"], ["ab"]],
        "added_tokens_decoder": [
            {
                str(index): {"content": token.content, "lstrip": rng.random() < 0.3,
                             "rstrip": token.rstrip, "single_word": token.single_word,
                             "normalized": token.normalized, "special": token.special}
                for index, token in backend.get_added_tokens_decoder().items()
            }
        ],
    }  # fmt: skip
    for key, values in choices.items():
        if key == "tokenizer_class" or rng.random() < 0.4:
            settings[key] = rng.choice(values)
    return {key: value for key, value in settings.items() if key != "tokenizer_class" or value}


def same_ids(folder: Path, ours: Tokenizer, rng: random.Random) -> None:
    stock = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for _ in range(4):
        text = "".join(rng.choices(PIECES, k=rng.randrange(12)))
        try:
            prompt, parsed = ours.encode_prompt(text), ours.encode(text)
            plain = text
            for token in ours.special_ids.values():
                plain = plain.replace(token.content, "q")
            asked = [{"role": "user", "content": plain}]
            said = chat_ids(ours, asked)
        except UnknownText:
            continue
        assert prompt == stock(text, split_special_tokens=True)["input_ids"], text
        assert parsed == stock(text, add_special_tokens=False)["input_ids"], text
        rendered = stock.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
        assert said == rendered, plain
        assert ours.decode(said) == stock.decode(said, skip_special_tokens=True)


@pytest.mark.parametrize("seed", range(30))
def test_a_folder_has_the_ids_that_transformers_gives_it(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    backend = some_backend(rng)
    folder, again = tmp_path / "m", tmp_path / "again"
    for each in (folder, again):
        each.mkdir()
        family = random.Random(seed).choice(["llama", "qwen2", "qwen3", "olmo2"])
        (each / "config.json").write_text(json.dumps({"model_type": family, "vocab_size": 500}))
    (folder / "tokenizer.json").write_text(backend.to_str())
    (folder / "tokenizer_config.json").write_text(json.dumps(some_settings(rng, backend)))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    try:
        ours = Tokenizer.from_directory(folder)
    except InvalidTokenizer:
        return
    same_ids(folder, ours, rng)
    ours.write(again)
    same_ids(again, ours, rng)
