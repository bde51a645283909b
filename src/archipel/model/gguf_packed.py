"""How the numbers of a GGUF file lie: as they are, in 16 bits, or quantised by the `gguf` library.

Parts: `packed`. Laws: norms, biases and whatever else is a vector stay float32, which llama.cpp asks for; of a file
of 4 bits, the embedding and the head have 8 (they suffer most, and the library packs nothing between); a matrix whose
rows do not divide into blocks keeps 16 bits; a number that 16 bits cannot hold is refused, never made infinite.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from archipel.extras import needs
from archipel.model.gguf_header import PACKINGS, CannotWrite, NoDequantiser

Kind = Literal["float32", "float16", "bfloat16", "q8_0", "q4_0"]
FILE_TYPES: dict[Kind, int] = {"float32": 0, "float16": 1, "q4_0": 2, "q8_0": 7, "bfloat16": 32}
"""What `general.file_type` says of such a file (llama.h, `llama_ftype`)."""
_NUMBERS = {packing.name: number for number, packing in PACKINGS.items()}
_OUTER = ("token_embd.weight", "output.weight")


@dataclass(frozen=True)
class Packed:
    """A tensor as it lies in the file."""

    shape: tuple[int, ...]
    """Of its numbers."""
    number: int
    """Of its packing, in the file."""
    data: "np.ndarray[Any, Any]"


def packed(name: str, tensor: Tensor, kind: Kind) -> Packed:
    """A float32 tensor, called `name` in the file, in a file of `kind`.

    Raises:
        CannotWrite: it holds a number beyond float16.
        NoDequantiser: it is to be quantised, and the library that knows how is not here.
    """
    shape = tuple(tensor.shape)
    if kind == "float32" or len(shape) < 2 or name.endswith("ffn_gate_inp.weight"):
        return Packed(shape, _NUMBERS["F32"], tensor.numpy())
    if kind == "bfloat16":
        return Packed(shape, _NUMBERS["BF16"], tensor.bfloat16().view(torch.int16).numpy())
    quantised = "Q8_0" if kind == "q8_0" or name in _OUTER else "Q4_0"
    if kind == "float16" or shape[-1] % PACKINGS[_NUMBERS[quantised]].numbers:
        halves = tensor.half()
        if not torch.isfinite(halves).all():
            raise CannotWrite(f"{name} holds a number beyond float16; write it as bfloat16")
        return Packed(shape, _NUMBERS["F16"], halves.numpy())
    return Packed(shape, _NUMBERS[quantised], _quantised(tensor, quantised, name))


def _quantised(tensor: Tensor, packing: str, name: str) -> "np.ndarray[Any, Any]":
    try:
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import quantize
    except ImportError:
        raise NoDequantiser(needs(f"writing {name} as {packing}", "gguf")) from None
    return quantize(tensor.numpy(), GGMLQuantizationType[packing])
