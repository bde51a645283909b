"""Directories: whole or absent, exact round trips, every malformed one refused by name."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from archipel.model.backends import backend_of
from archipel.model.config import DecoderConfig, InvalidConfig
from archipel.model.directory import INDEX_FILE, InvalidModel, read_model, write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import (
    InvalidTokenizer,
    Tokenizer,
    UnknownText,
    byte_tokenizer,
    character_tokenizer,
)

torch.set_num_threads(1)

CONFIG = DecoderConfig(
    family="qwen3",
    vocab_size=64,
    hidden_size=16,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
    intermediate_size=24,
    max_position_embeddings=32,
    bos_token_id=1,
    eos_token_ids=(2, 3),
    pad_token_id=0,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_model(tmp_path / "m", random_weights(CONFIG, 1), CONFIG, character_tokenizer())
    return tmp_path / "m"


@pytest.mark.parametrize("shard_bytes", [10**9, 3000, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_written_is_read_back_exactly(
    tmp_path: Path, dtype: torch.dtype, shard_bytes: int
) -> None:
    model = random_weights(CONFIG, 2).to(dtype)
    write_model(tmp_path / "m", model, CONFIG, dtype=dtype, shard_bytes=shard_bytes)
    assert (tmp_path / "m" / INDEX_FILE).exists() == (shard_bytes < 10**9)
    back = read_model(tmp_path / "m", dtype)
    assert back.config == CONFIG
    state = model.state_dict()
    assert list(back.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in back.state_dict().items())
    assert all(parameter.requires_grad for parameter in back.parameters())


def test_a_model_in_memory_does_not_follow_its_file(directory: Path) -> None:
    model = read_model(directory, torch.bfloat16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    file = directory / "model.safetensors"
    file.write_bytes(bytes(file.stat().st_size))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_occupied_directory_is_never_overwritten(directory: Path) -> None:
    with pytest.raises(FileExistsError, match="name a new directory"):
        write_model(directory, random_weights(CONFIG, 3), CONFIG)


def test_weights_of_another_architecture_are_not_written(tmp_path: Path) -> None:
    wider = dataclasses.replace(CONFIG, intermediate_size=32)
    with pytest.raises(InvalidModel, match="expected"):
        write_model(tmp_path / "m", random_weights(wider, 0), CONFIG)
    deeper = dataclasses.replace(CONFIG, num_layers=3)
    with pytest.raises(InvalidModel, match="disagree"):
        write_model(tmp_path / "m", random_weights(deeper, 0), CONFIG)
    assert not (tmp_path / "m").exists()


def test_a_tied_head_stored_twice_must_be_the_same_twice(directory: Path) -> None:
    file = directory / "model.safetensors"
    state = load_file(file)
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    save_file(state, file)
    assert "lm_head.weight" not in read_model(directory).state_dict()
    state["lm_head.weight"][3, 3] += 1
    save_file(state, file)
    with pytest.raises(InvalidModel, match="tied"):
        read_model(directory)


def _drop(state: dict[str, torch.Tensor]) -> None:
    del state["model.norm.weight"]


def _add(state: dict[str, torch.Tensor]) -> None:
    state["model.backdoor"] = torch.ones(2)


def _reshape(state: dict[str, torch.Tensor]) -> None:
    state["model.norm.weight"] = torch.ones(4, 4)


def _integers(state: dict[str, torch.Tensor]) -> None:
    state["model.norm.weight"] = torch.ones(16, dtype=torch.int32)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(_drop, "missing"), (_add, "unexpected"), (_reshape, "shape"), (_integers, "int32")],
)
def test_other_tensors_than_the_architecture_has_are_refused(directory, spoil, words) -> None:  # type: ignore[no-untyped-def]
    file = directory / "model.safetensors"
    state = load_file(file)
    spoil(state)
    save_file(state, file)
    with pytest.raises(InvalidModel, match=words):
        read_model(directory)


@pytest.mark.parametrize(
    "name", ["../m/model.safetensors", "/x.safetensors", "weights.pt", "a/b.safetensors"]
)
def test_an_index_cannot_point_outside_the_directory(directory: Path, name: str) -> None:
    (directory / "model.safetensors").unlink()
    (directory / INDEX_FILE).write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    with pytest.raises(InvalidModel, match="plain"):
        read_model(directory)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b"\xff" * 64),
        ("model.safetensors", b""),
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b"[" * 100_000),
        ("config.json", b" " * 2_000_000),
        ("config.json", b"{}"),
    ],
)
def test_malformed_files_are_refused(directory: Path, file: str, content: bytes) -> None:
    (directory / file).write_bytes(content)
    with pytest.raises(InvalidModel):
        read_model(directory)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "mixtral"),
        ("hidden_act", "gelu"),
        ("attention_bias", True),
        ("mlp_bias", True),
        ("quantization_config", {"bits": 4}),
        ("use_sliding_window", True),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}),
        ("rope_parameters", {"rope_type": "llama3", "rope_theta": 1e4}),
        ("rope_parameters", "default"),
        ("hidden_size", "16"),
        ("hidden_size", 10**9),
        ("num_key_value_heads", 3),
        ("head_dim", 7),
        ("vocab_size", True),
        ("rms_norm_eps", "nan"),
        ("eos_token_id", 64),
        ("eos_token_id", "2"),
        ("max_position_embeddings", None),
    ],
)
def test_a_setting_this_network_does_not_implement_is_refused(key: str, value: object) -> None:
    fields = CONFIG.to_hf() | {key: value}
    with pytest.raises(InvalidConfig):
        DecoderConfig.from_hf(fields)


def test_the_character_tokenizer_has_exactly_64_ids_and_refuses_the_rest() -> None:
    tokenizer = character_tokenizer()
    assert tokenizer.vocab_size == 64
    assert len({tokenizer.decode([i]) for i in range(3, 64)}) == 61
    assert [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id] == [0, 1, 2]
    with pytest.raises(UnknownText, match="cannot encode"):
        tokenizer.encode("Ångström")


def test_the_byte_tokenizer_expresses_any_text() -> None:
    tokenizer = byte_tokenizer()
    text = "\x00 héllo  世界 \U0001f9ee\n<pa"
    assert tokenizer.vocab_size == 259
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text.encode())


def test_special_tokens_in_a_strangers_text_stay_text_when_asked() -> None:
    tokenizer = byte_tokenizer()
    assert tokenizer.encode("<eos>") == [2]
    plain = tokenizer.encode("<eos>", parse_special=False)
    assert 2 not in plain
    assert tokenizer.decode(plain) == "<eos>"
    assert tokenizer.encode("<eos>") == [2]


def test_tokenizer_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InvalidTokenizer, match=r"no tokenizer\.json"):
        Tokenizer.from_directory(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidTokenizer):
        Tokenizer.from_directory(tmp_path)
    byte_tokenizer().write(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "</s>"}}')
    with pytest.raises(InvalidTokenizer, match="not in the vocabulary"):
        Tokenizer.from_directory(tmp_path)


@pytest.mark.parametrize("form", [{"quant_method": "gptq", "bits": 4}, {"bits": 4}, ["awq"], {}])
def test_weights_that_are_quantised_already_are_refused_once_with_the_way_round(
    tmp_path: Path, form: object
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    fields = CONFIG.to_hf() | {"quantization_config": form}
    (model / "config.json").write_text(json.dumps(fields))
    with pytest.raises(InvalidModel, match="--weights int8 or int4") as refused:
        backend_of(model)
    assert str(refused.value).count("quantization_config") == 1
    assert ("'gptq'" in str(refused.value)) == (form == {"quant_method": "gptq", "bits": 4})
