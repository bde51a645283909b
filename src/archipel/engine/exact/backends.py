"""Who may multiply integers here: every backend answers a known vector exactly, or is not used (clause 3).

Parts: `Backend` and its four forms, `proven` (those of this machine that passed), `choose`. A backend
multiplies rows of digits (R, K) by a matrix of digits (M, K) into f32 (R, M): the exact integers, each
rounded once.
"""

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from archipel.engine.exact.rows import Form
from archipel.engine.exact.variants import DIGIT

MAX_INPUTS = 131_072
"""Beyond this many inputs, 255 x 63 for each of them could leave 32 bits."""
_EXACT = 1 << 24
"""Integers up to here are f32."""


class NoBackend(RuntimeError):
    """No way to multiply integers exactly on this machine."""


class Packed(Protocol):
    """One matrix, laid out."""

    form: Form

    def times(self, rows: Tensor) -> Tensor:
        """Rows (R, K) in this form -> (R, M) f32."""


class Backend(Protocol):
    """One way to multiply."""

    name: str

    def can_take(self, inputs: int, largest: int) -> bool:
        """Whether sums of `inputs` products of digits up to `largest` and 63 are exact."""

    def pack(self, digits: Tensor, largest: int) -> Packed:
        """Lay out a matrix (M, K) of int8 digits, for rows of digits up to `largest`."""


class BytesBackend:
    """OneDNN's product of u8 and s8: the sums are 32-bit integers."""

    name = "onednn"

    def can_take(self, inputs: int, largest: int) -> bool:
        """See `Backend`."""
        return inputs <= MAX_INPUTS and largest <= 127

    def pack(self, digits: Tensor, largest: int) -> Packed:
        """See `Backend`."""
        return _Bytes(digits, largest)


class _Bytes:
    form: Form = "bytes"

    def __init__(self, digits: Tensor, largest: int) -> None:
        num, inputs = digits.shape
        self._packed = torch.ops.onednn.qlinear_prepack(digits, None)
        self._ones = torch.ones(num)
        self._zeros = torch.zeros(num, dtype=torch.int64)
        # The rows are shifted by 128. Where all that remains f32, taking the shift off again is an
        # epilogue; else the library's own correction reads the whole matrix at each call.
        self._shift, self._bias = 128, None
        if inputs * (128 + largest) * DIGIT < _EXACT:
            self._shift = 0
            self._bias = digits.sum(1, dtype=torch.int32).mul_(-128).float()

    def times(self, rows: Tensor) -> Tensor:
        """See `Packed`."""
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, self._shift, self._packed, self._ones, self._zeros, self._bias, 1.0, 0,
            torch.float32, "none", [], "",
        )  # fmt: skip
        return product


class PackedBytesBackend:
    """FBGEMM's product of u8 and s8, which shifts and converts the rows itself: least to do for few rows.

    Its sums of two neighbours have 16 bits and saturate; 2 x 255 x 63 fits.
    """

    name = "fbgemm"

    def can_take(self, inputs: int, largest: int) -> bool:
        """See `Backend`."""
        return inputs <= MAX_INPUTS and largest <= 127

    def pack(self, digits: Tensor, largest: int) -> Packed:
        """See `Backend`."""
        return _PackedBytes(digits)


class _PackedBytes:
    form: Form = "floats"

    def __init__(self, digits: Tensor) -> None:
        self._product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default
        quantised, before = torch.backends.quantized, torch.backends.quantized.engine
        quantised.engine = "fbgemm"  # of the process, while this one matrix is packed
        try:
            with warnings.catch_warnings():
                # Where torch no longer has such tensors, another backend multiplies.
                warnings.simplefilter("ignore")
                whole = torch._make_per_tensor_quantized_tensor(digits, 1.0, 0)
                self._packed = torch.ops.quantized.linear_prepack(whole, None)
        finally:
            quantised.engine = before

    def times(self, rows: Tensor) -> Tensor:
        """See `Packed`."""
        product: Tensor = self._product(rows, 1.0, 128, self._packed)
        return product


