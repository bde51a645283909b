"""The weights of a GGUF file as tensors of our names, dequantised by the `gguf` library.

Parts: `weights_of`. Law: float32 and bfloat16 tensors keep every bit; the quantised ones are what the library
makes of them (float32); a tensor that the architecture does not know is refused by name.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from archipel.extras import needs
from archipel.model.config import DecoderConfig
from archipel.model.directory import expected_shapes
from archipel.model.gguf import expert_of, name_in_gguf
from archipel.model.gguf_header import BadGguf, Described, NoDequantiser

ROPE_FACTORS = "rope_freqs.weight"
"""How a llama's rotary frequencies are stretched: part of the configuration here."""
Tell = Callable[[int, int], None]
"""So many tensors of how many."""


def weights_of(
    data: memoryview,
    tensors: Mapping[str, Described],
    config: DecoderConfig,
    dtype: torch.dtype,
    tell: Tell,
) -> dict[str, Tensor]:
    """Every tensor of such a decoder, by our names, as `dtype`.

    Raises:
        BadGguf: tensors are missing, unknown, of another shape or not finite.
        NoDequantiser: some are quantised, and the library that knows how is not here.
    """
    shapes = expected_shapes(config)
    names = {name: name_in_gguf(name, config) for name in shapes}
    if unknown := sorted(tensors.keys() - set(names.values()) - {ROPE_FACTORS}):
        raise BadGguf(f"it has {unknown[0]}, which {config.family} here has not: another network")
    if missing := sorted(set(names.values()) - tensors.keys()):
        raise BadGguf(f"{len(missing)} tensors of {config.family} are missing, first {missing[0]}")
    state = {}
    for done, (name, shape) in enumerate(shapes.items()):
        tensor = _own(tensors[names[name]], name, config)
        if tensor.shape != shape:
            raise BadGguf(f"{tensor.name} has shape {tensor.shape}; expected {shape}")
        values = _parted(name, numbers_of(data, tensor), config).to(dtype)
        if not torch.isfinite(values).all():
            raise BadGguf(f"{tensor.name} holds numbers that are not finite")
        state[name] = values
        tell(done + 1, len(shapes))
    return state


def _own(tensor: Described, name: str, config: DecoderConfig) -> Described:
    """What of a file's tensor is called `name` here: all of it, or one expert's part.

    Raises:
        BadGguf: it does not hold as many experts as the file says.
    """
    expert = expert_of(name)
    if expert is None or config.experts is None:
        return tensor
    count, rows = config.experts.count, math.prod(tensor.shape[1:])
    if len(tensor.shape) != 3 or tensor.shape[0] != count or rows % tensor.packing.numbers:
        raise BadGguf(
            f"{tensor.name} has shape {tensor.shape}; expected {count} experts, each a matrix"
        )
    each = tensor.num_bytes // count
    return replace(tensor, shape=tensor.shape[1:], start=tensor.start + expert * each)


def numbers_of(data: memoryview, tensor: Described) -> Tensor:
    """One tensor's numbers, float32 or bfloat16.

    Raises:
        NoDequantiser: it is quantised, and the library that knows how is not here.
    """
    raw = np.frombuffer(data, np.uint8, tensor.num_bytes, tensor.start)
    kind = tensor.packing.name
    if kind == "F32":
        return torch.from_numpy(raw.view("<f4").reshape(tensor.shape).copy())
    if kind == "F16":
        return torch.from_numpy(raw.view("<f2").astype(np.float32).reshape(tensor.shape))
    if kind == "BF16":
        return torch.from_numpy(raw.view("<i2").reshape(tensor.shape).copy()).view(torch.bfloat16)
    try:
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import dequantize
    except ImportError:
        raise NoDequantiser(
            needs(f"reading {tensor.name}, which is quantised ({kind}),", "gguf")
        ) from None
    rows = raw.reshape(*tensor.shape[:-1], -1)
    return torch.from_numpy(dequantize(rows, GGMLQuantizationType[kind]).reshape(tensor.shape))


def _parted(name: str, values: Tensor, config: DecoderConfig) -> Tensor:
    """A llama's rotary pairs half a head apart, which lie side by side in the file."""
    if config.family != "llama" or not re.search(r"self_attn\.[qk]_proj", name):
        return values
    pairs = values.reshape(-1, config.head_dim // 2, 2, *values.shape[1:])
    return pairs.transpose(1, 2).reshape(values.shape).contiguous()
