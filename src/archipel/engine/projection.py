"""A linear layer whose weight is laid out once for the matrix unit, with its epilogue fused.

On x86, `F.linear` rearranges a plain weight on every call and fp32 goes to a slower library;
oneDNN with a prepacked weight reads the weight at memory speed (2 to 3 times faster for few rows;
`archipel bench engine` shows both). Elsewhere, and on GPUs, this is `F.linear`.
Where oneDNN has no bf16 products for the processor (AVX2 alone), a bf16 weight is held as fp32, in
twice the memory, and the result is rounded to bf16 once, after its epilogue. torch's own bf16
product keeps the law there too, but is several times slower from 8 rows on; an fp32 `F.linear`
does not keep it.
Law: where weights are prepacked, a row's bits do not depend on the other rows, fp32 or bf16.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from archipel.model.devices import can_prepack


@cache
def has_bf16_products() -> bool:
    """Whether oneDNN multiplies bf16 here: AVX-NE-CONVERT, or AVX-512 with BW, VL and DQ."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


FEW_ROWS = 8
"""Up to here the fixed cost of a prepacked product exceeds what it saves on a small weight."""
_SMALL_INPUT = 192
"""Up to this length MKL, like oneDNN, adds up a sum in one run from first to last."""


class Projection:
    """x (N, in) -> (N, out), optionally with what always follows it."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, bf16_products: bool | None = None
    ) -> None:
        """Rows come and go in the weight's dtype, however it is held.

        `bf16_products` says whether oneDNN multiplies bf16; None asks `has_bf16_products`.
        """
        prepacks = can_prepack(weight.device)
        self._widened = False
        if prepacks and weight.dtype == torch.bfloat16:
            self._widened = not (has_bf16_products() if bf16_products is None else bf16_products)
        self._weight = self._widen(weight).contiguous()
        self._bias = None if bias is None else self._widen(bias)
        self._packed: Tensor | None = None
        self._few_rows = 0
        if prepacks:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self._weight, None)
            if self._weight.dtype == torch.float32 and plain_has_the_same_bits(
                *self._weight.shape, bias is not None, torch.get_num_threads()
            ):
                self._few_rows = FEW_ROWS
            else:
                # Only the prepacked copy is used from here on.
                self._weight = torch.empty(0)

    def __call__(self, x: Tensor) -> Tensor:
        """X W^T + b."""
        x = self._widen(x)
        return self._rounded(self._product(x) if self._is_plain(x) else self._fused(x, "none"))

    def silu(self, x: Tensor) -> Tensor:
        """Silu(x W^T + b)."""
        x = self._widen(x)
        if self._packed is not None:
            return self._rounded(self._fused(x, "swish"))
        y = self._product(x)
        # `F.silu` rounds its vector lanes and its scalar tail differently; these operators do not.
        return y / (1 + torch.exp(-y))

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """X W^T + b + other."""
        x, other = self._widen(x), self._widen(other)
        if self._is_plain(x):
            return self._rounded(self._product(x).add_(other))
        return self._rounded(self._fused_with(x, other, "add"))

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """(x W^T + b) * other, elementwise."""
        x, other = self._widen(x), self._widen(other)
        if self._is_plain(x):
            return self._rounded(self._product(x).mul_(other))
        return self._rounded(self._fused_with(x, other, "mul"))

    def _widen(self, x: Tensor) -> Tensor:
        return x.float() if self._widened else x

    def _rounded(self, y: Tensor) -> Tensor:
        return y.bfloat16() if self._widened else y

    def _is_plain(self, x: Tensor) -> bool:
        return self._packed is None or x.shape[0] <= self._few_rows

    def _product(self, x: Tensor) -> Tensor:
        return F.linear(x, self._weight, self._bias)

    def _fused(self, x: Tensor, epilogue: str) -> Tensor:
        return _linear(x, self._packed, self._bias, epilogue)

    def _fused_with(self, x: Tensor, other: Tensor, epilogue: str) -> Tensor:
        return _linear_with(x, other, self._packed, self._bias, epilogue)


@cache
def plain_has_the_same_bits(outputs: int, inputs: int, has_bias: bool, threads: int) -> bool:
    """Probe both libraries, once for each form: rows must not change when the batch grows beyond
    `FEW_ROWS`. In which order a library adds up depends on the form and `threads`, never on the values.
    """
    if inputs > _SMALL_INPUT:
        return False
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator)
    bias = torch.randn(outputs, generator=generator) if has_bias else None
    x = torch.randn(FEW_ROWS, inputs, generator=generator)
    other = torch.randn(FEW_ROWS, outputs, generator=generator)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return all(
        torch.equal(F.linear(x[:rows], weight, bias), _linear(x, packed, bias, "none")[:rows])
        and torch.equal(
            F.linear(x[:rows], weight, bias).add_(other[:rows]),
            _linear_with(x, other, packed, bias, "add")[:rows],
        )
        for rows in (4, 5, FEW_ROWS)
    )


def _linear(x: Tensor, packed: Tensor | None, bias: Tensor | None, epilogue: str) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(x, packed, bias, epilogue, [], "")


def _linear_with(
    x: Tensor, other: Tensor, packed: Tensor | None, bias: Tensor | None, epilogue: str
) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.binary(x, other, packed, bias, epilogue)
