"""A GGUF file says what the model is: read back by a reader of its own, after the specification."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from archipel.cli.archipel import command
from archipel.model.config import DecoderConfig, Family, Llama3Scaling
from archipel.model.directory import write_model
from archipel.model.gguf import write_gguf
from archipel.model.gguf_header import CannotWrite
from archipel.model.network import Decoder, random_weights
from archipel.model.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer

FAMILIES: tuple[Family, ...] = ("llama", "qwen2", "qwen3", "olmo2")
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 6
FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Reader:
    """Key-value pairs and tensors of one file, version 3."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        assert self._take(4) == b"GGUF"
        version, num_tensors, num_facts = self._fields("IQQ")
        assert version == 3
        self.facts = {self._text(): self._value(*self._fields("I")) for _ in range(num_facts)}
        described = []
        for _ in range(num_tensors):
            name, (rank,) = self._text(), self._fields("I")
            described.append((name, self._fields(f"{rank}Q"), self._fields("IQ")))
        start = self._at + -self._at % 32
        self.tensors = {}
        for name, shape, (kind, offset) in described:
            assert (kind, offset % 32) == (0, 0)
            count = int(np.prod(shape))
            values = np.frombuffer(data, "<f4", count, start + offset)
            self.tensors[name] = torch.from_numpy(values.reshape(shape[::-1]).copy())
        assert len(data) % 32 == 0

    def _take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def _fields(self, form: str) -> tuple[Any, ...]:
        return struct.unpack("<" + form, self._take(struct.calcsize("<" + form)))

    def _text(self) -> str:
        return self._take(*self._fields("Q")).decode()

    def _value(self, kind: int) -> Any:
        if kind == 8:
            return self._text()
        if kind == 9:
            of, count = self._fields("IQ")
            return [self._value(of) for _ in range(count)]
        return self._fields(FIXED[kind])[0]


