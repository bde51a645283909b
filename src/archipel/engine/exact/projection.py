"""A linear layer of the exact contract (clause 3)."""

from functools import cache

import torch
from torch import Tensor

from archipel.engine.exact import whole
from archipel.engine.exact.backends import Packed, choose
from archipel.engine.exact.rows import Rows, cut, digits, quantise, quantise_by_length, scale_of
from archipel.engine.exact.tables import SIGMOID_REACH, SIGMOID_STEPS, tables
from archipel.engine.exact.variants import BASE, DIGIT, WHOLE_WEIGHT, Variant


class ExactProjection:
    """x (N, in) -> (N, out), with what follows it; x is f32, or rows that were quantised already."""

    def __init__(self, weight: Tensor, bias: Tensor | None, variant: Variant) -> None:
        """Quantise and lay out a weight (out, in).

        Raises:
            NoBackend: too many inputs, or a machine without exact products.
        """
        self._variant = variant
        self._bias = None if bias is None else bias.float()
        lay_out = _whole if variant.by_length else _in_digits
        self._parts, scale = lay_out(weight.float(), variant)
        self._scale = scale.view(-1)

    def __call__(self, x: Tensor | Rows) -> Tensor:
        """X W^T + b."""
        rows = x if isinstance(x, Rows) else cut(x, self._variant)
        y = self._product(rows).mul_(self._scale).mul_(rows.scale)
        return y if self._bias is None else y.add_(self._bias)

    def silu(self, x: Tensor | Rows) -> Tensor:
        """Silu(x W^T + b)."""
        return sigmoid_linear(self(x))

    def plus(self, x: Tensor | Rows, other: Tensor) -> Tensor:
        """X W^T + b + other."""
        return self(x).add_(other)

    def times(self, x: Tensor | Rows, other: Tensor) -> Tensor:
        """(x W^T + b) * other, elementwise."""
        return self(x).mul_(other)

    def _product(self, rows: Rows) -> Tensor:
        num = rows.num_rows
        stacked = rows.stacked(self._parts[0].form)
        y = self._parts[0].times(stacked)
        if rows.num_digits == 2:
            y, low = y[:num].mul_(BASE), y[num:]
            y.add_(low)
        if len(self._parts) == 2:
            y.add_(self._parts[1].times(stacked[:num]))
        return y


def _whole(weight: Tensor, variant: Variant) -> tuple[list[Packed], Tensor]:
    """One matrix of a weight (out, in), and its rows' scales."""
    outputs, inputs = weight.shape
    way = whole.choose(inputs, outputs, weight.device)
    q, scale = quantise_by_length(weight, WHOLE_WEIGHT)
    return [way.pack(q)], scale


def _in_digits(weight: Tensor, variant: Variant) -> tuple[list[Packed], Tensor]:
    """A matrix for each digit of a weight (out, in), and its rows' scales."""
    outputs, inputs = weight.shape
    largest = BASE if variant.activation_digits == 1 else DIGIT
    backend = choose(inputs, outputs, largest, weight.device)
    q, m = quantise(weight, variant.weight_top)
    parts = (q,) if variant.weight_digits == 1 else digits(q)
    return [backend.pack(part.to(torch.int8), largest) for part in parts], scale_of(m, DIGIT)


def sigmoid_linear(y: Tensor) -> Tensor:
    """Silu of y, in its place (5.4)."""
    place = (y * SIGMOID_STEPS).clamp_(-SIGMOID_REACH, SIGMOID_REACH).round_().add_(SIGMOID_REACH)
    # What is no number has no place of its own: any serves, as its product is no number either.
    place = place.to(torch.int32).clamp_(0, 2 * SIGMOID_REACH)
    sigmoids = _sigmoids(y.device).index_select(0, place.view(-1))
    return y.mul_(sigmoids.view(y.shape))


@cache
def _sigmoids(device: torch.device) -> Tensor:
    return torch.from_numpy(tables().sigmoid).to(device)
