"""Folders of others: what is read agrees with `transformers`, or is refused by name."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors

from archipel.model.chat import InvalidChat, render
from archipel.model.config import DecoderConfig, Experts, Family, InvalidConfig
from archipel.model.dialogue import chat_ids
from archipel.model.directory import InvalidModel, read_config, read_model, write_model
from archipel.model.families import TRAITS
from archipel.model.network import random_weights
from archipel.model.tokenizer import (
    InvalidTokenizer,
    Tokenizer,
    UnknownText,
    byte_tokenizer,
    character_tokenizer,
)
from archipel.model.weight_files import rounding_note, stored_kinds
from engine.engine_models import each_family

torch.set_num_threads(1)
TEXTS = (
    "sort qhcafm=",
    " it's 12 of 1234\n\n  apples, can't we? ",
    "Größe\te\u0301 世界 \U0001f9ee",
    "<eos> stays <pad> text <bos>",
    "",
)


def config_of(family: Family, tokenizer: Tokenizer) -> DecoderConfig:
    return DecoderConfig(
        family=family, vocab_size=tokenizer.vocab_size, hidden_size=16, num_layers=1, num_heads=2,
        num_kv_heads=2, head_dim=8, intermediate_size=16, max_position_embeddings=64,
        bos_token_id=1, eos_token_ids=(2, 5), pad_token_id=0,
        experts=Experts(2, 1, 16, normalised=True) if TRAITS[family].has_experts else None,
    )  # fmt: skip


def write_folder(path: Path, family: Family = "llama", tokenizer: Tokenizer | None = None) -> Path:
    tokenizer = tokenizer or byte_tokenizer()
    config = config_of(family, tokenizer)
    write_model(path, random_weights(config, 0), config, tokenizer)
    return path


def change(path: Path, **fields: Any) -> None:
    """Other fields in a JSON file; `...` takes one out."""
    value = json.loads(path.read_text()) if path.exists() else {}
    value |= fields
    path.write_text(json.dumps({key: each for key, each in value.items() if each is not ...}))


def theirs(path: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)


def their_ids(reader: Any, text: str) -> list[int]:
    """Ids with what the reader frames a text by; its control tokens in the text are text."""
    ids: list[int] = reader(text, split_special_tokens=True)["input_ids"]
    return ids


def agree(path: Path, texts: tuple[str, ...] = TEXTS) -> None:
    ours, stock = Tokenizer.from_directory(path), theirs(path)
    for text in texts:
        assert ours.encode_prompt(text) == their_ids(stock, text), text
    ids = ours.encode_prompt(texts[1])
    assert ours.decode(ids) == stock.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("family", each_family("olmoe", "mistral"))
def test_our_own_tokenizers_have_the_same_ids_in_any_reader(family: Family, tmp_path: Path) -> None:
    agree(write_folder(tmp_path / "b", family))
    folder = write_folder(tmp_path / "c", family, character_tokenizer())
    agree(folder, ("sort qhcafm=", " it's 12 of 1234\n, we? ", "<eos>"))
    assert Tokenizer.from_directory(folder).encode_prompt("a")[0] == 1
    with pytest.raises(UnknownText, match="nothing for"):
        Tokenizer.from_directory(folder).encode("tab\t")


def byte_pairs(*, frame: str = "$A", **settings: Any) -> tokenizers.Tokenizer:
    """Byte pairs with a few merges."""
    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2}
    symbols = [
        *sorted(pre_tokenizers.ByteLevel.alphabet()),
        "er",
        "in",
        "Ġa",
        "Ġap",
        "12",
        "▁",
        "▁a",
    ]
    vocabulary |= {symbol: 3 + index for index, symbol in enumerate(symbols)}
    merges = [("e", "r"), ("i", "n"), ("Ġ", "a"), ("Ġa", "p"), ("1", "2"), ("▁", "a")]
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges, **settings))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single=frame, pair=f"{frame} $B", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    names = ["<pad>", "<bos>", "<eos>"]
    backend.add_special_tokens([AddedToken(name, special=True) for name in names])
    return backend


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a family whose readers take tokenizer.json as it is."""
    own = Tokenizer(byte_pairs(), bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")
    return write_folder(tmp_path / "m", "llama", own)


def put(folder: Path, backend: tokenizers.Tokenizer) -> Path:
    (folder / "tokenizer.json").write_text(backend.to_str())
    return folder


@pytest.mark.parametrize("frame", ["$A", "<bos> $A", "<bos> $A <eos>"])
def test_a_text_is_framed_as_the_file_says(folder: Path, frame: str) -> None:
    put(folder, byte_pairs(frame=frame))
    for says in (True, False):
        change(folder / "tokenizer_config.json", add_bos_token=says)
        agree(folder)
    assert (Tokenizer.from_directory(folder).encode_prompt("er")[0] == 1) == ("<bos>" in frame)


def test_a_length_left_in_the_file_cuts_nothing_and_is_not_kept(folder: Path) -> None:
    backend = byte_pairs()
    backend.enable_truncation(8)
    backend.enable_padding(length=32)
    put(folder, backend)
    agree(folder)
    ours = Tokenizer.from_directory(folder)
    assert len(ours.encode("x" * 61)) == 61
    ours.write(folder)
    written = json.loads((folder / "tokenizer.json").read_text())
    assert written["truncation"] is None
    assert written["padding"] is None


@pytest.mark.parametrize("family", each_family("olmoe", "mistral"))
@pytest.mark.parametrize(
    "name",
    [
        "PreTrainedTokenizerFast",
        "LlamaTokenizer",
        "Qwen2TokenizerFast",
        "GPTNeoXTokenizerFast",
        ...,
    ],
)
def test_a_declared_class_changes_ids_as_it_does_elsewhere(
    tmp_path: Path, family: Family, name: Any
) -> None:
    folder = write_folder(
        tmp_path / "m", family, Tokenizer(byte_pairs(), "<bos>", "<eos>", "<pad>")
    )
    change(folder / "tokenizer_config.json", tokenizer_class=name)
    agree(folder)


@pytest.mark.parametrize("legacy", [True, False, ...])
@pytest.mark.parametrize("spaced", [True, False, None, ...])
def test_a_llama_tokenizer_of_sentence_pieces(folder: Path, legacy: Any, spaced: Any) -> None:
    backend = byte_pairs(frame="<bos> $A")
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.pre_tokenizer = None  # type: ignore[assignment]
    backend.decoder = tokenizers.decoders.Metaspace()
    put(folder, backend)
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="LlamaTokenizer", legacy=legacy, add_prefix_space=spaced,
    )  # fmt: skip
    agree(folder, ("apples a in", " a  12", "a<eos>a in"))


