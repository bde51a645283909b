"""A model as a directory in the Hugging Face layout: read, checked, written.

Parts: `read_model`, `read_tensors` (some of it), `write_model`, `read_config`, `expected_shapes`.
Law: safetensors and JSON only; every file is bounded and every tensor is expected by name and
shape; a directory appears whole or not at all.
"""

import functools
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel, read_config
from archipel.model.hollow import hollow
from archipel.model.network import Decoder
from archipel.model.new_directory import require_free
from archipel.model.tokenizer import Tokenizer
from archipel.model.weight_files import INDEX_FILE, SINGLE_FILE, weight_files
from archipel.records.adapter import FILES as ADAPTER_FILES

__all__ = [
    "INDEX_FILE",
    "InvalidModel",
    "expected_shapes",
    "read_config",
    "read_mapped",
    "read_model",
    "read_tensors",
    "write_model",
]

DEFAULT_SHARD_BYTES = 5_000_000_000

_DERIVED = re.compile(
    r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq|model\.rotary_emb\.inv_freq"
)
"""Old exports carry the rotary frequencies, which follow from the configuration."""
_FLOATS = {torch.float32, torch.float16, torch.bfloat16}


def read_model(
    path: Path, dtype: torch.dtype = torch.float32, *, under_adapter: bool = False
) -> Decoder:
    """Load a decoder, on the CPU, with every weight converted to `dtype`.

    under_adapter: whoever asks knows that an adapter may lie beside the weights.

    Raises:
        InvalidModel: a file is missing, oversized or malformed, the tensors are not exactly those of
            the architecture that config.json describes, or an adapter beside them would be passed over.
    """
    model = hollow(read_config(path))
    model.load_state_dict(
        _state(path, lambda tensor: tensor.to(dtype, copy=True), under_adapter),
        strict=True,
        assign=True,
    )
    return model


def read_mapped(path: Path) -> dict[str, Tensor]:
    """The weights of a decoder by name, as they lie in their files: read when they are looked at, copied never.

    The files must stay as they are while any of it is used.

    Raises:
        InvalidModel: see `read_model`.
    """
    return _state(path, lambda tensor: tensor)


def _state(
    path: Path, take: Callable[[Tensor], Tensor], under_adapter: bool = False
) -> dict[str, Tensor]:
    config = read_config(path)
    beside = any((path / name).exists() for name in ADAPTER_FILES)
    if beside and not under_adapter and weight_files(path):
        raise InvalidModel(
            f"{path} holds an adapter beside its model ({' or '.join(ADAPTER_FILES)}); keep it in a directory of its "
            "own, and name that where a command takes one"
        )
    shapes = expected_shapes(config)
    state: dict[str, Tensor] = {}
    extra_head: Tensor | None = None
    for name, tensor in _tensors(path):
        if name in state:
            raise InvalidModel(f"{path}: tensor {name} is in two files")
        if name == "lm_head.weight" and config.tie_embeddings:
            extra_head = tensor
        elif name in shapes:
            state[name] = take(_checked(name, tensor, shapes[name]))
        elif not _DERIVED.fullmatch(name):
            raise InvalidModel(f"{path}: unexpected tensor {name!r:.120} for {config.family}")
    if missing := sorted(shapes.keys() - state.keys()):
        raise InvalidModel(f"{path}: {len(missing)} tensors are missing, first {missing[0]}")
    embedding = state["model.embed_tokens.weight"]
    if extra_head is not None and not torch.equal(take(extra_head), embedding):
        raise InvalidModel(f"{path}: lm_head.weight differs from the embedding it is tied to")
    return state


def read_tensors(
    path: Path, names: Iterable[str], config: DecoderConfig, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Some of the weights of a decoder, by name; of the others not a byte is read.

    names: of `expected_shapes`.

    Raises:
        InvalidModel: one is missing, misshapen or not readable.
    """
    wanted, shapes = set(names), expected_shapes(config)
    found: dict[str, Tensor] = {}
    for file in weight_files(path):
        try:
            with safe_open(file, framework="pt", device="cpu") as shard:
                for name in wanted.intersection(shard.keys()):
                    tensor = _checked(name, shard.get_tensor(name), shapes[name])
                    found[name] = tensor.to(dtype, copy=True)
        except (SafetensorError, OSError) as error:
            raise InvalidModel(f"{file}: not readable as safetensors: {error}") from None
    if missing := sorted(wanted - found.keys()):
        raise InvalidModel(f"{path}: {len(missing)} tensors are missing, first {missing[0]}")
    return found


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
        OSError: the disk is full or not writable.
    """
    state = weights.state_dict() if isinstance(weights, Decoder) else dict(weights)
    _check_state(state, config)
    require_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
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
    shapes = {name: tuple(tensor.shape) for name, tensor in hollow(config).state_dict().items()}
    return MappingProxyType(shapes)


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    for file in weight_files(path):
        try:
            with safe_open(file, framework="pt", device="cpu") as shard:
                for name in shard.keys():  # noqa: SIM118 - the handle is not iterable
                    yield name, shard.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise InvalidModel(f"{file}: not readable as safetensors: {error}") from None


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
    special = {key: fields[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return special | dict(config.sampling_defaults)


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
        _save(shards[0], path / SINGLE_FILE)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _save(shard, path / file)
        weight_map |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in state.values())
    _write_json(path / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Raises OSError: also for what the library calls a full disk."""
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}; make room on its disk") from None


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
