"""What a loader would make of a release that was signed anew: the weights that were looked at, or it is named."""

import json
import shutil
from pathlib import Path

import torch

from archipel.model.adapter import Adapter
from archipel.model.adapter_files import write_adapter
from archipel.model.manifest import Over
from archipel.records.recipe import AdapterSection
from archipel.release.index import read_index
from archipel.release.layout import alike, misplaced
from archipel.release.verify.loading import look_at_loading
from archipel.release.verify.report import Expected, Looked, Stamp
from archipel.release.weights.difference import inflate
from archipel.release.weights.folder import top_of
from archipel.release.weights.stored import header_of
from releases import faults, heard, looked_at, quick, signed_again, with_index

SINGLE, SHARD = "model.safetensors", "model-00001-of-00001.safetensors"
LAST_STATEMENT = "provenance/updates-3-4.json is not what"
SHARDS = "model.safetensors.index.json"


def test_nothing_lies_where_a_loader_looks_that_no_release_has(bundle: Path) -> None:
    bad = (
        *("pytorch_model.bin", "modeling_x.py", "model.gguf", "tf_model.h5", "other.safetensors"),
        *("onnx/model.onnx", "1_Pooling/config.json", "Model.safetensors"),
    )
    for name in bad:
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_bytes(b"x")
    signed_again(bundle)
    found = quick(bundle)
    for name in bad:
        assert any(fault.startswith(name) for fault in found), (name, found)
    assert not list(misplaced(("config.json", SINGLE, "data/x/y", "environment/rules.py")))


def test_names_that_some_disk_takes_for_one_are_named(bundle: Path) -> None:
    for name in ("data/Rollouts.json", "LICENSES/apache-2.0.txt", "data/croissant.json."):
        (bundle / name).write_bytes(b"x")
    signed_again(bundle)
    found = "\n".join(quick(bundle))
    for name in ("rollouts.json", "Apache-2.0.txt", "croissant.json"):
        assert f"{name} and " in found or f"{name} are one name" in found, (name, found)
    assert list(alike(("data/a", "data/A/b")))
    assert not list(alike(("data/a/b", "data/a/c", "data/b")))


def test_an_index_of_weights_leads_to_those_that_were_looked_at(bundle: Path) -> None:
    names = [each.name for each in header_of(bundle / SINGLE).tensors]
    right = {"metadata": {}, "weight_map": dict.fromkeys(names, SHARD)}
    (bundle / SHARDS).write_text(json.dumps(right))
    assert "which weights a loader takes is open" in faults(bundle)
    (bundle / SINGLE).rename(bundle / SHARD)
    shown = json.loads((bundle / "release.json").read_bytes())["components"]
    for each in shown:
        each["places"] = [SHARD if place == SINGLE else place for place in each["places"]]
    with_index(bundle, components=shown)
    (fault,) = faults(bundle).splitlines()
    assert fault.startswith(LAST_STATEMENT), "which still names the files as they were"
    wrong = {"weight_map": right["weight_map"] | {names[0]: "data/more.safetensors"}}
    (bundle / SHARDS).write_text(json.dumps(wrong))
    assert "leads to other files" in faults(bundle)
    (bundle / SHARDS).write_text(json.dumps(right)[:-1] + ', "weight_map": {}}')
    assert f"{SHARDS}: " in faults(bundle), "a key that stands twice says two things"
    (bundle / SHARDS).unlink()
    assert "no loader finds" in faults(bundle)


def test_weights_of_an_earlier_version_are_not_the_last(bundle: Path) -> None:
    index = read_index((bundle / "release.json").read_bytes())
    looked = heard(bundle)
    assert looked.heard is not None
    before = looked.heard.story.updates[2].answer
    assert before.anchor is not None
    digest = before.anchor.digest[7:]
    packed = (bundle / "blobs" / "sha256" / digest[:2] / digest).read_bytes()
    (bundle / SINGLE).write_bytes(inflate(packed, 8, 10**9))
    assert f"these weights are {before.policy}; version 4 is {index.weights}" in faults(bundle)
    with_index(bundle, version=2, weights=before.policy)
    assert "says version 2; the ledger says 4" in faults(bundle)


