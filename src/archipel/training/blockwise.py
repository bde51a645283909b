"""Numbers in a byte each: block-wise dynamic quantisation (Dettmers et al. 2021, arXiv 2110.02861, section 2).

A block is divided by its largest magnitude; what is left, in [-1, 1], becomes the nearest of at most 256 values that
lie dense near zero on a scale of powers of ten and even between two of them. Blocks lie within a row, so that rows that
are shared out among processes have the blocks of the whole.
Differences from the paper, each so that what was written and read again is written the same: both 1 and -1 have a
code, and a square that is not zero never becomes zero (a step is never divided by epsilon alone).
Law: a function of the numbers alone; `quantise(dequantise(q)) == q`, bit for bit.
"""

# ruff: noqa: N815 - shape suffixes: values_V

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

MAX_BLOCK = 256
MIN_BLOCK = 8
"""With fewer numbers to a scale the scales are what takes the memory."""
_POWERS = 7
"""Powers of ten that the values span."""
_DROPPED_BITS = 13
"""Of a float32, to look its code up: sign, exponent and ten bits of the fraction are left, finer than any two codes."""
_NUM_PLACES = 2 ** (32 - _DROPPED_BITS)
_LEAST = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Quantised:
    """Numbers of one shape, a byte each."""

    codes: Tensor
    """uint8, (..., C)."""
    scales: Tensor
    """float32, (..., C / block): the largest magnitude of each block."""


@dataclass(frozen=True)
class _Book:
    values_V: Tensor
    """float32, ascending."""
    codes_P: Tensor
    """uint8, by the upper bits of a float32, taken as a signed integer, from the lowest on."""


def block_of(shape: Sequence[int]) -> int | None:
    """Numbers to a scale for a tensor of this shape; None: it stays as it is (vectors, rows of odd length)."""
    if len(shape) < 2:
        return None
    columns = shape[-1]
    block = next((size for size in range(MAX_BLOCK, MIN_BLOCK - 1, -1) if columns % size == 0), 0)
    return block or None


def quantise(numbers: Tensor, block: int, *, signed: bool) -> Quantised:
    """Into codes and scales; `numbers` (..., C) float32, finite, C a multiple of `block`; overwritten."""
    blocks = numbers.unflatten(-1, (-1, block))
    scales = blocks.abs().amax(-1) if signed else blocks.amax(-1)
    blocks.div_(scales.clamp(min=_LEAST).unsqueeze(-1))
    places = (numbers.view(torch.int32) >> _DROPPED_BITS).add_(_NUM_PLACES // 2)
    codes = _book(signed, numbers.device).codes_P.index_select(0, places.flatten())
    return Quantised(codes.view(numbers.shape), scales)


def dequantise(stored: Quantised, block: int, *, signed: bool) -> Tensor:
    """(..., C) float32, a tensor that nobody else holds."""
    values_V = _book(signed, stored.codes.device).values_V
    numbers = values_V.index_select(0, stored.codes.flatten().int()).view(stored.codes.shape)
    numbers.unflatten(-1, (-1, block)).mul_(stored.scales.unsqueeze(-1))
    return numbers


@cache
def _book(signed: bool, device: torch.device) -> _Book:
    values_V = _values(signed)
    places_P = torch.arange(-_NUM_PLACES // 2, _NUM_PLACES // 2, dtype=torch.int32)
    middles_P = ((places_P << _DROPPED_BITS) + 2 ** (_DROPPED_BITS - 1)).view(torch.float32)
    between = (values_V[1:] + values_V[:-1]) / 2
    nearest_P = torch.bucketize(middles_P.double().nan_to_num(), between)
    if not signed:
        nearest_P = torch.where(places_P > 0, nearest_P.clamp(min=1), nearest_P)
    return _Book(values_V.float().to(device), nearest_P.to(torch.uint8).to(device))


def _values(signed: bool) -> Tensor:
    """Ascending, float64: 255 in [-1, 1], or 256 in [0, 1]."""
    positive = torch.cat(
        [_even(2 ** (i + (not signed)), 10.0 ** (i - _POWERS + 1)) for i in range(_POWERS)]
    )
    zero = torch.zeros(1, dtype=torch.float64)
    if not signed:
        return torch.cat((zero, positive, torch.ones_like(zero)))
    positive[-1] = 1.0
    return torch.cat((-positive.flip(0), zero, positive))


def _even(count: int, scale: float) -> Tensor:
    """Middles of `count` equal parts of [0.1, 1], times `scale`."""
    edges = torch.linspace(0.1, 1.0, count + 1, dtype=torch.float64)
    return scale * (edges[1:] + edges[:-1]) / 2
