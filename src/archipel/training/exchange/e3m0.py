"""Four bits for every value: a sign and a power of two, in blocks of 256 against the block's largest magnitude.

Code: bit 3 is the sign, bits 0 to 2 the level L: 0 is zero, 1 to 7 are 2^(L-7) of the scale. The nearest power by
ratio is taken: log2(|x| / scale) + 7 to the nearest integer, below 2^-6.5 zero. (Streaming DiLoCo, arXiv 2501.18512,
sends pseudo-gradients in this number format.)
Law: the level comes from the bits of the float32 ratio and one addition, not from a library's logarithm, so that every
machine writes the same bytes.
"""

from collections.abc import Iterator

import numpy as np

from archipel.training.exchange.bits import packed_nibbles, refuse_padding
from archipel.training.exchange.codec import MAX_MAGNITUDE, MIN_PEAK, BadContribution
from archipel.training.exchange.table import num_values

BLOCK = 256
_AT_ONCE = 1024 * BLOCK
_UP = np.int32(0x800000 - 0x3504F4)
"""Added to a float32's bits it carries into the exponent from the first mantissa above the square root of 2 on."""
_MINUS_ZERO = 8
_LEVELS = np.array([0.0, *(2.0 ** (level - 7) for level in range(1, 8))], np.float32)
_VALUES = np.concatenate((_LEVELS, -_LEVELS)) + np.float32(0)
_BYTES = np.arange(256)
_PAIRS = np.stack((_VALUES[_BYTES & 15], _VALUES[_BYTES >> 4]), axis=1)
"""The two values of each byte, of a block whose scale is 1."""
_HAS_MINUS_ZERO = (_BYTES & 15 == _MINUS_ZERO) | (_BYTES >> 4 == _MINUS_ZERO)


class E3m0:
    """The form of `e3m0`: all scales (float32), then all codes, two in a byte, the first in the low bits."""

    def size(self, shape: tuple[int, ...]) -> int:
        """See `Form`."""
        total = num_values(shape)
        return 4 * _num_blocks(total) + (total + 1) // 2

    def write(self, values: np.ndarray, out: np.ndarray) -> None:
        """See `Form`."""
        flat = values.reshape(-1)
        scales, codes = _split(out, flat.size)
        for start, blocks in _runs(flat.size):
            some = flat[start : start + _AT_ONCE]
            whole = some if some.size % BLOCK == 0 else _filled(some)
            scale, nibbles = _coded(whole.reshape(-1, BLOCK))
            scales[blocks] = scale
            packed = packed_nibbles(nibbles.reshape(-1)[: some.size])
            codes[start // 2 : start // 2 + packed.size] = packed

    def read(
        self, data: np.ndarray, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Form`."""
        values = np.empty(num_values(shape), np.float32)
        little_scales, codes = _split(data, values.size)
        scales = little_scales.astype(np.float32)
        _check_scales(scales)
        refuse_padding(codes, 4 * values.size)
        for start, blocks in _runs(values.size):
            some = codes[start // 2 : (start + _AT_ONCE) // 2]
            if _HAS_MINUS_ZERO[some].any():
                raise BadContribution("a code is 8, a negative zero")
            units = _filled(_PAIRS[some].reshape(-1)).reshape(-1, BLOCK)
            _check_peaks(units, scales[blocks])
            wanted = values[start : start + _AT_ONCE]
            wanted[:] = (units * scales[blocks, None]).reshape(-1)[: wanted.size]
        return values.reshape(shape), None


def _num_blocks(total: int) -> int:
    return -(-total // BLOCK)


def _split(data: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
    end = 4 * _num_blocks(total)
    return data[:end].view("<f4"), data[end:]


def _runs(total: int) -> Iterator[tuple[int, slice]]:
    """First values, and the blocks from there on, that are worked on together."""
    for start in range(0, total, _AT_ONCE):
        yield start, slice(start // BLOCK, (start + _AT_ONCE) // BLOCK)


def _filled(values: np.ndarray) -> np.ndarray:
    """With zeros up to a whole block."""
    missing = -values.size % BLOCK
    return np.concatenate((values, np.zeros(missing, values.dtype))) if missing else values


def _coded(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    magnitudes = np.abs(blocks)
    peak = magnitudes.max(axis=1)
    scale = np.where(peak < MIN_PEAK, np.float32(0), peak)
    # Where all is zero, any divisor but a small one leaves every level 0.
    magnitudes /= np.where(scale > 0, scale, np.float32(1))[:, None]
    levels = ((magnitudes.view(np.int32) + _UP) >> 23) - 120
    nibbles = np.clip(levels, 0, 7).astype(np.uint8)
    nibbles |= ((blocks < 0) & (nibbles > 0)).astype(np.uint8) << np.uint8(3)
    return scale, nibbles


def _check_scales(scales: np.ndarray) -> None:
    if not ((scales == 0) | ((scales >= MIN_PEAK) & (scales <= MAX_MAGNITUDE))).all():
        raise BadContribution("a scale is neither 0 nor from 2^-100 to 2^40")


def _check_peaks(units: np.ndarray, scales: np.ndarray) -> None:
    reached = np.maximum(units.max(axis=1), -units.min(axis=1))
    if not (reached == (scales > 0)).all():
        raise BadContribution("a block reaches not its scale, or is not 0 where that is 0")