def test_classes_that_read_the_file_otherwise_are_refused_by_name(folder: Path) -> None:
    backend = byte_pairs()
    put(folder, backend)
    change(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    agree(folder)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    put(folder, backend)
    with pytest.raises(InvalidTokenizer, match=r"GPT2Tokenizer.*PreTrainedTokenizerFast"):
        Tokenizer.from_directory(folder)
    change(folder / "tokenizer_config.json", tokenizer_class="CodeLlamaTokenizer")
    with pytest.raises(InvalidTokenizer, match="CodeLlamaTokenizer"):
        Tokenizer.from_directory(folder)


def test_ids_that_depend_on_chance_are_refused(folder: Path) -> None:
    put(folder, byte_pairs(dropout=0.3))
    with pytest.raises(InvalidTokenizer, match="dropout"):
        Tokenizer.from_directory(folder)


@pytest.mark.parametrize("flags", [{}, {"lstrip": True}, {"rstrip": True}, {"single_word": True}])
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("special", [True, False])
def test_added_tokens_are_found_with_their_flags(
    folder: Path, flags: dict[str, bool], normalized: bool, special: bool
) -> None:
    backend = byte_pairs(frame="<bos> $A")
    backend.normalizer = normalizers.Lowercase()
    backend.add_tokens([AddedToken("<Tag>", normalized=normalized, special=special, **flags)])
    put(folder, backend)
    agree(folder, ("a <Tag> b", "a<tag>b", "er  <Tag>in <TAG> "))
    stock, ours = theirs(folder), Tokenizer.from_directory(folder)
    assert ours.encode("a <Tag> b") == stock("a <Tag> b", add_special_tokens=False)["input_ids"]


def test_tokens_that_only_the_other_files_name_are_found_too(folder: Path) -> None:
    token = {"content": "<x>", "lstrip": True, "rstrip": False, "single_word": False,
             "normalized": False, "special": False}  # fmt: skip
    put(folder, byte_pairs())
    size = Tokenizer.from_directory(folder).vocab_size
    settings = folder / "tokenizer_config.json"
    change(settings, extra_special_tokens=["<y>"], mask_token="er")
    agree(folder, ("a <x> <y> b", " apples", "c <x>"))
    change(folder / "special_tokens_map.json", eos_token="in", pad_token={"content": "<pad>"})
    change(folder / "added_tokens.json", **{"<x>": size})
    agree(folder, ("a <x> <y> b", " apples", "c <x>"))
    ours, stock = Tokenizer.from_directory(folder), theirs(folder)
    assert ours.eos_id == stock.eos_token_id == stock.convert_tokens_to_ids("in")
    assert ours.encode("a <x> in") == stock("a <x> in", add_special_tokens=False)["input_ids"]
    change(settings, added_tokens_decoder={str(size): token})
    ours, stock = Tokenizer.from_directory(folder), theirs(folder)
    assert ours.eos_id == stock.eos_token_id == 2, "the older files no longer count"
    assert ours.encode("a <x> in") == stock("a <x> in", add_special_tokens=False)["input_ids"]
    change(settings, added_tokens_decoder={str(size + 1): token | {"content": "<eos>"}})
    with pytest.raises(InvalidTokenizer, match="make them one"):
        Tokenizer.from_directory(folder)


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        ([2, 5], {"eos_token_id": [2, 5]}, (2, 5)),
        ([2, 5], None, (2, 5)),
        (2, {"eos_token_id": [7, 5]}, (7, 5)),
        (2, {"eos_token_id": 7}, (7,)),
        (2, {"temperature": 0.5}, (2,)),
        (None, {}, (2,)),
        (..., None, (2,)),
    ],
)
def test_every_end_token_that_the_folder_names_stops(
    folder: Path, config: Any, generation: dict[str, Any] | None, expected: tuple[int, ...]
) -> None:
    change(folder / "config.json", eos_token_id=config)
    (folder / "generation_config.json").unlink()
    if generation is not None:
        change(folder / "generation_config.json", **generation)
    ours = Tokenizer.from_directory(folder)
    assert ours.stop_ids == expected
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    named = model.generation_config.eos_token_id
    if named is not None:
        assert expected == tuple(named if isinstance(named, list) else [named])
    config_again = read_config(folder)
    assert config_again.eos_token_ids in (expected, ())
    write_model(folder.parent / "again", read_model(folder), config_again, ours)
    assert Tokenizer.from_directory(folder.parent / "again").stop_ids == expected


