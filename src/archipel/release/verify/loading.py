"""What a loader makes of the files at the top: the weights that were looked at and no others, and whose the rest is.

Part of step 6. Law: tensors may be right and the model another one still, by an index that names other files, an adapter's
configuration beside a whole model, another scale, another tokenizer: each is a fault, or said to be its owner's word.
"""

from collections.abc import Mapping
from typing import Any

from archipel.plurals import counted
from archipel.records.adapter import AdapterForm
from archipel.records.canonical import canonical_json
from archipel.release.layout import ADAPTER, ADAPTER_CONFIG, MODEL_FILES, SHARDS, SINGLE
from archipel.release.oms.folder import file_sha256
from archipel.release.oms.statement import read_json
from archipel.release.verify.files import read_bounded
from archipel.release.verify.report import Looked, Step
from archipel.release.weights.folder import Top

MAX_SETTINGS_BYTES = 64 * 1024 * 1024
"""Of a JSON file beside the weights; tokenizers are the largest."""
BASE = "base_model_name_or_path"


def look_at_loading(looked: Looked, top: Top, step: Step) -> None:
    """Whether a loader finds the tensors that are at the top, and makes of them what the ledger means."""
    files = set(top.lies.values())
    if top.over is None:
        _look_at_whole(looked, top.lies, files, step)
    else:
        _look_at_adapter(looked, files, top.over, step)
    _look_at_settings(looked, step)


def _look_at_whole(looked: Looked, lies: Mapping[str, str], files: set[str], step: Step) -> None:
    for name in sorted({ADAPTER_CONFIG, ADAPTER} & looked.there):
        step.fault(f"{name} lies beside whole weights: a loader would lay an adapter over them")
    if files == {SINGLE}:
        if SHARDS in looked.there:
            step.fault(f"{SHARDS} lies beside {SINGLE}: which weights a loader takes is open")
        return
    if SHARDS not in looked.there:
        step.fault(
            f"{SHARDS} is missing: without it no loader finds {', '.join(sorted(files)):.200}"
        )
        return
    said = settings_in(looked, SHARDS, step).get("weight_map")
    if said != dict(lies):
        step.fault(f"{SHARDS} leads to other files than those in which the tensors lie")


def _look_at_adapter(looked: Looked, files: set[str], over: dict[str, Any], step: Step) -> None:
    if files != {ADAPTER} or SHARDS in looked.there:
        step.fault(f"an adapter lies in {', '.join(sorted(files)):.200}; expected {ADAPTER} alone")
    if ADAPTER_CONFIG not in looked.there:
        step.fault(f"{ADAPTER_CONFIG} is missing: without it {ADAPTER} is nothing to a loader")
        return
    try:
        form = form_of(over)
    except ValueError:
        step.fault(f"{ADAPTER} says a form that no adapter has")
        return
    said = dict(settings_in(looked, ADAPTER_CONFIG, step))
    base = said.pop(BASE, None)
    if said != adapter_config(form):
        step.fault(f"{ADAPTER_CONFIG} has another form than the version in the ledger: {form}")
    if base is not None:
        step.unshown.append(
            f"that {str(base)!r:.120}, which {ADAPTER_CONFIG} names, are the weights underneath: those are {over.get('base')}"
        )


def form_of(over: dict[str, Any]) -> AdapterForm:
    """What the tensors of an adapter say of its form. Raises ValueError: no adapter has it."""
    said = {name: value for name, value in over.items() if name != "base"}
    return AdapterForm.model_validate_json(canonical_json(said))


def adapter_config(form: AdapterForm) -> dict[str, Any]:
    """What `model.adapter_files` writes, but for the name of the weights underneath."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": form.rank,
        "lora_alpha": form.alpha,
        "target_modules": list(form.targets),
        "use_rslora": form.rank_stabilised,
        "bias": "none",
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _look_at_settings(looked: Looked, step: Step) -> None:
    """Configuration and tokenizer: those that the ledger names, or its owner's word."""
    opened = None if looked.heard is None else looked.heard.story.opened
    named = {} if opened is None else {each.name: each.blob.digest for each in opened.model}
    same: list[str] = []
    for name in sorted(MODEL_FILES & looked.there):
        digest, _ = file_sha256(looked.folder / name)
        if named.get(name) == f"sha256:{digest}":
            same.append(name)
        elif opened is not None:
            other = "is another than the run was opened with" if name in named else "is new"
            step.unshown.append(f"that {name} belongs to these weights: it {other}")
        else:
            step.unshown.append(f"that {name} belongs to these weights: no ledger was replayed")
        if name.endswith(".json") and "auto_map" in settings_in(looked, name, step):
            step.unshown.append(
                f"what the code does that {name} names (auto_map): a loader runs it if it is told to trust it"
            )
    if same:
        step.shown.append(
            f"{counted(len(same), 'file')} beside them as the run was opened with: {', '.join(same)}"
        )


def settings_in(looked: Looked, name: str, step: Step) -> dict[str, Any]:
    """What a JSON file says; empty, and a fault, where it says a key twice or is no object."""
    try:
        return read_json(
            read_bounded(looked.folder / name, MAX_SETTINGS_BYTES), MAX_SETTINGS_BYTES, name
        )
    except ValueError as error:
        step.fault(f"{name}: {error!s:.300}")
        return {}
