"""A GGUF file becomes a directory with the same weights, ids, ends and template, or is refused by name."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer

import gguf_files
from archipel.cli.archipel import command
from archipel.model import gguf_header
from archipel.model.config import DecoderConfig, Experts, Family, Llama3Scaling
from archipel.model.directory import read_config, read_model
from archipel.model.gguf import NAMES, write_gguf
from archipel.model.gguf_header import PACKINGS, BadGguf, Described, read_header
from archipel.model.gguf_import import import_gguf, read_gguf
from archipel.model.gguf_weights import numbers_of
from archipel.model.network import Decoder, random_weights
from archipel.model.rotary import stretching
from archipel.model.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer
from gguf_files import BEGIN, END, TOOL, WORDS, file_of, small_facts, small_tensors

TEXTS = [
    "the 12345 things in'side  the\n\nbox\t  \n end ", "½ ² é日本 😀 12 123 1234", "'S 's don't",
    " a", "", "   ", "<|im_end|> and <|tool|>", "\r\n\r\n 1\u00a02",
]  # fmt: skip


def _quiet(done: int, total: int) -> None:
    pass


def _imported(path: Path, data: bytes, dtype: torch.dtype = torch.float32) -> Path:
    path.mkdir(exist_ok=True)
    (path / "m.gguf").write_bytes(data)
    import_gguf(path / "m.gguf", path / "out", dtype, _quiet)
    return path / "out"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", NAMES)
def test_what_was_written_as_gguf_comes_back_bit_for_bit(
    tmp_path: Path, family: Family, tied: bool
) -> None:
    tokenizer = byte_tokenizer() if tied else character_tokenizer()
    config = DecoderConfig(
        family, tokenizer.vocab_size, 24, 2, 4, 2, 6, 32, 48, rope_theta=5000.0, bos_token_id=1,
        eos_token_ids=(2,), pad_token_id=0, tie_embeddings=tied and family != "olmo2",
        experts=Experts(3, 2, 10, normalised=True) if family == "qwen3_moe" else None,
    )  # fmt: skip
    model = random_weights(config, 3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    write_gguf(tmp_path / "m.gguf", model, tokenizer)
    import_gguf(tmp_path / "m.gguf", tmp_path / "out", torch.float32, _quiet)
    assert read_config(tmp_path / "out") == config
    state = read_model(tmp_path / "out").state_dict()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    again = Tokenizer.from_directory(tmp_path / "out")
    assert again.encode_prompt("sort qhc=12\n") == tokenizer.encode_prompt("sort qhc=12\n")
    assert again.stop_ids == tokenizer.stop_ids


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_ids_of_the_directory_are_those_that_transformers_makes_of_it(
    tmp_path: Path, pre: str
) -> None:
    facts = small_facts() | {"tokenizer.ggml.pre": pre}
    out = _imported(tmp_path, file_of(facts, small_tensors()))
    ours, theirs = Tokenizer.from_directory(out), AutoTokenizer.from_pretrained(out)
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False), text
    assert theirs.encode("a")[:1] == ([BEGIN] if pre == "llama-bpe" else theirs.encode("a")[:1])
    assert ours.encode_prompt("a")[:1] == theirs.encode("a")[:1]
    messages = [{"role": "user", "content": "the 12"}]
    told = theirs.apply_chat_template(messages, tokenize=False)
    assert told == "the 12<|im_end|>"


def test_pre_tokenizers_part_as_their_models_were_trained() -> None:
    def parted(pre: str, text: str) -> list[str]:
        tokenizer = read_gguf(
            memoryview(file_of(small_facts() | {"tokenizer.ggml.pre": pre}, small_tensors()))
        )[2]
        part = tokenizer.backend.pre_tokenizer
        assert part is not None
        return [piece for piece, _ in part.pre_tokenize_str(text)]

    assert parted("gpt-2", "a 12345 B's") == ["a", "Ġ12345", "ĠB", "'s"]
    assert parted("smollm", "a 12345") == ["a", "Ġ", "1", "2", "3", "4", "5"]
    assert parted("llama-bpe", "a 12345") == ["a", "Ġ", "123", "45"]
    assert parted("llama-bpe", "I'LL\n\nx") == ["I", "'LL", "ĊĊ", "x"]
    assert parted("qwen2", "a 12!\n") == ["a", "Ġ", "1", "2", "!Ċ"]


def test_special_tokens_ends_and_added_words_are_the_files(tmp_path: Path) -> None:
    out = _imported(tmp_path, file_of(small_facts(), small_tensors()))
    tokenizer = Tokenizer.from_directory(out)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.stop_ids) == (BEGIN, END, (END,))
    assert set(tokenizer.special_ids) == {BEGIN, END}, "a word of the user's is text"
    assert tokenizer.encode("<|tool|>", parse_special=False) == [TOOL]
    assert END not in tokenizer.encode("<|im_end|>", parse_special=False)
    assert tokenizer.encode_prompt("12")[:1] == tokenizer.encode("1")


def test_control_tokens_that_end_turns_end_completions_too() -> None:
    words = [*WORDS, "<|endoftext|>", "<|eot_id|>", "[PAD]"]
    facts = small_facts() | {
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.token_type": [*small_facts()["tokenizer.ggml.token_type"], 3, 1, 5],
        "tokenizer.ggml.eot_token_id": TOOL,
    }
    tensors = small_tensors()
    size = len(words) + 2  # embeddings may be more than words
    tensors["token_embd.weight"] = ((size, 32), 0, bytes(size * 128))
    _, config, tokenizer = read_gguf(memoryview(file_of(facts, tensors)))
    assert config.eos_token_ids == (END, TOOL, len(WORDS))
    assert tokenizer.backend.token_to_id("[PAD]") is None
    assert config.vocab_size == size


def test_words_of_the_vocabulary_are_taken_whole_where_the_model_was_trained_so() -> None:
    facts = small_facts() | {"tokenizer.ggml.tokens": [*WORDS[:-3], "zq", *WORDS[-3:]]}
    facts["tokenizer.ggml.token_type"] = [1] * (len(WORDS) - 2) + [3, 3, 4]
    tensors = small_tensors()
    tensors["token_embd.weight"] = ((len(WORDS) + 1, 32), 0, bytes((len(WORDS) + 1) * 128))
    ids = {}
    for pre in ("llama-bpe", "smollm"):
        told = facts | {"tokenizer.ggml.pre": pre}
        ids[pre] = read_gguf(memoryview(file_of(told, tensors)))[2].encode("zq")
    assert ids["llama-bpe"] == [len(WORDS) - 3]
    assert len(ids["smollm"]) == 2


def _scalar(kind: str, block: bytes) -> list[float]:
    """A block's numbers by the layouts of ggml-common.h, one at a time."""
    half = [struct.unpack("<e", block[at : at + 2])[0] for at in (0, 2)]
    if kind == "Q8_0":
        return [half[0] * value for value in struct.unpack("<32b", block[2:])]
    nibbles = block[2:] if kind == "Q4_0" else block[4:]
    low, high = [b & 15 for b in nibbles], [b >> 4 for b in nibbles]
    if kind == "Q4_0":
        return [half[0] * (value - 8) for value in low + high]
    return [half[0] * value + half[1] for value in low + high]


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_quantised_numbers_are_those_of_the_layout(kind: str) -> None:
    pytest.importorskip("gguf", reason="needs the gguf library, an extra")
    (packing,) = [each for each in PACKINGS.values() if each.name == kind]
    draw = np.random.default_rng(4)
    blocks = []
    for _ in range(4):
        scales = struct.pack("<2e", *draw.uniform(0.01, 2, 2))[: 4 if kind == "Q4_1" else 2]
        blocks.append(scales + draw.bytes(packing.num_bytes - len(scales)))
    data = b"".join(blocks)
    found = numbers_of(memoryview(data), Described("a", (2, 64), packing, 0))
    wanted = torch.tensor([_scalar(kind, block) for block in blocks]).reshape(2, 64)
    assert torch.allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K", "Q5_0", "Q5_1"])