def test_how_a_folder_says_to_sample_is_what_its_export_says(folder: Path) -> None:
    said = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": None}
    change(folder / "generation_config.json", **said, max_length=7, transformers_version="4.51.0")
    again = folder.parent / "again"
    model = read_model(folder)
    write_model(again, model, model.config, Tokenizer.from_directory(folder))
    written = json.loads((again / "generation_config.json").read_text())
    assert {name: written.get(name) for name in said} == said
    assert not written.keys() & {"max_length", "transformers_version", "min_p"}
    theirs = [transformers.GenerationConfig.from_pretrained(path) for path in (folder, again)]
    assert all(getattr(theirs[0], name) == getattr(theirs[1], name) for name in said)


@pytest.mark.parametrize("value", ["0.6", [0.6], {"a": 1}, float("inf")])
def test_malformed_sampling_is_refused(folder: Path, value: Any) -> None:
    change(folder / "generation_config.json", temperature=value)
    with pytest.raises(InvalidModel, match="temperature is"):
        read_config(folder)


@pytest.mark.parametrize("value", ["2", [2, "5"], True, -1, {"a": 1}, list(range(17))])
def test_malformed_end_tokens_are_refused(folder: Path, value: Any) -> None:
    change(folder / "generation_config.json", eos_token_id=value)
    with pytest.raises(InvalidModel, match="eos_token_id"):
        read_config(folder)
    with pytest.raises(InvalidTokenizer, match="eos_token_id"):
        Tokenizer.from_directory(folder)


