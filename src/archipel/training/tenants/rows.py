"""Whose rows a pass has, and products that keep them apart.

Parts: `Span` (one tenant's consecutive rows), `Company` (all of a pass), `Base` (a frozen product of the resident
model), `SharedLinear` (that, and every tenant's low-rank product beside its own rows).
Law: a row's bits hang on its own tenant's rows alone. The resident product is made by a prepacked weight, whose row
results do not hang on other rows (`engine.projection`), or, where there is none, in tiles of one size; a tenant's
own products are made over its rows alone, beginning at an aligned address, as they would be without company.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archipel.model.devices import can_prepack

TILE = 64
"""Rows of a resident product where weights are not prepacked."""
ALIGNED = 64
"""Bytes: how fresh tensors lie, and so what products over a part of one begin at."""


@dataclass(frozen=True)
class LowRank:
    """A tenant's product beside one layer, and where its gradient goes."""

    low_master: Tensor
    """Of A (r, in)."""
    high_master: Tensor
    """Of B (out, r)."""
    scale: float
    low_gradient: Tensor | None
    """Where A's is added; None: nothing is learned."""
    high_gradient: Tensor | None

    @property
    def low(self) -> Tensor:
        """A, as it is computed with; made anew each time, so that no tenant has a second copy of all its weights."""
        return rounded(self.low_master)

    @property
    def high(self) -> Tensor:
        """B, likewise."""
        return rounded(self.high_master)


def rounded(masters: Tensor) -> Tensor:
    """Bf16 values in fp32: what a pass computes with, as in `training.optimiser`."""
    return masters.to(torch.bfloat16).float()


@dataclass(frozen=True)
class Span:
    """Rows start..stop of a pass, all of one tenant's operation."""

    start: int
    stop: int
    products: Mapping[str, LowRank]
    """By layer."""


@dataclass
class Company:
    """The rows of the pass that is being made."""

    spans: Sequence[Span] = ()
    learns: bool = False
    """Whether there will be a backward pass."""


def own_rows(x_Nd: Tensor, span: Span) -> Tensor:
    """A tenant's rows, at an aligned address."""
    rows = x_Nd[span.start : span.stop]
    return rows if rows.data_ptr() % ALIGNED == 0 else rows.clone()


class Base:
    """x (N, in) -> (N, out) by a weight that never changes; no gradient of its own."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """weight: (out, in), fp32."""
        self._bias = None if bias is None else bias.detach().clone()
        self._packed = can_prepack(weight.device)
        weight = weight.detach().contiguous()
        self._weight = (
            torch.ops.mkldnn._reorder_linear_weight(weight, None) if self._packed else weight
        )

    def __call__(self, x: Tensor) -> Tensor:
        """X W^T + b."""
        if self._packed:
            found: Tensor = torch.ops.mkldnn._linear_pointwise.default(
                x, self._weight, self._bias, "none", [], ""
            )
            return found
        tiles = []
        for part in x.split(TILE):
            whole = F.pad(part, (0, 0, 0, TILE - part.shape[0]))
            tiles.append(F.linear(whole, self._weight, self._bias)[: part.shape[0]])
        return torch.cat(tiles)


class SharedLinear(nn.Module):
    """A linear layer of the resident model, and each tenant's low-rank product beside it."""

    def __init__(self, name: str, layer: nn.Linear, company: Company) -> None:
        """company: whose rows come; its owner changes it between passes."""
        super().__init__()
        self.name, self.company = name, company
        self.ahead = Base(layer.weight, layer.bias)
        self.back = Base(layer.weight.t())

    def forward(self, x: Tensor) -> Tensor:
        """(1, N, in) -> (1, N, out)."""
        found: Tensor = _Shared.apply(x.squeeze(0), self)
        return found.unsqueeze(0)


class _Shared(torch.autograd.Function):
    """y = x W^T + b + s (x A^T) B^T, the last by each tenant's A, B and s."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: SharedLinear) -> Tensor:
        x = x.contiguous()
        y, company = layer.ahead(x), layer.company
        for span in company.spans:
            add_product(y, x, span, layer.name)
        ctx.layer, ctx.spans = layer, company.spans
        ctx.save_for_backward(x if company.learns else None)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        dy = gradients[0].contiguous()
        dx = ctx.layer.back(dy)
        for span in ctx.spans:
            add_gradients(dx, dy, x, span, ctx.layer.name)
        return dx, None


def add_product(y: Tensor, x: Tensor, span: Span, layer: str) -> None:
    """Add a tenant's product to its rows of y (N, out)."""
    product = span.products.get(layer)
    if product is not None:
        low = F.linear(own_rows(x, span), product.low).mul_(product.scale)
        y[span.start : span.stop].add_(F.linear(low, product.high))


def add_gradients(dx: Tensor, dy: Tensor, x: Tensor, span: Span, layer: str) -> None:
    """Add what a tenant's product hands back to its rows of dx (N, in), and its own gradient where it goes."""
    product = span.products.get(layer)
    if product is None:
        return
    rows, slope, below = own_rows(x, span), own_rows(dy, span), product.low
    low_slope = torch.mm(slope, product.high).mul_(product.scale)
    dx[span.start : span.stop].add_(torch.mm(low_slope, below))
    if product.low_gradient is not None and product.high_gradient is not None:
        low = F.linear(rows, below).mul_(product.scale)
        product.low_gradient.add_(torch.mm(low_slope.t(), rows))
        product.high_gradient.add_(torch.mm(slope.t(), low))
