"""A directory of a foreign architecture: its names, ids and weights are those of transformers, in and out."""

import json
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode

pytest.importorskip("transformers")

from archipel.model.config_files import InvalidModel
from archipel.model.hollow import DRAWS
from archipel.model.stock import blank, read_stock_model, stock_shapes, write_stock_model
from archipel.model.stock_config import StockConfig, read_stock_config
from archipel.model.stock_library import library
from archipel.model.tokenizer import InvalidTokenizer, Tokenizer, byte_tokenizer
from stock_models import write_stock

TEXTS = ("Hello  world 12", " a\n\n<eos> b", "wörld—'s", "")
CLASSES = ("BloomTokenizer", "CodeGenTokenizer", "PreTrainedTokenizerFast")


@pytest.mark.parametrize(
    "family",
    [
        "gpt2",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("bloom", "gemma2", "mixtral")),
    ],
)
def test_what_is_written_is_what_was_read_with_ties_and_conversions(
    family: str, tmp_path: Path
) -> None:
    start = write_stock(tmp_path / "start", family)
    decoder = read_stock_model(start, torch.bfloat16)
    state = {name: each.detach() for name, each in decoder.named_parameters()}
    assert {name: tuple(each.shape) for name, each in state.items()} == stock_shapes(decoder.config)
    write_stock_model(tmp_path / "out", state, decoder.config, start)
    again = read_stock_model(tmp_path / "out", torch.bfloat16)
    assert all(torch.equal(each, state[name]) for name, each in again.named_parameters())
    assert read_stock_config(tmp_path / "out").eos_token_ids == decoder.config.eos_token_ids
    theirs = library().AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    ours, ids = read_stock_model(tmp_path / "out"), torch.arange(3, 12).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(theirs(ids).logits, ours.logits(ids, torch.arange(9)))


@pytest.mark.parametrize(
    "declared",
    ["GPTNeoXTokenizer", *(pytest.param(each, marks=pytest.mark.slow) for each in CLASSES)],
)
def test_ids_are_the_librarys_for_every_class_of_tokenizer_before_and_after_an_export(
    declared: str, tmp_path: Path
) -> None:
    start = write_stock(tmp_path / "start", "gpt_neox", vocab_size=259)
    byte_tokenizer().write(start)
    settings = json.loads((start / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = declared
    (start / "tokenizer_config.json").write_text(json.dumps(settings))
    ours = Tokenizer.from_directory(start)
    decoder = read_stock_model(start, torch.bfloat16)
    state = {name: each.detach() for name, each in decoder.named_parameters()}
    write_stock_model(tmp_path / "out", state, decoder.config, start)
    after = Tokenizer.from_directory(tmp_path / "out")
    for folder in (start, tmp_path / "out"):
        theirs = library().AutoTokenizer.from_pretrained(folder)
        for text in TEXTS[:1] + TEXTS[2:]:
            assert (
                theirs(text)["input_ids"] == ours.encode_prompt(text) == after.encode_prompt(text)
            )
    assert ours.stop_ids == after.stop_ids == (2,)
    assert ours.bos_token == after.bos_token
    assert 2 not in ours.encode_prompt(TEXTS[1])


def test_a_tokenizer_that_needs_code_of_its_own_is_refused(tmp_path: Path) -> None:
    start = write_stock(tmp_path / "start", "gpt_neox")
    settings = json.loads((start / "tokenizer_config.json").read_text())
    settings |= {"auto_map": {"AutoTokenizer": [None, "mine.Mine"]}, "tokenizer_class": "Mine"}
    (start / "tokenizer_config.json").write_text(json.dumps(settings))
    (start / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(InvalidTokenizer, match="tokenizer_class is 'Mine', which transformers"):
        Tokenizer.from_directory(start)
    assert not (tmp_path / "ran").exists()


def test_a_network_never_drops_out_and_keeps_its_positions_exact_in_bf16(tmp_path: Path) -> None:
    start = write_stock(tmp_path / "start", "gpt_neox")
    decoder = read_stock_model(start).train()
    assert not any(each.training for each in decoder.modules())
    halved = read_stock_model(start, torch.bfloat16)
    tables = [b for name, b in halved.network.named_buffers() if name.endswith("inv_freq")]
    assert tables
    assert all(each.dtype == torch.float32 for each in tables)


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"model_type": "gpt_neo", "attention_types": [[["global", "local"], 10**9]]}, 512),
        ({"model_type": "gpt2", "num_labels": 10**8}, 4096),
        ({"model_type": "gpt2", "text_config": {"num_layers": [10**9]}}, 512),
        ({"model_type": "gpt2", "n_layer": 4096}, 512),
        ({"model_type": "mixtral", "num_local_experts": 4096, "num_hidden_layers": 4096}, 512),
        ({"model_type": "mixtral", "num_local_experts": 4097}, 4096),
    ],
    ids=["attention_types", "num_labels", "nested", "layers", "both", "experts"],
)
def test_what_the_library_would_list_before_it_builds_anything_is_bounded(
    fields: dict[str, object], limit: int
) -> None:
    with pytest.raises(InvalidModel, match=f"the limit is {limit}"):
        StockConfig.from_hf(fields)


def test_names_and_shapes_are_had_without_drawing_a_number() -> None:
    drawn: list[object] = []

    class Watched(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # as torch has it
            drawn.extend([func] if func in DRAWS else [])
            return func(*args, **(kwargs or {}))

    small = {"n_embd": 8, "n_head": 2, "vocab_size": 64, "n_layer": 3}
    config = StockConfig.from_hf({"model_type": "gpt2", **small})
    with Watched():
        shapes = stock_shapes(config)
    assert drawn == []
    made = blank(config)
    assert shapes == {name: tuple(each.shape) for name, each in made.named_parameters()}
