"""Adapters in the PEFT layout: the same numbers there and here, and whatever is not followed is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from archipel.model.adapter import Adapter, adapt, merged, set_adapter
from archipel.model.adapter_files import CONFIG, WEIGHTS, read_adapter, write_adapter
from archipel.model.config_files import InvalidModel
from archipel.model.directory import write_model
from archipel.model.manifest import Over
from archipel.model.network import Decoder, causal_attention
from archipel.records.adapter import AdapterForm
from model.peft_vector import FORMS, TOKENS, adapter, base, by_peft, config, saved_by_peft

VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "peft-1.json").read_text())
FORM = FORMS["all"]
OVER = Over("sha256:" + "a" * 64, FORM)


def logits(model: Decoder) -> torch.Tensor:
    with torch.no_grad():
        positions = torch.arange(len(TOKENS))[None]
        return model.logits(model(torch.tensor([TOKENS]), positions, causal_attention))[0]


def with_adapter(given: Adapter) -> Decoder:
    model = base()
    adapt(model, given.form, 0)
    set_adapter(model, given)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_adapter(tmp_path / "a", adapter(FORM), OVER, "over")
    return tmp_path / "a"


@pytest.mark.parametrize("name", FORMS)
def test_our_logits_are_those_that_peft_recorded(tmp_path: Path, name: str) -> None:
    recorded, form = VECTOR["forms"][name], FORMS[name]
    (tmp_path / CONFIG).write_text(json.dumps(recorded["adapter_config"]))
    state = adapter(form).state
    assert sorted(state) == recorded["tensors"]
    save_file({key: each.float() for key, each in state.items()}, tmp_path / WEIGHTS)
    read, over = read_adapter(tmp_path, config())
    assert (read.form, over) == (form, None)
    found = logits(with_adapter(read))[-1]
    torch.testing.assert_close(found, torch.tensor(recorded["logits"]), rtol=0, atol=2e-4)
    assert (found - logits(base())[-1]).abs().max() > 0.1, "the adapter must matter here"


def test_the_layout_is_the_one_that_peft_reads(folder: Path) -> None:
    said = json.loads((folder / CONFIG).read_text())
    recorded = VECTOR["forms"]["all"]["adapter_config"]
    said["target_modules"].sort()
    assert said == {key: recorded[key] for key in said}
    assert (folder / CONFIG).read_bytes().endswith(b"}\n")
    with safe_open(folder / WEIGHTS, "pt") as file:
        assert sorted(file.keys()) == VECTOR["forms"]["all"]["tensors"]
        assert file.metadata()["format"] == "pt"
    assert sorted(each.name for each in folder.iterdir()) == [CONFIG, WEIGHTS]


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_is_read_back_to_the_bit(tmp_path: Path, name: str) -> None:
    given, over = adapter(FORMS[name]), Over("sha256:" + "b" * 64, FORMS[name])
    write_adapter(tmp_path / "a", given, over)
    read, said = read_adapter(tmp_path / "a", config())
    assert (read.form, said) == (given.form, over)
    assert all(torch.equal(tensor, read.state[key]) for key, tensor in given.state.items())
    with pytest.raises(FileExistsError):
        write_adapter(tmp_path / "a", given, over)


@pytest.mark.parametrize(
    ("said", "targets"),
    [
        ("all-linear", FORM.targets),
        (["v_proj", "q_proj"], ("q_proj", "v_proj")),
        (["self_attn.o_proj"], ("o_proj",)),
        ([f"model.layers.{index}.mlp.up_proj" for index in range(2)], ("up_proj",)),
    ],
)
def test_targets_are_matched_as_peft_matches_them(
    tmp_path: Path, said: Any, targets: tuple[str, ...]
) -> None:
    form = FORM.model_copy(update={"targets": targets})
    write_adapter(tmp_path / "a", adapter(AdapterForm.model_validate(form.model_dump())), None)
    _say(tmp_path / "a", target_modules=said)
    assert read_adapter(tmp_path / "a", config())[0].form == form


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("peft_type", "IA3"), ("bias", "all"), ("use_dora", True), ("lora_bias", True),
        ("fan_in_fan_out", True), ("modules_to_save", ["lm_head"]), ("rank_pattern", {"q_proj": 8}),
        ("alpha_pattern", {"q_proj": 8}), ("layers_to_transform", [0]), ("layer_replication", [[0, 1]]),
        ("trainable_token_indices", [1]), ("target_parameters", ["x"]), ("exclude_modules", ["v_proj"]),
        ("init_lora_weights", "pissa"), ("init_lora_weights", 1), ("use_qalora", True),
        ("of_a_later_release", 1), ("target_modules", ".*_proj"), ("target_modules", []),
        ("target_modules", ["score"]), ("target_modules", ["q_proj", "embed_tokens"]),
        ("target_modules", ["model.layers.0.mlp.up_proj"]), ("target_modules", ["_proj"]),
        ("lora_alpha", True), ("lora_alpha", -1), ("lora_alpha", 1e300), ("lora_alpha", 10**400),
        ("lora_alpha", float("nan")), ("lora_alpha", 1 / 3), ("lora_alpha", None),
        ("r", 0), ("r", 8.0), ("r", 10**9), ("r", "4"), ("use_rslora", "yes"),
    ],
)  # fmt: skip
def test_what_is_not_followed_is_refused_by_its_name(folder: Path, key: str, value: Any) -> None:
    _say(folder, **{key: value})
    with pytest.raises(
        InvalidModel, match=rf"adapter_config\.json: {key[:5]}.*(expected|compute|convert|Input)"
    ):
        read_adapter(folder, config())


@pytest.mark.parametrize("spoilt", ["missing", "more", "shape", "type", "cut", "none", "over"])
def test_tensors_that_are_not_the_adapters_are_refused(folder: Path, spoilt: str) -> None:
    state, told = dict(load_file(folder / WEIGHTS)), {"format": "pt"}
    first = min(state)
    if spoilt == "missing":
        del state[first]
    elif spoilt == "more":
        state["model.norm.weight"] = torch.zeros(32)
    elif spoilt == "shape":
        state[first] = state[first][:2]
    elif spoilt == "type":
        state[first] = state[first].double()
    elif spoilt == "over":
        told["archipel"] = "{]"
    save_file({key: each.contiguous() for key, each in state.items()}, folder / WEIGHTS, told)
    if spoilt == "cut":
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-3])
    elif spoilt == "none":
        (folder / WEIGHTS).unlink()
    with pytest.raises(InvalidModel, match=r"adapter_model\.safetensors"):
        read_adapter(folder, config())


def test_keys_that_say_nothing_of_what_is_computed_are_read_over(folder: Path) -> None:
    _say(folder, lora_dropout=0.1, revision="main", peft_version="9", init_lora_weights="gaussian",
         loftq_config={}, megatron_core="megatron.core", use_dora=False)  # fmt: skip
    assert read_adapter(folder, config())[0].form == FORM


def _say(folder: Path, **changed: Any) -> None:
    fields = json.loads((folder / CONFIG).read_text()) | changed
    (folder / CONFIG).write_text(json.dumps(fields))


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.filterwarnings("ignore")
def test_peft_itself_computes_the_same_both_ways(tmp_path: Path, name: str) -> None:
    pytest.importorskip("peft")
    given, over = adapter(FORMS[name]), tmp_path / "over"
    write_model(over, base(), config())
    write_adapter(tmp_path / "ours", given, None, str(over))
    mine = logits(with_adapter(given))
    torch.testing.assert_close(by_peft(tmp_path / "ours", over), mine, rtol=0, atol=2e-5)
    theirs = saved_by_peft(FORMS[name], over, tmp_path / "theirs")
    read, _ = read_adapter(tmp_path / "theirs", config())
    torch.testing.assert_close(logits(with_adapter(read)), theirs, rtol=0, atol=2e-5)
    state = {key: each.bfloat16() for key, each in base().named_parameters()}
    whole = base()
    whole.load_state_dict(
        {k: v.float() for k, v in merged(state, given, config()).items()}, strict=False
    )
    torch.testing.assert_close(logits(whole), theirs, rtol=0, atol=0.05 * float(theirs.abs().max()))
