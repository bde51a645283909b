"""Arithmetics of the engine whose weights take fewer bits: rows, norms, attention and sampling stay fp32.

Parts: `Weights` (how they may be held), `arithmetic_for`. What is small or decides much is held in full: norms, routers
of experts and low-rank adapters.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from archipel.engine.arithmetic import FloatArithmetic, Product
from archipel.engine.projection import Projection
from archipel.engine.quantised.epilogues import Epilogues
from archipel.engine.quantised.int8 import Int8Projection
from archipel.engine.quantised.rows import Rows, cut
from archipel.model.config import DecoderConfig

Weights = Literal["float32", "bfloat16", "int8", "int4"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)


class Full(Epilogues):
    """A float product, of as many rows as it needs for its bits not to depend on them."""

    def __init__(self, weight: Tensor, rows: int) -> None:
        self._product, self._rows = Projection(weight.float()), rows

    def __call__(self, x: Tensor | Rows) -> Tensor:
        """X W^T."""
        floats = x.floats if isinstance(x, Rows) else x
        num = floats.shape[0]
        if num >= self._rows:
            return self._product(floats)
        more = floats[-1:].expand(self._rows - num, -1)
        return self._product(torch.cat((floats, more))).narrow(0, 0, num)


class QuantisedArithmetic(FloatArithmetic):
    """Weights in 8 bits (`int8`)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config, torch.float32, torch.device("cpu"))
        self.embedding_dtype = torch.bfloat16

    def min_rows(self) -> int:
        """See `Arithmetic`: the products take any; attention has a matrix for each row and key head."""
        return -(-super().min_rows() // self.config.num_kv_heads)

    def projection(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        """See `Arithmetic`."""
        return Int8Projection(weight, bias)

    def full(self, weight: Tensor) -> Product:
        """See `Arithmetic`."""
        return Full(weight, super().min_rows())

    def fed(self, x: Tensor, norm: Tensor | None) -> Any:
        """See `Arithmetic`."""
        return cut(x) if norm is None else cut(x * norm, self.scales(x))