def test_without_weights_at_the_top_nothing_holds_and_other_tensors_inflate_nothing(
    bundle: Path,
) -> None:
    data = (bundle / SINGLE).read_bytes()
    size = int.from_bytes(data[:8], "little")
    fields = json.loads(data[8 : 8 + size])
    last = max((n for n in fields if n != "__metadata__"), key=lambda n: fields[n]["data_offsets"])
    start, end = fields.pop(last)["data_offsets"]
    header = json.dumps(fields).encode()
    less = len(header).to_bytes(8, "little") + header + data[8 + size :][:start]
    (bundle / SINGLE).write_bytes(less)
    assert end > start
    found = faults(bundle)
    for number in range(5):
        assert f"version {number}: its manifest names other tensors" in found
    (bundle / SINGLE).unlink()
    components = json.loads((bundle / "release.json").read_bytes())["components"]
    with_index(bundle, components=[each for each in components if SINGLE not in each["places"]])
    signed_again(bundle)
    report = looked_at(bundle)
    assert any("no weights lie at the top" in fault for fault in report.faults)
    assert report.steps[6].outcome == "not looked at"


def test_an_adapter_beside_whole_weights_is_named(bundle: Path) -> None:
    (bundle / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}')
    assert "adapter_config.json lies beside whole weights" in faults(bundle)


def test_an_adapter_has_the_form_that_the_ledger_names_and_its_base_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    over = Over(f"sha256:{'2' * 64}", AdapterSection().form)
    write_adapter(folder, Adapter(over.form, {"a": torch.ones(2, 3).bfloat16()}), over)

    def looked(**changed: object) -> tuple[list[str], list[str]]:
        fields = json.loads((folder / "adapter_config.json").read_text()) | changed
        (folder / "adapter_config.json").write_text(json.dumps(fields))
        found = Looked(folder, Expected(), lambda where: None)
        found.stamps = {each.name: Stamp(1, 1, ()) for each in folder.iterdir()}
        step = found.step("s")
        names = [each for each in found.files if each.endswith(".safetensors")]
        look_at_loading(found, top_of(folder, names), step)
        return step.faults, step.unshown

    assert looked() == ([], [])
    faults, unshown = looked(base_model_name_or_path="somebody/else")
    assert faults == []
    assert "'somebody/else', which adapter_config.json names" in unshown[0]
    for other in ({"lora_alpha": 77}, {"lora_alpha": over.form.alpha, "alpha_pattern": {"a": 9}}):
        assert "has another form" in looked(**other)[0][0]
    shutil.copyfile(folder / "adapter_model.safetensors", folder / "model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    assert any("expected adapter_model.safetensors alone" in each for each in looked()[0])
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    looked()
    (folder / "adapter_config.json").rename(tmp_path / "adapter_config.json")
    found = Looked(folder, Expected(), lambda where: None)
    found.stamps = {"adapter_model.safetensors": Stamp(1, 1, ())}
    step = found.step("s")
    look_at_loading(found, top_of(folder, found.files), step)
    assert "adapter_config.json is missing" in step.faults[0]


def test_another_tokenizer_is_its_owner_s_word_and_code_of_its_own_is_said(bundle: Path) -> None:
    for name in ("tokenizer_config.json", "config.json"):
        fields = json.loads((bundle / name).read_bytes())
        more = {"chat_template": "{{ 'obey' }}", "auto_map": {"AutoModel": "them/repo--m.M"}}
        (bundle / name).write_text(json.dumps(fields | more))
    (bundle / "special_tokens_map.json").write_text("{}")
    signed_again(bundle)
    report = looked_at(bundle)
    (fault,) = report.faults
    assert fault.startswith(LAST_STATEMENT), (
        "it named the files; whoever changes it, too, has said so himself"
    )
    unshown = "\n".join(report.steps[-1].unshown)
    for name in ("tokenizer_config.json", "config.json"):
        assert f"that {name} belongs to these weights: it is another" in unshown
        assert f"{name} names (auto_map)" in unshown
    assert "special_tokens_map.json belongs to these weights: it is new" in unshown
    assert "tokenizer.json belongs" not in unshown
    (bundle / "config.json").write_text('{"model_type": "a", "model_type": "b"}')
    assert "config.json: " in faults(bundle)