def _model(family: Family, tokenizer: Tokenizer, **changes: Any) -> Decoder:
    config = DecoderConfig(
        family=family, vocab_size=tokenizer.vocab_size, hidden_size=24, num_layers=2, num_heads=HEADS,
        num_kv_heads=KV_HEADS, head_dim=HEAD_DIM, intermediate_size=32, max_position_embeddings=48,
        rope_theta=5000.0, bos_token_id=1, eos_token_ids=(2,), pad_token_id=0, **changes,
    )  # fmt: skip
    model = random_weights(config, 3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def _read(path: Path, model: Decoder, tokenizer: Tokenizer) -> Reader:
    write_gguf(path / "m.gguf", model, tokenizer)
    return Reader((path / "m.gguf").read_bytes())


def _interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Row by row: what is at i and i + half of a head comes to 2i and 2i + 1."""
    rows = []
    for head in range(heads):
        for pair in range(HEAD_DIM // 2):
            rows += [head * HEAD_DIM + pair, head * HEAD_DIM + pair + HEAD_DIM // 2]
    return weight[rows]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_is_in_the_file_bit_for_bit(
    tmp_path: Path, family: Family, tied: bool
) -> None:
    model = _model(family, character_tokenizer(), tie_embeddings=tied)
    state = model.state_dict()
    tensors = _read(tmp_path, model, character_tokenizer()).tensors
    assert torch.equal(tensors.pop("token_embd.weight"), state["model.embed_tokens.weight"])
    assert torch.equal(tensors.pop("output_norm.weight"), state["model.norm.weight"])
    if not tied or family == "olmo2":
        head = state["model.embed_tokens.weight" if tied else "lm_head.weight"]
        assert torch.equal(tensors.pop("output.weight"), head)
    assert len(tensors) == sum(name.startswith("model.layers.") for name in state)
    for layer in range(2):
        wanted = {
            f"blk.{layer}.attn_q.weight": ("self_attn.q_proj.weight", HEADS),
            f"blk.{layer}.attn_k.weight": ("self_attn.k_proj.weight", KV_HEADS),
            f"blk.{layer}.attn_v.weight": ("self_attn.v_proj.weight", 0),
            f"blk.{layer}.attn_output.weight": ("self_attn.o_proj.weight", 0),
            f"blk.{layer}.ffn_down.weight": ("mlp.down_proj.weight", 0),
        }
        for name, (part, heads) in wanted.items():
            weight = state[f"model.layers.{layer}.{part}"]
            if heads and family == "llama":
                weight = _interleaved(weight, heads)
            assert torch.equal(tensors[name], weight), name


def test_what_the_file_says_of_the_network_is_its_configuration(tmp_path: Path) -> None:
    facts = _read(tmp_path, _model("qwen3", byte_tokenizer()), byte_tokenizer()).facts
    assert facts["general.architecture"] == "qwen3"
    said = {key.removeprefix("qwen3."): value for key, value in facts.items()}
    assert (said["block_count"], said["context_length"], said["embedding_length"]) == (2, 48, 24)
    assert (said["attention.head_count"], said["attention.head_count_kv"]) == (HEADS, KV_HEADS)
    assert (said["attention.key_length"], said["rope.dimension_count"]) == (HEAD_DIM, HEAD_DIM)
    assert said["rope.freq_base"] == 5000.0
    assert said["attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)


@pytest.mark.parametrize("tokenizer", [byte_tokenizer(), character_tokenizer()])
def test_a_text_has_the_same_ids_by_the_words_of_the_file(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    facts = _read(tmp_path, _model("llama", tokenizer), tokenizer).facts
    words = facts["tokenizer.ggml.tokens"]
    assert facts["tokenizer.ggml.model"] == "gpt2"
    assert facts["tokenizer.ggml.merges"] == []
    assert facts["tokenizer.ggml.token_type"] == [3, 3, 3] + [1] * (len(words) - 3)
    ends = [facts[f"tokenizer.ggml.{name}_token_id"] for name in ("padding", "bos", "eos")]
    assert ends == [0, 1, 2]
    assert facts["tokenizer.ggml.add_bos_token"]
    text = "sort qhc=12\n"
    symbols = pre_tokenizers.ByteLevel(False, use_regex=False).pre_tokenize_str(text)[0][0]
    assert [1, *(words.index(each) for each in symbols)] == tokenizer.encode_prompt(text)


def test_what_the_file_cannot_say_is_refused_by_name(tmp_path: Path) -> None:
    backend = Backend(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    tokenizer = Tokenizer(backend)
    with pytest.raises(CannotWrite, match=r"convert_hf_to_gguf\.py"):
        write_gguf(tmp_path / "m", _model("llama", tokenizer), tokenizer)
    told = json.loads(byte_tokenizer().backend.to_str())
    told["model"]["vocab"] = {
        word: index if index < 100 else index + 1 for word, index in told["model"]["vocab"].items()
    }
    torn = Tokenizer(Backend.from_str(json.dumps(told)))
    with pytest.raises(CannotWrite, match="missing between"):
        write_gguf(tmp_path / "m", _model("llama", torn), torn)
    scaling = Llama3Scaling(8.0, 1.0, 4.0, 16)
    scaled = _model("llama", byte_tokenizer(), rope_scaling=scaling)
    with pytest.raises(CannotWrite, match="rope_scaling"):
        write_gguf(tmp_path / "m", scaled, byte_tokenizer())
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_folder_as_a_file_and_takes_nothing_s_place(tmp_path: Path) -> None:
    tokenizer = character_tokenizer()
    model = _model("llama", tokenizer)
    write_model(tmp_path / "folder", model, model.config, tokenizer)
    words = ["gguf", str(tmp_path / "folder"), str(tmp_path / "m.gguf")]
    done = CliRunner().invoke(command, words)
    assert (done.exit_code, "float32" in done.output) == (0, True), done.output
    tensors = Reader((tmp_path / "m.gguf").read_bytes()).tensors
    norm = model.state_dict()["model.norm.weight"].bfloat16().float()
    assert torch.equal(tensors["output_norm.weight"], norm)
    again = CliRunner().invoke(command, words)
    assert again.exit_code != 0
    assert "already there" in str(again.exception or again.output)
    assert json.loads((tmp_path / "folder" / "config.json").read_text())["model_type"] == "llama"
