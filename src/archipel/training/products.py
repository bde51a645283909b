"""Matrix products of training on a CPU, by the faster of the two libraries that torch carries.

For fp32, torch sends `F.linear` and its gradients to MKL, which on some processors leaves the widest
vector unit (AVX-512) unused; oneDNN, also inside torch, is about twice as fast there. Without that unit MKL is as
fast or up to a fifth faster. oneDNN's linear operator has no gradient of its own, so the two products of the backward
pass are written out here.
Law: the same fp32 arithmetic up to the order of additions; anywhere else this changes nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

MIN_ROWS = 128
"""With fewer rows the call costs more than the product gains."""


class FastLinear(TorchFunctionMode):
    """Inside this context `F.linear` takes the fast way wherever it may."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.linear and not kwargs and _may_use_onednn(args[0]):
            return _Linear.apply(*args, *(None,) * (3 - len(args)))
        return func(*args, **(kwargs or {}))


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """X W^T by the faster way, with its gradient; inside and outside of `FastLinear`."""
    return _Linear.apply(x, weight, None) if _may_use_onednn(x) else F.linear(x, weight)


def has_onednn() -> bool:
    """Whether this build of torch has the operator, and this processor the unit that makes it the faster one."""
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _may_use_onednn(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() >= MIN_ROWS * x.shape[-1]
        and has_onednn()
    )


def _product(rows_MK: Tensor, columns_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """Give rows columns^T + bias, (M, N)."""
    return torch.ops.mkldnn._linear_pointwise(rows_MK, columns_NK, bias_N, "none", [], "")


class _Linear(torch.autograd.Function):
    """y = x W^T + b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x_MK = x.reshape(-1, x.shape[-1])
        # A frozen weight asks for no product with x, which need then not be kept.
        ctx.save_for_backward(x_MK if ctx.needs_input_grad[1] else None, weight)
        return _product(x_MK, weight, bias).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x_MK, weight_NK = ctx.saved_tensors
        (gradient,) = gradients
        gradient_MN = gradient.reshape(-1, weight_NK.shape[0])
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        shape = (*gradient.shape[:-1], weight_NK.shape[1])
        return (
            _product(gradient_MN, weight_NK.t()).view(shape) if needs_x else None,
            _product(gradient_MN.t(), x_MK.t()) if needs_weight else None,
            gradient_MN.sum(0) if needs_bias else None,
        )
