"""What follows a product, as operations of their own."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_LANES = 32
"""Numbers of which torch's vector loops leave none over."""
_GRAIN = 32_768
"""Up to so many numbers torch does not part an operation between threads."""


class Epilogues:
    """Everything of a `Product` but the product; results may be overwritten."""

    def __call__(self, x: Any) -> Tensor:
        """X W^T + b, newly allocated."""
        raise NotImplementedError

    def silu(self, x: Any) -> Tensor:
        """Silu(x W^T + b)."""
        return silu(self(x))

    def glu(self, x: Any) -> Tensor:
        """Silu of the first half of x W^T + b times the second."""
        y = self(x)
        half = y.shape[1] // 2
        return silu(y.narrow(1, 0, half)).mul_(y.narrow(1, half, half))

    def plus(self, x: Any, other: Tensor) -> Tensor:
        """X W^T + b + other."""
        return self(x).add_(other)

    def times(self, x: Any, other: Tensor) -> Tensor:
        """(x W^T + b) * other, elementwise."""
        return self(x).mul_(other)


def silu(y: Tensor) -> Tensor:
    """Silu of rows (N, out), which may lie apart: a number's bits do not depend on its place."""
    rows, width = y.shape
    if width % _LANES or width > _GRAIN:
        # `F.silu` rounds its vector lanes and its scalar tail differently; these operators do not.
        return y / torch.neg(y).exp_().add_(1)
    if rows * width <= _GRAIN:
        return F.silu(y)
    return torch.cat([F.silu(some) for some in y.split(_GRAIN // width)])
