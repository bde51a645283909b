"""Weights in 4 bits: groups of 32 neighbouring inputs share a scale and a zero, both bf16.

value = (q - 8) * scale + zero, q of 0 .. 15, from the smallest of the group to its largest, rounded to nearest. torch's own
product takes rows of bf16 and gives bf16, and its time grows with the rows: memory is the reason to hold weights so.
"""

import torch
from torch import Tensor

from archipel.engine.quantised.epilogues import Epilogues

GROUP = 32
LEVELS = 15
_MIDDLE = 8
_OUTPUTS = 16
"""The product takes multiples of so many."""
_TILES = 2
"""Of the packing: without meaning on a CPU, where it must still be said."""


def fits(weight: Tensor) -> bool:
    """Whether a weight (out, in) divides into groups, and its outputs into what the product takes."""
    outputs, inputs = weight.shape
    return inputs % GROUP == 0 and outputs % _OUTPUTS == 0


def quantise(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Integers (out, in) int32, scales and zeros (out, in / 32) bf16 of a weight (out, in)."""
    groups = weight.float().unflatten(1, (-1, GROUP))
    low, high = groups.aminmax(dim=2)
    scale = ((high - low) / LEVELS).bfloat16()
    zero = (low + _MIDDLE * scale.float()).bfloat16()
    steps = scale.float().clamp(min=torch.finfo(torch.float32).tiny)[..., None]
    q = ((groups - zero.float()[..., None]) / steps).round_().add_(_MIDDLE).clamp_(0, LEVELS)
    return q.flatten(1).to(torch.int32), scale, zero


def restored(q: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """The weight (out, in) fp32 that `quantise` stands for."""
    groups = (q - _MIDDLE).float().unflatten(1, (-1, GROUP))
    return (groups * scale.float()[..., None] + zero.float()[..., None]).flatten(1)


class Int4Projection(Epilogues):
    """See `engine.arithmetic.Product`; x is fp32."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """`weight` is one that `fits`."""
        q, scale, zero = quantise(weight)
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q, _TILES)
        self._scales = torch.stack((scale.t(), zero.t()), dim=-1).contiguous()
        self._bias = None if bias is None else bias.float()
        self._product = torch.ops.aten._weight_int4pack_mm_for_cpu.default

    def __call__(self, x: Tensor) -> Tensor:
        """X W^T + b."""
        # In fp32 rows the product has a reference path that is a hundred times slower.
        y = self._product(x.bfloat16(), self._packed, GROUP, self._scales).float()
        return y if self._bias is None else y.add_(self._bias)
