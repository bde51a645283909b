"""Rows cut into integers of 14 bits: two digits each, so that bytes can multiply them.

x ~ scale * (BASE * high + low), with |high| <= 63 and |low| <= 64. One digit of 8 bits for a whole row is too coarse:
real models have rows whose largest number is sixteen times the usual one.
Law: a row's digits and scale depend on nothing but the row.
numpy computes them, whose operations begin sooner than torch's: rows are few, and what is between two products counts.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
BASE = np.float32(128)
TOP = np.float32(63) * BASE
"""What the largest number of a row becomes."""
_LEAST = np.float32(1e-30)
"""A row of zeros is divided by this."""
_PER_BASE, _PER_TOP = 1 / BASE, 1 / TOP


@dataclass(frozen=True)
class Rows:
    """Rows (N, in), ready for products of integers."""

    digits: Tensor
    """(2 N, in) fp32 integers: the high ones of all rows, then the low ones."""
    scale: Floats
    """(N, 1)."""
    source: Floats
    """What was cut, (N, in)."""
    factor: Floats | None
    """(N, 1) that was left out of `source`, but not of `scale`."""

    @cached_property
    def floats(self) -> Tensor:
        """As they were, (N, in) fp32."""
        whole = self.source if self.factor is None else self.source * self.factor
        return torch.from_numpy(whole)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """`floats.index_select`: what low-rank adapters ask for."""
        return self.floats.index_select(dim, index)


def cut(x: Floats, factor: Floats | None = None) -> Rows:
    """Rows x (N, in), times `factor` (N, 1) where there is one: a row's digits do not depend on it."""
    scale = np.abs(x).max(axis=-1, keepdims=True)
    scale *= _PER_TOP
    scale += _LEAST
    whole = x / scale
    digits = np.empty((2, *x.shape), dtype=np.float32)
    high, low = digits
    np.multiply(whole, _PER_BASE, out=high)
    np.rint(high, out=high)
    np.multiply(high, BASE, out=low)
    np.subtract(whole, low, out=low)
    # Rounded here: FBGEMM's own rounding differs between its vector lanes and its scalar tail.
    np.rint(low, out=low)
    if factor is not None:
        scale *= factor
    return Rows(torch.from_numpy(digits.reshape(-1, x.shape[-1])), scale, x, factor)


def joined(products: Tensor, scale: Floats) -> Tensor:
    """(N, out) of what both digits of rows gave, (2 N, out), which is overwritten."""
    whole = products.numpy()
    y, low = whole[: len(scale)], whole[len(scale) :]
    y *= BASE  # a power of two: exact
    y += low
    y *= scale
    return torch.from_numpy(y)
