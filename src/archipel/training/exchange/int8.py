"""A byte for every value: each row against its own largest magnitude.

A row is the last dimension where that is 64 long or longer, else the whole tensor. Rows rather than tensors, because
rows differ (an embedding's rows of tokens that did not occur are zero): half the error for 4 bytes a row.
Law: scale = largest magnitude / 127 in float32, code = value / scale to the nearest integer, value = code x scale.
"""

from collections.abc import Iterator

import numpy as np

from archipel.training.exchange.codec import MAX_MAGNITUDE, MIN_PEAK, BadContribution
from archipel.training.exchange.table import num_values

MIN_ROW = 64
_LEVELS = np.float32(127)
_AT_ONCE = 2**18
"""Values that are worked on together, so that they stay near the processor."""


class Int8:
    """The form of `int8`: all scales (float32), then all codes (int8)."""

    def size(self, shape: tuple[int, ...]) -> int:
        """See `Form`."""
        num_rows, length = _rows(shape)
        return num_rows * (4 + length)

    def write(self, values: np.ndarray, out: np.ndarray) -> None:
        """See `Form`."""
        scales, codes = _split(out, values.shape)
        rows = values.reshape(codes.shape)
        for some in _runs(codes.shape):
            peak = np.abs(rows[some]).max(axis=1)
            scale = np.where(peak < MIN_PEAK, np.float32(0), peak / _LEVELS)
            scales[some] = scale
            divisor = np.where(scale > 0, scale, np.float32(1))
            codes[some] = np.rint(rows[some] / divisor[:, None])

    def read(
        self, data: np.ndarray, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Form`."""
        little_scales, codes = _split(data, shape)
        scales = little_scales.astype(np.float32)
        _check_scales(scales)
        values = np.empty(codes.shape, np.float32)
        for some in _runs(codes.shape):
            _check_codes(codes[some], scales[some])
            np.multiply(codes[some], scales[some, None], out=values[some])
        return values.reshape(shape), None


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    total = num_values(shape)
    length = shape[-1] if len(shape) > 1 and shape[-1] >= MIN_ROW else total
    return total // length, length


def _split(data: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    num_rows, length = _rows(shape)
    scales = data[: 4 * num_rows].view("<f4")
    return scales, data[4 * num_rows :].view(np.int8).reshape(num_rows, length)


def _runs(rows: tuple[int, ...]) -> Iterator[slice]:
    num_rows, length = rows
    step = max(1, _AT_ONCE // length)
    return (slice(start, start + step) for start in range(0, num_rows, step))


def _check_scales(scales: np.ndarray) -> None:
    low, high = np.float32(MIN_PEAK) / _LEVELS, np.float32(MAX_MAGNITUDE) / _LEVELS
    if not ((scales == 0) | ((scales >= low) & (scales <= high))).all():
        raise BadContribution(f"a scale is neither 0 nor from {low:.3g} to {high:.3g}")


def _check_codes(codes: np.ndarray, scales: np.ndarray) -> None:
    low, high = codes.min(axis=1), codes.max(axis=1)
    if low.min() == -128:
        raise BadContribution("a code is -128, expected -127 to 127")
    reached = np.maximum(high, -low)
    if not (reached == np.where(scales > 0, 127, 0)).all():
        raise BadContribution(
            "a row's largest code is not 127 in magnitude, or not 0 where its scale is 0"
        )
