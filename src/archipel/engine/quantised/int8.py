"""Weights in 8 bits: each output's with one scale, its largest becoming 127 (rounded to nearest, ties to even).

Products are those of integers (`integers`), so that a row's bits do not depend on the rows beside it, nor on the
processor. The norm's factor 1 / rms never meets the digits.
"""

import torch
from torch import Tensor

from archipel.engine.quantised.epilogues import Epilogues
from archipel.engine.quantised.integers import MAX_INPUTS, WEIGHT, matrix
from archipel.engine.quantised.rows import Rows, cut, joined


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Integers (out, in) int8 and scales (out,) fp32 of a weight (out, in); weight ~ q * scale."""
    weight = weight.float()
    scale = weight.abs().amax(dim=1) / WEIGHT
    q = (weight / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round_()
    return q.clamp_(-WEIGHT, WEIGHT).to(torch.int8), scale


class Int8Projection(Epilogues):
    """See `engine.arithmetic.Product`; x is fp32, or rows that were cut already."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        if weight.shape[1] > MAX_INPUTS:
            raise ValueError(f"{weight.shape[1]} inputs; expected at most {MAX_INPUTS} for int8")
        self._matrix = matrix(*quantise(weight))
        self._bias = None if bias is None else bias.float()

    def __call__(self, x: Tensor | Rows) -> Tensor:
        """X W^T + b."""
        rows = x if isinstance(x, Rows) else cut(x.numpy())
        y = joined(self._matrix.times(rows.digits), rows.scale)
        return y if self._bias is None else y.add_(self._bias)
