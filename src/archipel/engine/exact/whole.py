"""Who may multiply rows that were cut by their length, in one product (clause 3.5).

Parts: the ways (`HalvesWay`, `FloatsWay`, `DoublesWay`), `proven`, `choose`. A way multiplies whole rows (R, K) by a
matrix (M, K) into f32 (R, M). Law: the lengths multiply to at most 2^24, so every partial sum in any order is an
integer that f32 holds, whether a product is rounded before it is added or not; every way answers a known vector,
or is not used.
"""

from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from archipel.engine.exact.backends import MAX_INPUTS, SMALL, Floats, NoBackend, Packed
from archipel.engine.exact.rows import Form
from archipel.engine.exact.variants import LENGTH, WHOLE_WEIGHT


class Way(Protocol):
    """One way to multiply."""

    name: str

    def pack(self, whole: Tensor) -> Packed:
        """Lay out a matrix (M, K) of integers, held as f32."""


class HalvesWay:
    """FBGEMM's f32 product with a matrix kept as f16, which holds every integer up to 2048: half to read."""

    name = "float16"

    def pack(self, whole: Tensor) -> Packed:
        """See `Way`."""
        return _Halves(whole)


class _Halves:
    form: Form = "floats"

    def __init__(self, whole: Tensor) -> None:
        quantised, before = torch.backends.quantized, torch.backends.quantized.engine
        self._product = torch.ops.quantized.linear_dynamic_fp16.default
        quantised.engine = "fbgemm"  # of the process, while this one matrix is packed
        try:
            self._packed = torch.ops.quantized.linear_prepack_fp16(whole.contiguous(), None)
        finally:
            quantised.engine = before

    def times(self, rows: Tensor) -> Tensor:
        """See `Packed`."""
        product: Tensor = self._product(rows, self._packed)
        return product


class FloatsWay:
    """An f32 product."""

    name = "float32"

    def pack(self, whole: Tensor) -> Packed:
        """See `Way`."""
        return Floats(whole)


class DoublesWay:
    """An f64 product, where f32 is computed with fewer bits."""

    name = "float64"

    def pack(self, whole: Tensor) -> Packed:
        """See `Way`."""
        return Floats(whole.double())


WAYS: tuple[Way, ...] = (HalvesWay(), FloatsWay(), DoublesWay())
"""The fastest first."""


@cache
def proven(device: torch.device) -> tuple[Way, ...]:
    """The ways that answer the known vectors exactly on this machine, the fastest first."""
    return tuple(each for each in WAYS if _answers_exactly(each, device))


def choose(inputs: int, outputs: int, device: torch.device) -> Way:
    """The fastest proven way for a matrix (outputs, inputs).

    Raises:
        NoBackend: none was proven, or so many inputs are not allowed.
    """
    ways = proven(device) if inputs <= MAX_INPUTS else ()
    if not ways:
        raise NoBackend(
            f"no exact product of {inputs} inputs on this machine ({device}): expected at most "
            f"{MAX_INPUTS} inputs, and one of {', '.join(each.name for each in WAYS)} to pass its known vector"
        )
    small = [each for each in ways if each.name == "float32"] if inputs * outputs <= SMALL else []
    return (small or list(ways))[0]


def _answers_exactly(way: Way, device: torch.device) -> bool:
    try:
        return all(_is_exact(way, *case, device) for case in _CASES)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False  # this build or processor has no such product


_CASES = ((1, 64), (3, 576), (5, 1000), (17, 2113), (33, 4224), (4, 16), (2, 8192))
"""Rows and inputs: about every limit at which a library changes its way."""


def _is_exact(way: Way, rows: int, inputs: int, device: torch.device) -> bool:
    """Random rows, and rows along the outputs, whose sums come near to 2^24, some of them odd."""
    generator = np.random.Generator(np.random.Philox(key=[inputs, rows]))
    w = _as_long_as_can_be(generator.standard_normal((48, inputs)), WHOLE_WEIGHT)
    x = _as_long_as_can_be(generator.standard_normal((rows, inputs)), LENGTH)
    w[1], w[2, ::2] = -w[0], 0
    x[0], x[-1] = w[0], w[2]
    x[0, 0] ^= 1
    if rows > 2:  # a number of 12 bits, where others have 11
        x[1] = 0
        x[1, 0], x[1, -1] = 3999, 857
    expected = (x[:, None, :] * w[None]).sum(-1)
    packed = way.pack(torch.from_numpy(w.astype(np.float32)).to(device))
    found = packed.times(torch.from_numpy(x.astype(np.float32)).to(device))
    return bool(np.array_equal(found.cpu().numpy(), expected))


def _as_long_as_can_be(rows: np.ndarray, top: int) -> np.ndarray:
    """Integers (R, K) whose length is just below 4096, of which none is larger than `top`."""
    room = LENGTH - 1 - np.sqrt(rows.shape[1]) / 2
    length = np.sqrt(np.square(rows).sum(-1, keepdims=True))
    scale = np.minimum(room / length, top / np.abs(rows).max(-1, keepdims=True))
    return np.rint(rows * scale).astype(np.int64)
