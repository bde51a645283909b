"""Files of fewer bits and of published tokenizers: our own reader and llama.cpp find in them what was written."""

import json
import os
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from archipel.bench.serve_sides import LLAMA, NODE, Peers, Room, Server, sides_of
from archipel.model.config import DecoderConfig
from archipel.model.gguf import write_gguf
from archipel.model.gguf_header import CannotWrite, read_header
from archipel.model.gguf_import import read_gguf
from archipel.model.gguf_packed import FILE_TYPES, Kind, packed
from archipel.model.gguf_weights import weights_of
from archipel.model.gguf_words import words_of
from archipel.model.network import Decoder, causal_attention, random_weights
from archipel.model.tokenizer import Tokenizer, character_tokenizer
from gguf_files import WORDS, file_of, small_facts, small_tensors

FOLDER = os.environ.get("ARCHIPEL_LLAMA_FOLDER")  # noqa: TID251  of this test alone
TEXTS = (
    "the 12345 things in'side  the\n\nbox\t  \n end ",
    "½ ² é日本 😀 12 123",
    "'S 's don't",
    "",
)


def _model(kind: Kind = "float32") -> Decoder:
    """One whose weights 16 bits of this kind can hold."""
    config = DecoderConfig(
        "llama", character_tokenizer().vocab_size, 64, 2, 2, 1, 32, 96, 256, bos_token_id=1,
        eos_token_ids=(2,), pad_token_id=0,
    )  # fmt: skip
    model = random_weights(config, 3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        if kind in ("float16", "bfloat16"):
            parameter.data = parameter.data.to(getattr(torch, kind)).float()
    return model


def _read(path: Path) -> dict[str, torch.Tensor]:
    view = memoryview(path.read_bytes())
    header, config, _ = read_gguf(view)
    return weights_of(view, header.tensors, config, torch.float32, lambda done, of: None)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_weights_that_16_bits_can_hold_come_back_bit_for_bit(tmp_path: Path, kind: Kind) -> None:
    model = _model(kind)
    write_gguf(tmp_path / "m", model, character_tokenizer(), kind)
    found = _read(tmp_path / "m")
    matrices = {name: value for name, value in model.state_dict().items() if value.ndim == 2}
    assert all(torch.equal(found[name], value) for name, value in matrices.items())
    assert (tmp_path / "m").stat().st_size < 2.2 * sum(each.numel() for each in matrices.values())


@pytest.mark.parametrize(("kind", "steps"), [("q8_0", 127), ("q4_0", 8)])
def test_quantised_weights_come_back_within_half_a_step_of_their_block(
    tmp_path: Path, kind: Kind, steps: int
) -> None:
    pytest.importorskip("gguf", reason="the library that quantises is an extra")
    model = _model()
    write_gguf(tmp_path / "m", model, character_tokenizer(), kind)
    found = _read(tmp_path / "m")
    for name, value in model.state_dict().items():
        if value.ndim < 2:
            assert torch.equal(found[name], value), "vectors keep every bit"
            continue
        fine = 127 if "embed" in name else steps
        blocks, told = value.reshape(-1, 32), found[name].reshape(-1, 32)
        step = blocks.abs().amax(1, keepdim=True) / fine
        # The step has 11 bits; of 4 bits, one end of the range is a step short: there it may be a whole one.
        assert ((blocks - told).abs() <= step * (0.6 if fine == 127 else 1.1)).all(), name


def test_the_file_names_its_numbers_and_what_16_bits_cannot_hold_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m", _model(), character_tokenizer(), "float16")
    header = read_header(memoryview((tmp_path / "m").read_bytes()))
    assert header.facts["general.file_type"] == FILE_TYPES["float16"] == 1
    with pytest.raises(CannotWrite, match="beyond float16"):
        packed("output.weight", torch.full((2, 2), 70_000.0), "float16")
    assert packed("m", torch.ones(3, 30), "q8_0").data.dtype == np.float16, "30 is no block"


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_a_published_tokenizer_written_and_read_again_makes_the_same_ids(
    tmp_path: Path, pre: str
) -> None:
    told = small_facts() | {
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.eot_token_id": len(WORDS) - 1,
    }
    first = read_gguf(memoryview(file_of(told, small_tensors())))[2]
    config = DecoderConfig("llama", len(WORDS) + 5, 32, 1, 2, 1, 16, 32, 64)
    write_gguf(tmp_path / "m", random_weights(config, 1), first)
    again = read_gguf(memoryview((tmp_path / "m").read_bytes()))[2]
    assert {key: value for key, _, value in words_of(first, len(WORDS))}[
        "tokenizer.ggml.pre"
    ] == pre
    for text in TEXTS:
        assert again.encode_prompt(text) == first.encode_prompt(text)
    assert (again.stop_ids, again.bos_id) == (first.stop_ids, first.bos_id)
    assert set(again.special_ids) == set(first.special_ids)
    assert again.chat_template == first.chat_template


def _greedy(model: Decoder, prompt: list[int], num: int) -> list[int]:
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(num):
            positions = torch.arange(len(ids))[None]
            hidden = model(torch.tensor([ids]), positions, causal_attention)
            ids.append(int(model.logits(hidden)[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.slow
def test_llama_cpp_says_the_same_greedy_tokens_of_a_16_bit_file(tmp_path: Path) -> None:
    if FOLDER is None or shutil.which("node") is None:
        pytest.skip(f"ARCHIPEL_LLAMA_FOLDER names no folder with {NODE}, or node is not there")
    model, prompt = _model("float16"), [1, 20, 9, 33, 4, 5]
    for kind in LLAMA:
        write_gguf(tmp_path / f"{kind}.gguf", model, character_tokenizer(), "float16")
    sides, absent = sides_of(tmp_path, Room(1, 2, 256, 512), Peers(Path(FOLDER), None))
    assert "llama.cpp" not in absent
    side = next(each for each in sides if each.name == "llama.cpp float16")
    server = Server(side, tmp_path / "log", {}, 1)
    try:
        server.start()
        server.wait()
        body = json.dumps({"prompt": prompt, "max_tokens": 24}).encode()
        with urllib.request.urlopen(f"{server.address}/v1/completions", body, timeout=60) as told:
            lines = [line[6:] for line in told if line.startswith(b"data: {")]
    finally:
        server.stop()
    tokens = [each["token"] for line in lines for each in json.loads(line)["choices"]]
    assert tokens == _greedy(model, prompt, 24)


def test_a_tokenizer_with_more_words_than_embeddings_is_refused() -> None:
    tokenizer: Tokenizer = character_tokenizer()
    with pytest.raises(CannotWrite, match="64 ids and the model 10"):
        list(words_of(tokenizer, 10))
