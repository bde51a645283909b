"""A model as a directory in the Hugging Face layout: read, checked, written.

Parts: `read_model`, `write_model`, `read_config`, `expected_shapes`.
Law: safetensors and JSON only; every file is bounded and every tensor is expected by name and
shape; a directory appears whole or not at all.
"""

import functools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from archipel.model.config import DecoderConfig, InvalidConfig
from archipel.model.network import Decoder
from archipel.model.tokenizer import Tokenizer

MAX_CONFIG_BYTES = 1024 * 1024
"""Largest config.json that is read."""
MAX_INDEX_BYTES = 16 * 1024 * 1024
"""Largest model.safetensors.index.json that is read."""
MAX_SHARDS = 1024
DEFAULT_SHARD_BYTES = 5_000_000_000

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")
_DERIVED = re.compile(
    r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq|model\.rotary_emb\.inv_freq"
)
"""Old exports carry the rotary frequencies, which follow from the configuration."""
_FLOATS = {torch.float32, torch.float16, torch.bfloat16}


class InvalidModel(ValueError):
    """The directory is not a model that this network can load."""


def read_config(path: Path) -> DecoderConfig:
    """Read `config.json` of a model directory.

    Raises:
        InvalidModel: no such file, too large, not JSON, or not one of our architectures.
    """
    fields = _read_json(path / "config.json", MAX_CONFIG_BYTES)
    try:
        return DecoderConfig.from_hf(fields)
    except InvalidConfig as error:
        raise InvalidModel(f"{path / 'config.json'}: {error}") from None


def read_model(path: Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """Load a decoder, on the CPU, with every weight converted to `dtype`.

    Raises:
        InvalidModel: a file is missing, oversized or malformed, or the tensors are not exactly
            those of the architecture that config.json describes.
    """
    config = read_config(path)
    model = _hollow(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    state: dict[str, Tensor] = {}
    extra_head: Tensor | None = None
    for name, tensor in _tensors(path):
        if name in state:
            raise InvalidModel(f"{path}: tensor {name} is in two files")
        if name == "lm_head.weight" and config.tie_embeddings:
            extra_head = tensor
        elif name in shapes:
            state[name] = _checked(name, tensor, shapes[name]).to(dtype, copy=True)
        elif not _DERIVED.fullmatch(name):
            raise InvalidModel(f"{path}: unexpected tensor {name!r:.120} for {config.family}")
    if missing := sorted(shapes.keys() - state.keys()):
        raise InvalidModel(f"{path}: {len(missing)} tensors are missing, first {missing[0]}")
    embedding = state["model.embed_tokens.weight"]
    if extra_head is not None and not torch.equal(extra_head.to(dtype), embedding):
        raise InvalidModel(f"{path}: lm_head.weight differs from the embedding it is tied to")
    model.load_state_dict(state, strict=True, assign=True)
    return model


def write_model(
    path: Path,
    weights: Decoder | Mapping[str, Tensor],
    config: DecoderConfig,
    tokenizer: Tokenizer | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
) -> None:
    """Write a directory that `read_model` and `transformers` load.

    path: must not exist, or be an empty directory. The directory appears by one rename.
    shard_bytes: weights beyond this many bytes go to further files with an index.

    Raises:
        InvalidModel: the weights are not those of `config`.
        FileExistsError: something is already there.
    """
    state = weights.state_dict() if isinstance(weights, Decoder) else dict(weights)
    _check_state(state, config)
    if path.exists() and any(path.iterdir()):
        raise FileExistsError(f"{path} is not empty; name a new directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    _write_json(
        partial / "config.json", config.to_hf() | {"dtype": str(dtype).removeprefix("torch.")}
    )
    _write_json(partial / "generation_config.json", _generation(config))
    _write_weights(
        partial, {name: state[name].detach().to("cpu", dtype) for name in state}, shard_bytes
    )
    if tokenizer is not None:
        tokenizer.write(partial)
    partial.replace(path)


@functools.lru_cache(maxsize=64)
def expected_shapes(config: DecoderConfig) -> Mapping[str, tuple[int, ...]]:
    """Name and shape of every tensor in the state of such a decoder; nothing is allocated."""
    shapes = {name: tuple(tensor.shape) for name, tensor in _hollow(config).state_dict().items()}
    return MappingProxyType(shapes)


def _hollow(config: DecoderConfig) -> Decoder:
    with torch.device("meta"):
        return Decoder(config)


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    for file in _weight_files(path):
        try:
            with safe_open(file, framework="pt", device="cpu") as shard:
                for name in shard.keys():  # noqa: SIM118 - the handle is not iterable
                    yield name, shard.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise InvalidModel(f"{file}: not readable as safetensors: {error}") from None


def _weight_files(path: Path) -> list[Path]:
    index = path / INDEX_FILE
    if not index.is_file():
        return [path / SINGLE_FILE]
    weight_map = _read_json(index, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidModel(f"{index} has no weight_map")
    names = sorted({str(name) for name in weight_map.values()})
    if len(names) > MAX_SHARDS:
        raise InvalidModel(f"{index} names {len(names)} files; the limit is {MAX_SHARDS}")
    for name in names:
        # The index comes from outside: a name with a separator would leave the directory.
        if not _SHARD_NAME.fullmatch(name):
            raise InvalidModel(f"{index} names {name!r:.80}; expected a plain .safetensors name")
    return [path / name for name in names]


def _checked(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(tensor.shape) != shape:
        raise InvalidModel(f"{name} has shape {tuple(tensor.shape)}; expected {shape}")
    if tensor.dtype not in _FLOATS:
        raise InvalidModel(f"{name} is {tensor.dtype}; expected float32, float16 or bfloat16")
    return tensor


def _check_state(state: Mapping[str, Tensor], config: DecoderConfig) -> None:
    shapes = expected_shapes(config)
    if wrong := sorted(state.keys() ^ shapes.keys()):
        raise InvalidModel(
            f"weights and configuration disagree about {len(wrong)} names, first {wrong[0]}"
        )
    for name, shape in shapes.items():
        _checked(name, state[name], shape)


def _generation(config: DecoderConfig) -> dict[str, Any]:
    fields = config.to_hf()
    return {key: fields[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}


def _write_weights(path: Path, state: dict[str, Tensor], shard_bytes: int) -> None:
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in state.items():
        if shards[-1] and used + tensor.nbytes > shard_bytes:
            shards.append({})
            used = 0
        shards[-1][name] = tensor.contiguous()
        used += tensor.nbytes
    if len(shards) == 1:
        save_file(shards[0], path / SINGLE_FILE, metadata={"format": "pt"})
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, path / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in state.values())
    _write_json(path / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path, max_bytes: int) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InvalidModel(f"{path} cannot be read: {error}") from None
    if len(data) > max_bytes:
        raise InvalidModel(f"{path} is larger than {max_bytes} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidModel(f"{path} holds {type(value).__name__}; expected an object")
    return value