TEMPLATES = {
    "generation": "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}"
    "[{{ m.role }}]{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}",
    "reasoning": "{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}|{{ m.reasoning }};"
    "{{ m.content }}{% endfor %}",
    "json": "{% for m in messages %}{{ m | tojson(ensure_ascii=true, sort_keys=true) }}"
    "{{ m.content | tojson(indent=2, separators=(',', ':')) }}{% endfor %}",
    "tools": "{% if tools is not none or documents is not none %}TOOLS{% endif %}"
    "{{ tools is defined }}{% if not x is defined %}{% set x = 1 %}{% endif %}{{ x }}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{% if loop.last %}{% continue %}{% endif %}{{ m.content | trim }}{% endfor %}{{ ns.n }}",
    "blocks": "  {%- for m in messages %}\n    {% if m.role == 'user' %}\n  U{{ m['content'] }}\n"
    "{% endif %}\n{% endfor %}\n",
    "unknown": "{{ unk_token }}|{{ sep_token }}|{{ messages[0].nothing }}|{{ eos_token }}",
}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": " be <b>brief</b> "},
    {"role": "user", "content": "Größe & 'co' 世界"},
    {"role": "assistant", "content": "hi", "reasoning": "think"},
    {"role": "assistant", "content": "hi", "thinking": "a", "reasoning_content": "b"},
    {"role": "user", "content": "more"},
]


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_render_and_encode_as_transformers_does(folder: Path, name: str) -> None:
    ours = Tokenizer(
        byte_pairs(),
        "<bos>",
        "<eos>",
        "<pad>",
        TEMPLATES[name],
        other_tokens={"unk_token": "<pad>"},
    )
    ours.write(folder)
    ours, stock = Tokenizer.from_directory(folder), theirs(folder)
    for opened in (True, False):
        text = stock.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=opened)
        assert text == render(
            MESSAGES,
            TEMPLATES[name],
            special_tokens=ours.special_tokens,
            add_generation_prompt=opened,
        )
        encoded = stock.apply_chat_template(MESSAGES, add_generation_prompt=opened)
        assert chat_ids(ours, MESSAGES, add_generation_prompt=opened) == encoded["input_ids"]


def test_the_date_is_the_callers_or_not_to_be_had(folder: Path) -> None:
    asks = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}none{% endif %}"
    now = datetime(2031, 2, 3, tzinfo=UTC)
    assert render(MESSAGES, asks, special_tokens={}) == "none"
    assert render(MESSAGES, asks, special_tokens={}, now=now) == "2031"
    with pytest.raises(InvalidChat, match="asks for the date"):
        render(MESSAGES, "{{ strftime_now('%d') }}", special_tokens={})


@pytest.mark.parametrize("template", ["{{ namespace(_a=1) }}", "{% set n = namespace() %}{% set n._a = 1 %}",
                                      "{{ 'x'.index('y') }}", "{{ [1].index(2) }}"])  # fmt: skip
def test_faults_in_templates_are_one_sentence(template: str) -> None:
    with pytest.raises(InvalidChat, match="chat template"):
        render(MESSAGES, template, special_tokens={})


CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.mark.parametrize(
    "content", ["What does <eos> mean?", "<eos>", "<bos><pad>x<eos><eos>", "\U000f0000<eos>"]
)
@pytest.mark.parametrize(
    "how", ["m.content", "m.content | tojson", "m.content | tojson(ensure_ascii=true)"]
)
def test_no_message_makes_a_control_token(content: str, how: str) -> None:
    template = CHAT.replace("m.content", how)
    tokenizer = Tokenizer(byte_pairs(), "<bos>", "<eos>", "<pad>", template)
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "a"}]
    ids = chat_ids(tokenizer, messages)
    assert [each for each in ids if each < 3] == [1, 2, 2], "the template's own, and no others"
    kept = [each for each in ids if each > 2]
    harmless = content.translate({ord("<"): "(", ord(">"): ")"})
    like = chat_ids(tokenizer, [messages[0] | {"content": harmless}, messages[1]])
    text = tokenizer.decode(kept)
    assert text.translate({ord("<"): "(", ord(">"): ")"}) == tokenizer.decode(like)


def test_words_that_are_control_tokens_are_refused_rather_than_obeyed(folder: Path) -> None:
    backend = byte_pairs(ignore_merges=True)
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = Tokenizer(backend, "<bos>", "<eos>", "<pad>")
    assert tokenizer.encode("in", parse_special=False)
    with pytest.raises(UnknownText, match="<eos>"):
        tokenizer.encode("in <eos>", parse_special=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("is_causal", False),
        ("is_causal", None),
        ("layer_types", ["sliding_attention"]),
        ("compression_config", {"bits": 4}),
        ("quantization_config", {}),
        ("partial_rotary_factor", 0.5),
        ("hidden_act", "relu"),
        ("use_bidirectional_attention", True),
        ("rope_scaling", {"rope_type": "linear", "factor": 2.0}),
        (
            "rope_parameters",
            {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
        ),
        ("rope_parameters", {"full_attention": {"rope_type": "default", "rope_theta": 1e6}}),
        ("hidden_size", 15),
    ],
)
def test_what_would_make_another_network_is_refused_by_name(key: str, value: Any) -> None:
    fields = config_of("llama", byte_tokenizer()).to_hf()
    DecoderConfig.from_hf(fields)
    with pytest.raises(InvalidConfig, match="|".join((key, "rope", "partial_rotary_factor"))):
        DecoderConfig.from_hf(fields | {key: value})


