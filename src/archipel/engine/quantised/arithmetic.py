"""Arithmetics of the engine whose weights take fewer bits: rows, norms, attention and sampling stay fp32.

Parts: `Weights` (how they may be held), `arithmetic_for`. What is small or decides much is held in full: norms, routers
of experts and low-rank adapters; the output layer is held in 8 bits at least. What is between products is numpy's,
whose operations begin sooner than torch's and round every number alike, wherever it lies.
"""

from functools import cache
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from archipel.engine.arithmetic import Arithmetic, FloatArithmetic, Gated, Product
from archipel.engine.projection import Projection
from archipel.engine.quantised import int4
from archipel.engine.quantised.epilogues import Epilogues
from archipel.engine.quantised.halves import HalfProjection, can_halve, rows_for
from archipel.engine.quantised.int8 import Int8Projection
from archipel.engine.quantised.rows import Floats, Rows, cut
from archipel.model.config import DecoderConfig

Weights = Literal["float32", "bfloat16", "int8", "int4"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
CPU = torch.device("cpu")
_ONE = np.float32(1)
_MATRICES = 2
"""One alone is another operation than several."""


class NotHeld(ValueError):
    """Weights cannot be held so on that device."""


def arithmetic_for(
    weights: Weights, config: DecoderConfig, device: torch.device = CPU
) -> Arithmetic:
    """Whose products are the quickest with weights that are held so.

    Raises:
        NotHeld: quantised weights, on another device than the processor.
    """
    if weights == "float32":
        return FloatArithmetic(config, torch.float32, device)
    if weights == "bfloat16":
        if device.type == "cpu" and not multiplies_bf16() and can_halve():
            return HalfArithmetic(config)
        return FloatArithmetic(config, torch.bfloat16, device)
    if device.type != "cpu":
        raise NotHeld(
            f"weights in {weights} are multiplied by the processor alone, and the device is {device}; "
            "choose --weights bfloat16, or leave --device out"
        )
    return (Int8Arithmetic if weights == "int8" else Int4Arithmetic)(config)


def quick_weights(device: torch.device) -> Weights:
    """What bf16 numbers are held as where nothing was asked for: two bytes, where products with them are quick."""
    if device.type == "cpu":
        return "bfloat16" if multiplies_bf16() or can_halve() else "float32"
    return "bfloat16" if device.type == "cuda" else "float32"


@cache
def multiplies_bf16() -> bool:
    """Whether this processor multiplies bf16 as such."""
    has_unit = bool(torch.cpu._is_avx512_bf16_supported())
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and has_unit


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


class FewerBits(FloatArithmetic):
    """What all of them share."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config, torch.float32, CPU)
        self.embedding_dtype = torch.bfloat16
        self._added = np.float32(config.norm_epsilon)

    def min_rows(self) -> int:
        """See `Arithmetic`: the products take any."""
        return self.min_attended()

    def min_attended(self) -> int:
        """See `Arithmetic`: with fewer matrices than threads, BLAS would split one; each row has one for each key head."""
        return -(-max(_MATRICES, torch.get_num_threads()) // self.config.num_kv_heads)

    def normed(self, x: Tensor, norm: Tensor) -> Tensor:
        """See `Arithmetic`."""
        y = x.numpy() * self._inverse_rms(x)
        y *= norm.numpy()
        return torch.from_numpy(y)

    def _inverse_rms(self, x: Tensor) -> Floats:
        """As `scales`."""
        found = torch.linalg.vector_norm(x, dim=-1, keepdim=True).numpy()
        found *= found
        found *= np.float32(1 / x.shape[-1])
        found += self._added
        np.sqrt(found, out=found)
        return np.divide(_ONE, found, out=found)

    def rotated(self, x: Tensor, rotations: Tensor) -> Tensor:
        """See `Arithmetic`."""
        held, turns = x.numpy(), rotations.numpy()
        y, half = held * turns[:, :1], held.shape[-1] // 2
        y[..., :half] += held[..., half:] * turns[:, 1:, :half]
        y[..., half:] += held[..., :half] * turns[:, 1:, half:]
        return torch.from_numpy(y)

    def held_as(self, weight: Tensor, bias: Tensor | None) -> Epilogues:
        """The product that `projection` gives."""
        raise NotImplementedError

    def projection(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        """See `Arithmetic`."""
        return self.held_as(weight, bias)

    def gated(self, gate: Tensor, up: Tensor) -> Gated:
        """See `Arithmetic`: a product has a cost of its own, whatever its size."""
        return self.held_as(torch.cat((gate, up)), None)

    def full(self, weight: Tensor) -> Product:
        """See `Arithmetic`."""
        return Full(weight, super().min_rows())


class HalfArithmetic(FewerBits):
    """Weights in bf16's numbers and two bytes (`halves`)."""

    def min_rows(self) -> int:
        """See `Arithmetic`: rows that no product has to fill up."""
        return rows_for(super().min_rows())

    def held_as(self, weight: Tensor, bias: Tensor | None) -> Epilogues:
        """See `FewerBits`."""
        return HalfProjection(weight, bias)


class Int8Arithmetic(FewerBits):
    """Weights in 8 bits (`int8`)."""

    def held_as(self, weight: Tensor, bias: Tensor | None) -> Epilogues:
        """See `FewerBits`."""
        return Int8Projection(weight, bias)

    def fed(self, x: Tensor, norm: Tensor | None) -> Any:
        """See `Arithmetic`."""
        if norm is None:
            return cut(x.numpy())
        return cut(x.numpy() * norm.numpy(), self._inverse_rms(x))


class Int4Arithmetic(FewerBits):
    """Weights in 4 bits (`int4`), those that do not divide into groups and the output layer in 8."""

    def held_as(self, weight: Tensor, bias: Tensor | None) -> Epilogues:
        """See `FewerBits`."""
        narrow = int4.fits(weight) and weight.shape[0] != self.config.vocab_size
        return (int4.Int4Projection if narrow else Int8Projection)(weight, bias)
