"""config.json and generation_config.json of a model directory, as one description of a decoder.

Law: loads no tensor library: an operator opens a run with what is read here.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from archipel.model.config import DecoderConfig, InvalidConfig
from archipel.model.endings import CONFIG_FILE, read_end_ids, read_sampling_defaults
from archipel.model.json_files import BadJsonFile, read_json_object

OTHERWISE = 'a recipe with model.backend = "transformers" may do it'
EXPECTED = "config.json and model.safetensors, or its index with the files that it names"


class InvalidModel(ValueError):
    """The directory is not a model that this network can load."""


def read_config(path: Path) -> DecoderConfig:
    """Read what a model directory says of its architecture and of the ids that end a completion.

    Raises:
        InvalidModel: no such file, too large, not JSON, or not one of our architectures.
    """
    file = path / CONFIG_FILE
    if not file.is_file():
        raise InvalidModel(f"{path} has no {CONFIG_FILE}: {what_is_there(path)}")
    try:
        fields = read_json_object(file)
        if (fault := quantised_fault(fields)) is not None:
            raise InvalidModel(f"{file}: {fault}")
        config = DecoderConfig.from_hf(fields)
        ends = read_end_ids(path, fields)
        return replace(config, eos_token_ids=ends, sampling_defaults=read_sampling_defaults(path))
    except BadJsonFile as error:
        raise InvalidModel(_with_place(path, str(error))) from None
    except InvalidConfig as error:
        raise InvalidModel(f"{file}: {error}; {OTHERWISE}") from None


def quantised_fault(fields: Mapping[str, Any]) -> str | None:
    """What is wrong with a `config.json` whose weights are quantised already (GPTQ, AWQ and their like)."""
    form = fields.get("quantization_config")
    if form is None:
        return None
    method = form.get("quant_method") if isinstance(form, Mapping) else None
    return (
        f"quantization_config is set ({str(method or 'of no name')!r:.40}), and quantised weights cannot be trained, nor "
        "read here; bring them as float32, float16 or bfloat16, and archipel serve --weights int8 or int4 holds them in "
        "as few bits; or bring a GGUF file through archipel model import"
    )


def _with_place(path: Path, fault: str) -> str:
    return fault if fault.startswith(str(path)) else f"{path}: {fault}"


def what_is_there(path: Path) -> str:
    """What a directory that is no model of ours holds instead, and what to do."""
    names = sorted(each.name for each in path.iterdir()) if path.is_dir() else []
    if "adapter_config.json" in names or any(name.startswith("adapter_model.") for name in names):
        return (
            "it holds an adapter only (adapter_config.json or adapter_model.*); name the whole model that it lies "
            "over, and the adapter beside it where a command takes one"
        )
    pickles = (".bin", ".pt", ".pth", ".ckpt")
    if pickled := sorted(
        (name for name in names if name.endswith(pickles)),
        key=lambda name: not name.startswith("pytorch_model"),
    ):
        return (
            f"it holds {pickled[0]}, a pickle, which is never loaded; convert it to safetensors "
            "(save_pretrained of transformers does)"
        )
    if others := [
        name for name in names if name.endswith((".safetensors", ".gguf", ".npz", ".h5"))
    ]:
        return f"it holds {others[0]}; expected {EXPECTED}"
    return f"it holds {', '.join(names[:8]) or 'nothing'}; expected {EXPECTED}"
