"""bf16 weights in two bytes where the processor multiplies no bf16: as fp16 times a power of two, rows in fp32.

A weight's largest magnitude becomes 2^14 to 2^15, so that a bf16 number down to 2^-31 of it is kept exactly, and less is
off by at most 2^-39 of it. FBGEMM widens to fp32 as it multiplies, and reads half of what an fp32 product reads.
Law: FBGEMM splits rows into blocks, and adds up in another order in the smallest of them. Which numbers of rows have none of
those is measured; between them rows are filled up.
"""

import warnings
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from archipel.engine.quantised.epilogues import Epilogues

_LARGEST = 15
"""The largest weight is below 2 to this power."""
_BLOCK = 6
"""Rows of one block, where rows are many."""
_FURTHEST = 16
"""At most so many rows are added."""


class HalfProjection(Epilogues):
    """See `engine.arithmetic.Product`; x is fp32."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        weight = weight.bfloat16().float()
        factor = factor_of(weight)
        self._packed = _pack(weight * factor)
        self._bias = None if bias is None else bias.float() * factor
        self._factor = 1 / factor
        self._multiple = float(self._factor)

    def __call__(self, x: Tensor) -> Tensor:
        """X W^T + b."""
        return self._enlarged(x).mul_(self._factor)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """X W^T + b + other."""
        # A power of two: the product is exact, so it is all the same whether it is fused with the sum.
        return torch.add(other, self._enlarged(x), alpha=self._multiple)

    def _enlarged(self, x: Tensor) -> Tensor:
        """What comes out, still times the factor."""
        num = x.shape[0]
        more = rows_for(num) - num
        if not more:
            return _product(x, self._packed, self._bias)
        return _product(F.pad(x, (0, 0, 0, more)), self._packed, self._bias).narrow(0, 0, num)


def factor_of(weight: Tensor) -> Tensor:
    """The power of two, a scalar fp32, that makes the largest of these numbers fill fp16."""
    _, exponent = torch.frexp(weight.abs().max())
    # What is smaller still, or no number, is left as it is.
    return torch.ldexp(torch.ones(()), (_LARGEST - exponent).clamp_(-100, 100))


@cache
def can_halve() -> bool:
    """Whether this machine has the product, and numbers of rows between which it keeps a row's bits."""
    try:
        with warnings.catch_warnings():
            # Once in a process torch says that the product may go away: this is where that is found out.
            warnings.simplefilter("ignore")
            return all(rows_for(num) for num in (*range(1, 25), 119, 120, 121, 127, 256))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False


@cache
def rows_for(num: int) -> int:
    """Fewest rows, at least `num`, that are added up in the order that many rows are.

    Raises:
        RuntimeError: none was found, or this build has no such product.
    """
    for rows in range(num, num + _FURTHEST):
        if _keep_their_bits(rows):
            return rows
    raise RuntimeError(f"no number of rows from {num} on keeps a row's bits")


def _keep_their_bits(rows: int) -> bool:
    packed, bias = _probe()
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(-(-rows // _BLOCK) * _BLOCK, 72, generator=generator)
    expected = torch.cat([_product(block, packed, bias) for block in x.split(_BLOCK)])
    return torch.equal(_product(x[:rows], packed, bias), expected[:rows])


@cache
def _probe() -> tuple[Tensor, Tensor]:
    weight = torch.randn(24, 72, generator=torch.Generator().manual_seed(0))
    return _pack(weight), torch.zeros(24)


def _pack(weight: Tensor) -> Tensor:
    return torch.fbgemm_pack_gemm_matrix_fp16(weight)


def _product(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    return torch.fbgemm_linear_fp16_weight_fp32_activation(x, packed, bias)
