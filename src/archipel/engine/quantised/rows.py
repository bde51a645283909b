"""Rows cut into integers of 14 bits: two digits each, so that bytes can multiply them.

x ~ scale * (BASE * high + low), with |high| <= 63 and |low| <= 64. One digit of 8 bits for a whole row is too coarse:
real models have rows whose largest number is sixteen times the usual one.
Law: a row's digits and scale depend on nothing but the row.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

BASE = 128.0
TOP = 63 * BASE
"""What the largest number of a row becomes."""
# Numbers would be made tensors at each call.
_LEAST = torch.tensor(1e-30)
"""A row of zeros is divided by this."""
_PER_BASE = torch.tensor(1 / BASE)


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
    # Not `vector_norm` of infinite order, which takes the numbers one by one.
    scale = torch.add(_LEAST, x.abs().amax(dim=-1, keepdim=True), alpha=1 / TOP)
    whole = x / scale
    digits = torch.empty(2, *x.shape)
    high, low = digits.unbind()
    torch.mul(whole, _PER_BASE, out=high).round_()
    # Rounded here: FBGEMM's own rounding differs between its vector lanes and its scalar tail.
    torch.sub(whole, high, alpha=BASE, out=low).round_()
    return Rows(digits.flatten(0, 1), scale if factor is None else scale.mul_(factor), x, factor)


def joined(products: Tensor, scale: Tensor) -> Tensor:
    """(N, out) of what both digits of rows gave, (2 N, out)."""
    high, low = products.view(2, -1, products.shape[1]).unbind()
    # A power of two: the product is exact, so it is all the same whether it is fused with the sum.
    return torch.add(low, high, alpha=BASE).mul_(scale)
