"""What follows a product, as operations of their own."""

from typing import Any

import torch
from torch import Tensor


class Epilogues:
    """Everything of a `Product` but the product; results may be overwritten."""

    def __call__(self, x: Any) -> Tensor:
        """X W^T + b, newly allocated."""
        raise NotImplementedError

    def silu(self, x: Any) -> Tensor:
        """Silu(x W^T + b)."""
        y = self(x)
        # `F.silu` rounds its vector lanes and its scalar tail differently; these operators do not.
        return y.div_(torch.neg(y).exp_().add_(1))

    def plus(self, x: Any, other: Tensor) -> Tensor:
        """X W^T + b + other."""
        return self(x).add_(other)

    def times(self, x: Any, other: Tensor) -> Tensor:
        """(x W^T + b) * other, elementwise."""
        return self(x).mul_(other)
