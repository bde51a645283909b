"""An adapter as a directory in the PEFT layout: `adapter_config.json` and `adapter_model.safetensors`.

Parts: `read_adapter`, `read_form`, `write_adapter`, `has_adapter`.
Law: whatever PEFT reads from its configuration is followed as it does, or refused by name; every tensor is
expected by name and shape before it is read; a directory appears whole or not at all.
Source: PEFT 0.21, `LoraConfig` and `LoraModel`.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from archipel.model.adapter import Adapter, check_adapter, layer_names
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.json_files import BadJsonFile, read_json_object
from archipel.model.manifest import Over, WrongTensors
from archipel.model.new_directory import require_free
from archipel.records.adapter import ALL_TARGETS, FILES, MICRO, TARGETS, AdapterForm, Target
from archipel.records.canonical import canonical_json

CONFIG, WEIGHTS = FILES
FLOATS = frozenset({"F32", "F16", "BF16"})
_OVER = "archipel"
"""Key in the weights' metadata of what they are over; PEFT reads over it."""

_READ = frozenset(
    {"peft_type", "r", "lora_alpha", "target_modules", "use_rslora", "bias", "init_lora_weights"}
)
"""Keys that are followed."""
_SAYS_NOTHING = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "lora_dropout",
        "megatron_core", "peft_version", "qalora_group_size", "task_type", "ensure_weight_tying",
    }
)  # fmt: skip
"""Keys that change nothing of what is computed from a saved adapter: where it came from, and how it was trained."""
_PLAIN_STARTS = ("gaussian", "orthogonal")
"""Besides true and false. Other ways to begin (PiSSA, OLoRA, LoftQ, CorDA) change the weights underneath, too."""


def has_adapter(path: Path) -> bool:
    """Whether the directory holds one, whatever else it holds."""
    return any((path / name).exists() for name in FILES)


def read_adapter(path: Path, config: DecoderConfig) -> tuple[Adapter, Over | None]:
    """An adapter for a decoder of this architecture, and what it says it lies over, if it says that.

    Raises:
        InvalidModel: a file is missing or malformed, PEFT would compute with it what this network does not, or
            the tensors are not exactly those of its form over this architecture.
    """
    form = read_form(path, config)
    file = path / WEIGHTS
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118  no dict
            check_adapter(
                {name: tuple(each.get_shape()) for name, each in slices.items()}, config, form
            )
            for name, each in slices.items():
                if each.get_dtype() not in FLOATS:
                    raise InvalidModel(
                        f"{file}: {name} is {each.get_dtype()}; expected {', '.join(sorted(FLOATS))}"
                    )
            state: dict[str, Tensor] = {name: opened.get_tensor(name) for name in slices}
            said = (opened.metadata() or {}).get(_OVER)
    except WrongTensors as error:
        raise InvalidModel(f"{file}: {error}; is it an adapter of this model?") from None
    except (SafetensorError, OSError) as error:
        raise InvalidModel(f"{file}: not readable as safetensors: {error}") from None
    return Adapter(form, state), _over(file, said)


def read_form(path: Path, config: DecoderConfig) -> AdapterForm:
    """Which layers of such a decoder the adapter in a directory adds to, and how.

    Raises:
        InvalidModel: see `read_adapter`.
    """
    file = path / CONFIG
    try:
        fields = read_json_object(file)
    except BadJsonFile as error:
        raise InvalidModel(str(error)) from None
    _require_followed(file, fields)
    said = {
        "rank": fields.get("r"),
        "alpha_micro": _micro(file, fields.get("lora_alpha")),
        "targets": _targets(file, fields.get("target_modules"), config),
        "rank_stabilised": fields.get("use_rslora") or False,
    }
    try:
        return AdapterForm.model_validate(said)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = {"rank": "r", "rank_stabilised": "use_rslora"}.get(str(fault["loc"][0]), "alpha")
        raise InvalidModel(f"{file}: {key} is {fault['input']!r:.60}: {fault['msg']}") from None


def _micro(file: Path, alpha: Any) -> int:
    is_number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if not is_number or not 0 < alpha <= MICRO or round(alpha * MICRO) / MICRO != alpha:
        raise InvalidModel(
            f"{file}: lora_alpha is {alpha!r:.40}; expected a whole number of millionths, at most {MICRO}"
        )
    return round(alpha * MICRO)


