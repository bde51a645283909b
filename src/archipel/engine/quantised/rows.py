"""Rows cut into integers of 14 bits: two digits each, so that bytes can multiply them.

x ~ scale * (BASE * high + low), with |high| <= 63 and |low| <= 64. One digit of 8 bits for a whole row is too coarse:
real models have rows whose largest number is sixteen times the usual one.
Law: a row's digits and scale depend on nothing but the row.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

BASE = 128.0
TOP = 63 * BASE
"""What the largest number of a row becomes."""
_LEAST = 1e-30
"""A row of zeros is divided by this."""


@dataclass(frozen=True)
class Rows:
    """Rows (N, in), ready for products of integers."""

    digits: Tensor
    """(2 N, in) fp32 integers: the high ones of all rows, then the low ones."""
    scale: Tensor
    """(N, 1) fp32."""
    source: Tensor
    """What was cut, (N, in) fp32."""
    factor: Tensor | None
    """(N, 1) that was left out of `source`, but not of `scale`."""

    @cached_property
    def floats(self) -> Tensor:
        """As they were, (N, in) fp32."""
        return self.source if self.factor is None else self.source * self.factor

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """`floats.index_select`: what low-rank adapters ask for."""
        return self.floats.index_select(dim, index)


def cut(x: Tensor, factor: Tensor | None = None) -> Rows:
    """Rows x (N, in) fp32, times `factor` (N, 1) where there is one: a row's digits do not depend on it."""
    num = x.shape[0]
    largest = torch.linalg.vector_norm(x, math.inf, dim=-1, keepdim=True).clamp_(min=_LEAST)
    whole = x * (TOP / largest)
    digits = torch.empty(2 * num, x.shape[1])
    high, low = digits.narrow(0, 0, num), digits.narrow(0, num, num)
    torch.mul(whole, 1 / BASE, out=high).round_()
    torch.sub(whole, high, alpha=BASE, out=low).round_()
    scale = largest.mul_(1 / TOP)
    return Rows(digits, scale if factor is None else scale.mul_(factor), x, factor)


def joined(products: Tensor, scale: Tensor) -> Tensor:
    """(N, out) of what both digits of rows gave, (2 N, out)."""
    num = products.shape[0] // 2
    high, low = products.narrow(0, 0, num), products.narrow(0, num, num)
    # A power of two: the product is exact, so it is all the same whether it is fused with the sum.
    return torch.add(low, high, alpha=BASE).mul_(scale)
