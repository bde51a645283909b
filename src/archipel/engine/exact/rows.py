"""Rows as integers: one scale for a row, one or two digits for a number (clauses 1.4, 1.5, 4.1).

Shapes: a row is the last dimension.
"""

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from archipel.engine.exact.variants import BASE, LENGTH, Variant

SMALLEST = 2.0**-60
"""Below this, a row counts as zeros."""
FINE_TOP = 32767
"""Of the copy from which a row's length is taken."""

Form = Literal["floats", "bytes"]


@cache
def number(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A constant as a tensor.

    A plain number divided by a tensor would be the reciprocal, rounded, times the number; and some
    devices divide by a plain number in the same way.
    """
    return torch.tensor(value, dtype=dtype, device=device)


def quantise(x: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Integers within -top .. top, held as f32 like `x`, and the largest magnitude m (..., 1)."""
    m = x.abs().amax(-1, keepdim=True).clamp_min_(SMALLEST)
    return (x * torch.div(number(top, x.dtype, x.device), m)).round_(), m


def scale_of(m: Tensor, top: int) -> Tensor:
    """What one step of a row's integers is worth."""
    return torch.div(m, number(top, m.dtype, m.device))


def quantise_by_length(x: Tensor, top: int | None = None) -> tuple[Tensor, Tensor]:
    """Integers whose squares sum up to at most 4096^2, held as f32 like `x`, and their scale (..., 1).

    With `top`, none is larger than that. A row that is not finite has no number for a scale.
    """
    fine, m = quantise(x, FINE_TOP)
    squares = _squares(fine)
    room = number(room_of(x.shape[-1]), torch.float64, x.device)
    factor = torch.div(room, squares.clamp_min_(1).sqrt_()).float()
    if top is not None:
        factor.clamp_(max=top / FINE_TOP)
    return fine.mul_(factor).round_(), scale_of(m, FINE_TOP).div_(factor)


def room_of(width: int) -> int:
    """What rounding leaves of the length, in a row of `width` numbers: each moves by at most a half."""
    return LENGTH - 1 - (math.isqrt(width - 1) + 2) // 2


def digits(q: Tensor) -> tuple[Tensor, Tensor]:
    """High and low digit of integers within -8001 .. 8001."""
    base = number(BASE, q.dtype, q.device)
    high = torch.div(q, base).round_()
    return high, q - high * base


def _squares(q: Tensor) -> Tensor:
    """Sums of squares (..., 1) f64 of integers: below 2^53, in any order."""
    wide = q.double()
    return wide.mul_(wide).sum(-1, keepdim=True)


def inverse_rms(x: Tensor, epsilon: Tensor) -> Tensor:
    """1 / root mean square of each row, (..., 1) f32; epsilon is an f64 number."""
    q, m = quantise(x, FINE_TOP)
    squares = _squares(q)
    unit = scale_of(m.double(), FINE_TOP)
    mean = squares.mul_(unit * unit).div_(number(x.shape[-1], torch.float64, x.device))
    root = mean.add_(epsilon).sqrt_()
    return torch.div(number(1.0, torch.float64, x.device), root).float()


@dataclass
class Rows:
    """N rows of K activations, ready for a product; several products may share them."""

    q: Tensor
    """(N, K) f32 integers."""
    scale: Tensor
    """(N, 1) f32."""
    num_digits: int
    _stacked: dict[Form, Tensor] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """N."""
        return self.q.shape[0]

    def stacked(self, form: Form) -> Tensor:
        """High digits above low digits, (digits * N, K): `floats`, or `bytes` (each digit + 128, u8)."""
        if form not in self._stacked:
            if form == "bytes":
                self._stacked[form] = self.stacked("floats").add(128).to(torch.uint8)
            else:
                self._stacked[form] = self.q if self.num_digits == 1 else self._digits()
        return self._stacked[form]

    def _digits(self) -> Tensor:
        """As `digits`, one above the other."""
        q, num = self.q, self.num_rows
        base = number(BASE, q.dtype, q.device)
        both = torch.empty(2 * num, q.shape[1], dtype=q.dtype, device=q.device)
        high = torch.div(q, base, out=both[:num]).round_()
        torch.sub(q, high * base, out=both[num:])
        return both


def rows_of(x: Tensor, top: int, factor: Tensor | None = None) -> Rows:
    """Quantise activations; `factor` (N, 1) is folded into their scale."""
    q, m = quantise(x, top)
    scale = scale_of(m, top)
    return Rows(q, scale if factor is None else scale * factor, 1 if top == BASE else 2)


def cut(x: Tensor, variant: Variant, factor: Tensor | None = None) -> Rows:
    """Activations as this variant's products take them."""
    if not variant.by_length:
        return rows_of(x, variant.activation_top, factor)
    q, scale = quantise_by_length(x)
    return Rows(q, scale if factor is None else scale.mul_(factor), 1)