ROPES: tuple[dict[str, Any], ...] = (
    {"rope_type": "default", "rope_theta": 5e5},
    {"rope_theta": 3e4},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 32, "rope_theta": 2e4},
    {"type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    {},
)  # fmt: skip


@pytest.mark.parametrize("old", ROPES)
@pytest.mark.parametrize("new", ROPES)
@pytest.mark.parametrize(
    "outside", [{}, {"original_max_position_embeddings": 16}, {"rope_theta": 7e3}]
)
def test_rope_settings_in_two_places_mean_what_they_mean_elsewhere(
    old: dict[str, Any], new: dict[str, Any], outside: dict[str, Any]
) -> None:
    fields = config_of("llama", byte_tokenizer()).to_hf()
    for key in ("rope_theta", "rope_scaling", "rope_parameters"):
        del fields[key]
    fields |= {"rope_scaling": dict(old) or None, "rope_parameters": dict(new) or None} | outside
    ours = DecoderConfig.from_hf(json.loads(json.dumps(fields)))
    stock = transformers.LlamaConfig(**json.loads(json.dumps(fields))).rope_parameters
    assert ours.rope_theta == stock["rope_theta"]
    assert (ours.rope_scaling is not None) == (stock["rope_type"] == "llama3")
    if ours.rope_scaling is not None:
        for key in ("factor", "low_freq_factor", "original_max_position_embeddings"):
            assert getattr(ours.rope_scaling, key) == stock[key]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["pytorch_model.bin"], "pytorch_model.bin, a pickle"),
        (["adapter_model.safetensors", "adapter_config.json"], "an adapter only"),
        (["consolidated.safetensors"], "it holds consolidated.safetensors"),
        (["model-q4.gguf"], "model-q4.gguf"),
        ([], "it holds config.json"),
    ],
)
def test_a_folder_without_our_weights_says_what_it_holds(
    folder: Path, files: list[str], words: str
) -> None:
    (folder / "model.safetensors").unlink()
    for name in files:
        (folder / name).write_bytes(b"x")
    with pytest.raises(InvalidModel, match=words):
        read_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InvalidModel, match=words.replace("holds config.json", "holds generation")):
        read_config(folder)


def test_missing_shards_are_counted_and_a_single_file_comes_first(tmp_path: Path) -> None:
    config = config_of("llama", byte_tokenizer())
    model = random_weights(config, 3)
    write_model(tmp_path / "m", model, config, shard_bytes=2000, dtype=torch.float32)
    shards = sorted((tmp_path / "m").glob("model-*.safetensors"))
    shards[1].unlink()
    with pytest.raises(InvalidModel, match=f"{len(shards)} files, of which 1 are missing"):
        read_model(tmp_path / "m")
    write_model(tmp_path / "one", random_weights(config, 4), config, dtype=torch.float16)
    (tmp_path / "one" / "model.safetensors").rename(tmp_path / "m" / "model.safetensors")
    assert stored_kinds(tmp_path / "m") == {"float16"}
    assert "holds float16" in str(rounding_note(tmp_path / "m"))
    assert stored_kinds(write_folder(tmp_path / "b")) == {"bfloat16"}
    assert rounding_note(tmp_path / "b") is None
    whole = read_model(tmp_path / "m").state_dict()
    stock = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", local_files_only=True)
    assert torch.equal(whole["model.norm.weight"], stock.state_dict()["model.norm.weight"].float())
    embedding = stock.state_dict()["model.embed_tokens.weight"].float()
    assert torch.equal(whole["model.embed_tokens.weight"], embedding)


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"x" * 64,
                                   lambda data: b"", lambda data: data[:8] + b"[" + data[9:]])  # fmt: skip
def test_weights_that_are_not_whole_are_found_without_reading_them(
    folder: Path, spoil: Any
) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(InvalidModel, match=r"model\.safetensors"):
        stored_kinds(folder)


def test_text_that_a_vocabulary_lacks_is_refused_and_added_tokens_are_not_lacking() -> None:
    tokenizer = character_tokenizer()
    tokenizer.backend.add_tokens(
        [AddedToken("[TAG]", special=False), AddedToken("<S>", special=True)]
    )
    assert tokenizer.encode("a[TAG]b<S>") == [3, 64, 4, 65]
    assert tokenizer.encode_prompt("a[TAG]b") == [1, 3, 64, 4]
    for text in ("a[TAG", "TAG", "b\t"):
        with pytest.raises(UnknownText, match="nothing for"):
            tokenizer.encode(text)
    with pytest.raises(UnknownText, match="nothing for"):
        tokenizer.encode_prompt("a<S>")