def test_other_kinds_are_what_the_library_makes_of_them(kind: str) -> None:
    gguf = pytest.importorskip("gguf", reason="needs the gguf library, an extra")
    (packing,) = [each for each in PACKINGS.values() if each.name == kind]
    number = gguf.GGMLQuantizationType[kind]
    assert (packing.numbers, packing.num_bytes) == gguf.GGML_QUANT_SIZES[number]
    assert PACKINGS[int(number)] is packing
    data = bytes(range(1, 60)) * (4 * packing.num_bytes // 59 + 1)
    found = numbers_of(memoryview(data), Described("a", (2, 2 * packing.numbers), packing, 3))
    raw = np.frombuffer(data, np.uint8, 4 * packing.num_bytes, 3).reshape(2, -1)
    assert np.array_equal(found.numpy(), gguf.quants.dequantize(raw, number), equal_nan=True)


def test_half_floats_are_read_without_any_library() -> None:
    values = torch.tensor([[1.5, -2.25], [0.1, 3e-5]])
    half, brain = values.half().numpy().tobytes(), values.bfloat16().view(torch.int16).numpy()
    found = numbers_of(memoryview(half), Described("a", (2, 2), PACKINGS[1], 0))
    assert torch.equal(found, values.half().float())
    found = numbers_of(memoryview(brain.tobytes()), Described("a", (2, 2), PACKINGS[30], 0))
    assert torch.equal(found, values.bfloat16())


def test_stretched_positions_are_recognised_by_their_divisors() -> None:
    facts = small_facts() | {"llama.attention.key_length": 64, "llama.rope.freq_base": 500000.0}
    config = DecoderConfig("llama", 300, 32, 1, 4, 2, 64, 64, 64, rope_theta=500000.0)
    scaling = Llama3Scaling(32.0, 1.0, 4.0, 8192)
    factors = stretching(config, scaling).numpy()
    assert factors[0] == 1
    assert factors[-1] == pytest.approx(32)

    def read(values: np.ndarray) -> DecoderConfig:
        tensors = small_tensors() | {"rope_freqs.weight": ((32,), 0, values.tobytes())}
        return read_gguf(memoryview(file_of(facts, tensors)))[1]

    assert read(factors).rope_scaling == scaling
    with pytest.raises(BadGguf, match=r"rope_freqs\.weight"):
        read(factors * np.float32(1.01))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": ({"general.architecture": "mamba"}, "'mamba'"),
    "experts": ({"llama.expert_count": 8}, r"llama\.expert_count is 8"),
    "window": ({"llama.attention.sliding_window": 32}, "sliding_window is 32"),
    "rope": ({"llama.rope.scaling.type": "yarn"}, r"rope\.scaling\.type is 'yarn'"),
    "partial rope": ({"llama.rope.dimension_count": 4}, r"rope\.dimension_count is 4"),
    "unknown key": ({"llama.logit_scale": 2.0}, r"llama\.logit_scale"),
    "heads by layer": ({"llama.attention.head_count_kv": [2]}, "head_count_kv"),
    "no epsilon": ({"llama.attention.layer_norm_rms_epsilon": "x"}, "epsilon"),
    "sentencepiece": ({"tokenizer.ggml.model": "llama"}, "tokenizer 'llama'"),
    "words": ({"tokenizer.ggml.pre": "tekken"}, "pre-tokenizer 'tekken'"),
    "no words": ({"tokenizer.ggml.pre": "default"}, "known are gpt-2"),
    "end": ({"tokenizer.ggml.add_eos_token": True}, "add_eos_token is True"),
    "unknown setting": ({"tokenizer.ggml.normaliser": "x"}, r"ggml\.normaliser"),
    "begin": ({"tokenizer.ggml.add_bos_token": 1}, "add_bos_token is 1"),
    "id": ({"tokenizer.ggml.eos_token_id": 5000}, "eos_token_id is 5000"),
    "kinds": ({"tokenizer.ggml.token_type": [1]}, "token_type"),
    "twice": ({"tokenizer.ggml.tokens": ["a"] * len(WORDS)}, "two ids"),
    "merge": ({"tokenizer.ggml.merges": ["th"]}, "merge 'th'"),
    "merge of nothing": ({"tokenizer.ggml.merges": ["t zz"]}, "do not fit together"),
    "vocabulary": ({"llama.vocab_size": 4}, "vocab_size is 4"),
    "template": ({"tokenizer.chat_template": 3}, "chat_template"),
    "alignment": ({"general.alignment": 7}, r"general\.alignment is 7"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_is_refused_by_name(tmp_path: Path, case: str) -> None:
    changes, named = REFUSED[case]
    with pytest.raises(BadGguf, match=named):
        _imported(tmp_path / "a", file_of(small_facts() | changes, small_tensors()))
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["m.gguf"]


TORN: dict[str, Callable[[], bytes]] = {
    "more tensors than there are": lambda: file_of(small_facts(), small_tensors(), counts=(12, 18)),
    "more keys": lambda: file_of(small_facts(), small_tensors(), counts=(11, 4000)),
    "a number beyond counting": lambda: file_of({}, {}, counts=(2**63, 2**64 - 1)),
    "a key of endless length": lambda: b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63) + b"a",
    "a list of endless length": lambda: (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + gguf_files.text("a") + struct.pack("<IIQ", 9, 8, 2**62)
    ),
    "lists in lists": lambda: (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + gguf_files.text("a") + struct.pack("<IIQ", 9, 9, 1) * 9
    ),
    "one tensor in another's place": lambda: file_of(
        small_facts(), small_tensors(), offsets={"blk.0.attn_q.weight": 0}
    ),
    "a tensor behind the end": lambda: file_of(
        small_facts(), small_tensors(), offsets={"output_norm.weight": 2**40}
    ),
    "an offset that is none": lambda: file_of(
        small_facts(), small_tensors(), offsets={"output_norm.weight": 2**63 + 1}
    ),
    "a shape beyond memory": lambda: file_of(
        small_facts(), small_tensors() | {"x": ((2**60, 2**60), 0, b"")}
    ),
    "no dimension": lambda: file_of(small_facts(), small_tensors() | {"x": ((), 0, b"")}),
    "a kind nobody knows": lambda: file_of(small_facts(), small_tensors() | {"x": ((32,), 99, b"")}),
    "another version": lambda: b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
    "another order of bytes": lambda: b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "another file": lambda: b"PK\x03\x04" + bytes(64),
    "nothing": lambda: b"",
}  # fmt: skip


@pytest.mark.parametrize("case", TORN)
def test_a_hostile_file_is_refused_before_it_costs_anything(tmp_path: Path, case: str) -> None:
    with pytest.raises(BadGguf):
        _imported(tmp_path, TORN[case]())


def test_lists_are_bounded_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte in the file may become thirty in memory."""
    data = file_of(small_facts(), small_tensors())
    monkeypatch.setattr(gguf_header, "MAX_ELEMENTS", 2 * len(WORDS))
    with pytest.raises(BadGguf, match="elements"):
        read_header(memoryview(data))


def test_a_file_that_ends_anywhere_is_refused() -> None:
    data = file_of(small_facts(), small_tensors())
    for end in [*range(0, len(data) - 128, len(data) // 97)]:
        with pytest.raises(BadGguf):
            read_header(memoryview(data[:end]))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"blk.1.attn_q.weight": ((32, 32), 0, bytes(4096))}, r"blk\.1\.attn_q\.weight"),
        ({"blk.0.attn_q.bias": ((32,), 0, bytes(128))}, r"attn_q\.bias"),
        ({"blk.0.ffn_norm.weight": ((31,), 0, bytes(124))}, "shape"),
        ({"output_norm.weight": ((32,), 0, np.full(32, np.nan, "<f4").tobytes())}, "finite"),
        (None, "missing"),
    ],
)
def test_tensors_are_exactly_those_of_the_network(
    tmp_path: Path, change: dict[str, Any] | None, named: str
) -> None:
    tensors = small_tensors() | (change or {})
    if change is None:
        del tensors["blk.0.ffn_up.weight"]
    with pytest.raises(BadGguf, match=named):
        _imported(tmp_path, file_of(small_facts(), tensors))
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_read_and_takes_nothing_s_place(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(file_of(small_facts(), small_tensors()))
    words = ["model", "import", str(tmp_path / "m.gguf"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(command, [*words, "--dtype", "bfloat16", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["licence"], said["family"], said["packings"]) == (
        "apache-2.0",
        "llama",
        {"F32": 11},
    )
    weights = Decoder(read_config(tmp_path / "out")).state_dict()
    assert said["parameters"] == sum(each.numel() for each in weights.values())
    again = CliRunner().invoke(command, words)
    assert again.exit_code != 0
    assert "not empty" in str(again.exception or again.output)


def test_a_tokenizer_of_the_file_stays_one_library_object() -> None:
    """What is read is what the library writes and reads again: nothing of it is lost in the directory."""
    _, _, tokenizer = read_gguf(memoryview(file_of(small_facts(), small_tensors())))
    again = Backend.from_str(tokenizer.backend.to_str())
    assert all(tokenizer.backend.encode(text).ids == again.encode(text).ids for text in TEXTS)