def write_adapter(
    path: Path, adapter: Adapter, over: Over | None, base_name: str | None = None
) -> None:
    """Write a directory that `read_adapter` and PEFT load; it appears by one rename.

    path: must not exist, or be an empty directory. over: is noted beside the tensors.
    base_name: where PEFT's own loaders look for the weights underneath; None: whoever loads it gives them.

    Raises:
        FileExistsError: something is already there.
        OSError: the disk is full or not writable.
    """
    require_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    described = json.dumps(_fields(adapter.form, base_name), indent=2, sort_keys=True) + "\n"
    (partial / CONFIG).write_text(described, encoding="utf-8")
    metadata = {"format": "pt"}
    if over is not None:
        metadata[_OVER] = canonical_json(over.fields()).decode()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter.state.items()}
    (partial / WEIGHTS).write_bytes(_in_order(save(tensors, metadata)))
    partial.replace(path)


def _in_order(stored: bytes) -> bytes:
    """The same file with its metadata in the order of its names: the library writes it in another one each time."""
    size = int.from_bytes(stored[:8], "little")
    fields = json.loads(stored[8 : 8 + size])
    fields["__metadata__"] = dict(sorted(fields["__metadata__"].items()))
    header = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + stored[8 + size :]


def _fields(form: AdapterForm, base_name: str | None) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": form.rank,
        "lora_alpha": int(form.alpha) if form.alpha.is_integer() else form.alpha,
        "target_modules": list(form.targets),
        "use_rslora": form.rank_stabilised,
        "bias": "none",
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _require_followed(file: Path, fields: dict[str, Any]) -> None:
    """Raises InvalidModel: a key says something that is not followed."""
    if fields.get("peft_type") != "LORA":
        raise InvalidModel(f"{file}: peft_type is {fields.get('peft_type')!r:.40}; expected LORA")
    if fields.get("bias", "none") != "none":
        raise InvalidModel(
            f"{file}: bias is {fields['bias']!r:.40}; expected none: biases are not adapted"
        )
    start = fields.get("init_lora_weights")
    if start is not None and not isinstance(start, bool) and start not in _PLAIN_STARTS:
        raise InvalidModel(
            f"{file}: init_lora_weights is {start!r:.40}, which changes the weights underneath; convert it to a plain "
            "LoRA (PEFT: path_initial_model_for_weight_conversion)"
        )
    for key in sorted(fields.keys() - _READ - _SAYS_NOTHING):
        if fields[key]:
            raise InvalidModel(
                f"{file}: {key} is {fields[key]!r:.80}, which this network does not compute; merge the adapter with "
                "PEFT and use the whole model"
            )


def _targets(file: Path, said: Any, config: DecoderConfig) -> tuple[Target, ...]:
    """Layers by the last part of their names; whole names have to stand for every decoder layer."""
    if said == "all-linear":
        return TARGETS
    if not isinstance(said, list) or not said or not all(isinstance(each, str) for each in said):
        raise InvalidModel(
            f"{file}: target_modules is {said!r:.80}; expected a list of {', '.join(ALL_TARGETS)}"
        )
    targets = tuple(
        each for each in ALL_TARGETS if any(name.split(".")[-1] == each for name in said)
    )
    probe = AdapterForm(rank=1, alpha_micro=1, targets=targets or TARGETS, rank_stabilised=False)
    named = {layer for layer in layer_names(config, probe) if _names(said, layer)}
    unknown = [name for name in said if not any(_names([name], layer) for layer in named)]
    missing = [layer for layer in layer_names(config, probe) if layer not in named]
    if unknown or not targets:
        raise InvalidModel(
            f"{file}: target_modules has {unknown[0] if unknown else said[0]!r:.80}; expected {', '.join(ALL_TARGETS)}"
        )
    if missing:
        raise InvalidModel(
            f"{file}: target_modules leaves out {missing[0]}; expected the same layers in every decoder layer"
        )
    return targets


def _names(said: list[str], layer: str) -> bool:
    """As PEFT matches: the whole name, or its end after a dot."""
    return any(layer == name or layer.endswith(f".{name}") for name in said)


def _over(file: Path, said: str | None) -> Over | None:
    if said is None:
        return None
    try:
        return Over.of(json.loads(said))
    except (ValueError, RecursionError) as error:
        raise InvalidModel(
            f"{file}: what it says of its base cannot be read: {error!s:.200}"
        ) from None
