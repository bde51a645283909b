"""A linear layer whose weight is laid out once for the matrix unit, with its epilogue fused.

On x86, `F.linear` rearranges a plain weight on every call and fp32 goes to a slower library;
oneDNN with a prepacked weight reads the weight at memory speed (2 to 3 times faster for few rows;
`archipel bench engine` shows both). Elsewhere, and on GPUs, this is `F.linear`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def can_prepack(device: torch.device) -> bool:
    """Whether this build of torch has the prepacked products."""
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


class Projection:
    """x (N, in) -> (N, out), optionally with what always follows it."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._bias = bias
        self._packed = can_prepack(weight.device)
        self._weight = (
            torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
            if self._packed
            else weight.contiguous()
        )

    def __call__(self, x: Tensor) -> Tensor:
        """X W^T + b."""
        return self._unary(x, "none")

    def silu(self, x: Tensor) -> Tensor:
        """Silu(x W^T + b)."""
        return self._unary(x, "swish")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """X W^T + b + other."""
        return self._binary(x, other, "add")

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """(x W^T + b) * other, elementwise."""
        return self._binary(x, other, "mul")

    def _unary(self, x: Tensor, epilogue: str) -> Tensor:
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, epilogue, [], "")
        y = F.linear(x, self._weight, self._bias)
        # `F.silu` rounds its vector lanes and its scalar tail differently; these operators do not.
        return y / (1 + torch.exp(-y)) if epilogue == "swish" else y

    def _binary(self, x: Tensor, other: Tensor, epilogue: str) -> Tensor:
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise.binary(
                x, other, self._weight, self._bias, epilogue
            )
        y = F.linear(x, self._weight, self._bias)
        return y + other if epilogue == "add" else y * other