class FloatsBackend:
    """An f32 product of integers so small that every partial sum is one, too."""

    name = "float32"

    def can_take(self, inputs: int, largest: int) -> bool:
        """See `Backend`."""
        return inputs * largest * DIGIT < _EXACT

    def pack(self, digits: Tensor, largest: int) -> Packed:
        """See `Backend`."""
        return Floats(digits.float())


class DoublesBackend:
    """As `FloatsBackend` in f64: slow, and without limits that matter."""

    name = "float64"

    def can_take(self, inputs: int, largest: int) -> bool:
        """See `Backend`."""
        return inputs <= MAX_INPUTS

    def pack(self, digits: Tensor, largest: int) -> Packed:
        """See `Backend`."""
        return Floats(digits.double())


class Floats:
    """A matrix of integers, in the type in which it multiplies."""

    form: Form = "floats"

    def __init__(self, digits: Tensor) -> None:
        self._transposed = digits.t().contiguous()

    def times(self, rows: Tensor) -> Tensor:
        """See `Packed`."""
        return torch.mm(rows.to(self._transposed.dtype), self._transposed).float()


def choose(inputs: int, outputs: int, largest: int, device: torch.device) -> Backend:
    """The fastest proven backend for a matrix (outputs, inputs) and digits up to `largest`.

    Raises:
        NoBackend: none was proven, or none takes so many inputs.
    """
    fitting = [each for each in proven(device) if each.can_take(inputs, largest)]
    if not fitting:
        raise NoBackend(
            f"no exact product of {inputs} inputs on this machine ({device}): expected at most "
            f"{MAX_INPUTS} inputs, and one of {', '.join(each.name for each in BACKENDS)} to pass its known vector"
        )
    names = [each.name for each in fitting]
    if inputs * outputs <= SMALL and "float32" in names:
        return fitting[names.index("float32")]
    return fitting[0]


SMALL = 65_536
"""Up to this many weights, the fixed cost of the bytes' product is more than it saves."""
BACKENDS: tuple[Backend, ...] = (
    PackedBytesBackend(), BytesBackend(), FloatsBackend(), DoublesBackend(),
)  # fmt: skip
"""The fastest first."""


@cache
def proven(device: torch.device) -> tuple[Backend, ...]:
    """The backends that answer the known vectors exactly on this machine, the fastest first."""
    return tuple(each for each in BACKENDS if _answers_exactly(each, device))


def _answers_exactly(backend: Backend, device: torch.device) -> bool:
    try:
        return all(
            _is_exact(backend, *case, device) for case in _CASES if backend.can_take(*case[1:])
        )
    except (RuntimeError, AttributeError, NotImplementedError):
        return False  # this build or processor has no such product


_CASES: Sequence[tuple[int, int, int]] = (
    (1, 64, 63), (3, 64, 127), (5, 1000, 127), (17, 2113, 63), (33, 4224, 63), (2, 8192, 127),
    (1, 576, 127), (4, 16, 127),
)  # fmt: skip
"""Rows, inputs and largest digit: about every limit at which a library changes its way."""


def _is_exact(backend: Backend, rows: int, inputs: int, largest: int, device: torch.device) -> bool:
    """Random digits, and rows where all of them saturate with one sign or another."""
    generator = np.random.Generator(np.random.Philox(key=[inputs, rows]))
    x = generator.integers(-largest, largest + 1, (rows, inputs))
    w = generator.integers(-DIGIT, DIGIT + 1, (48, inputs))
    x[0], w[0], w[1] = largest, DIGIT, -DIGIT
    x[-1, ::2], w[2, ::2] = -largest, DIGIT
    expected = (x[:, None, :] * w[None]).sum(-1).astype(np.float32)  # one rounding, ties to even
    packed = backend.pack(torch.from_numpy(w.astype(np.int8)).to(device), largest)
    floats = torch.from_numpy(x.astype(np.float32)).to(device)
    given = floats if packed.form == "floats" else (floats + 128).to(torch.uint8)
    return bool(np.array_equal(packed.times(given).cpu().numpy(), expected))
