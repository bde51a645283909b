"""Products of rows of small integers with a matrix of bytes: every sum is the integer itself, rounded to fp32 once.

On x86 FBGEMM multiplies u8 by s8 at the speed at which it reads the matrix. Its sums of two neighbours have 16 bits
and saturate where the processor has no VNNI: rows of at most `DIGIT` leave room for weights of a whole byte.
Law: a row's result depends on nothing but the row. What a library answers is compared with the integers before it is
used; where it fails, torch multiplies them as float64.
"""

import warnings
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

DIGIT = 64
"""Largest magnitude of what a row holds: 2 x (DIGIT + 64) x 127 fits 16 bits."""
WEIGHT = 127
"""Largest magnitude of what the matrix holds."""
MAX_INPUTS = 100_000
"""2 x DIGIT x WEIGHT for each of them fits 32 bits."""


class Matrix(Protocol):
    """Integers (out, in), each row with its scale."""

    def times(self, digits: Tensor) -> Tensor:
        """Rows of integers (N, in), as fp32 -> (N, out) fp32, scaled."""


class Packed:
    """As FBGEMM wants it."""

    def __init__(self, q: Tensor, scale: Tensor) -> None:
        self._product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default
        zeros = torch.zeros(len(q), dtype=torch.int64)
        quantised, before = torch.backends.quantized, torch.backends.quantized.engine
        quantised.engine = "fbgemm"  # of the process, while this one matrix is packed
        try:
            with warnings.catch_warnings():
                # Where torch no longer has such tensors, `proven` finds that out.
                warnings.simplefilter("ignore")
                whole = torch._make_per_channel_quantized_tensor(q, scale.double(), zeros, 0)
                self._packed = torch.ops.quantized.linear_prepack(whole, None)
        finally:
            quantised.engine = before

    def times(self, digits: Tensor) -> Tensor:
        """See `Matrix`."""
        return self._product(digits, 1.0, DIGIT, self._packed)


class Plain:
    """For machines without such a library: exact and slow."""

    def __init__(self, q: Tensor, scale: Tensor) -> None:
        self._q, self._scale = q, scale.float()

    def times(self, digits: Tensor) -> Tensor:
        """See `Matrix`."""
        sums = torch.mm(digits.double(), self._q.double().t())
        return sums.float().mul_(self._scale)


def matrix(q: Tensor, scale: Tensor) -> Matrix:
    """Lay out integers (out, in) int8 with a scale (out,) for each row."""
    return Packed(q, scale) if proven() else Plain(q, scale)


@cache
def proven() -> bool:
    """Whether FBGEMM answers known vectors exactly on this machine."""
    try:
        return all(_is_exact(*case) for case in _CASES)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False  # this build or processor has no such product


_CASES = ((1, 64), (2, 576), (3, 1000), (8, 130), (17, 2113), (34, 4224))
"""Rows and inputs: about every limit at which the library changes its way."""


def _is_exact(rows: int, inputs: int) -> bool:
    """Random integers, and rows where all of them are largest with one sign or another."""
    generator = np.random.Generator(np.random.Philox(key=[inputs, rows]))
    x = generator.integers(-DIGIT, DIGIT + 1, (rows, inputs))
    w = generator.integers(-WEIGHT, WEIGHT + 1, (48, inputs))
    x[0], w[0], w[1] = DIGIT, WEIGHT, -WEIGHT
    x[-1, ::2], w[2, ::2] = -DIGIT, WEIGHT
    expected = (x[:, None, :] * w[None]).sum(-1).astype(np.float32)  # one rounding, ties to even
    packed = Packed(torch.from_numpy(w.astype(np.int8)), torch.ones(48))
    return bool(np.array_equal(packed.times(torch.from_numpy(x.astype(np.float32))), expected))
