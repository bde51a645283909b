"""The largest values of each tile, in about 10 bits: 8 for where, 2 for which of the tensor's four levels.

The levels are the tensor's own: of the kept values below zero, and of those above, the larger ones and the rest, each
as its mean, parted in a few of Lloyd's steps. SparseLoCo (arXiv 2508.15706) puts four even steps around the mean of
all; large values lie on two sides with nothing between, and two levels a side lose half as much (decision 0083).
A tensor that is not cut into tiles is sent whole by `int8`.
Law: exactly the largest are kept; sums are added one after the other in float64, the same bits on every machine.
"""

from dataclasses import dataclass, field

import numpy as np

from archipel.training.exchange.ascending import (
    num_index_bytes,
    packed_indices,
    unpacked_indices,
)
from archipel.training.exchange.bits import num_bytes, packed, unpacked
from archipel.training.exchange.codec import MAX_MAGNITUDE, MIN_PEAK, BadContribution
from archipel.training.exchange.int8 import Int8
from archipel.training.exchange.tiles import MAX_AREA, Tiling, largest

_SIGNS = np.array([-1.0, -1.0, 1.0, 1.0])
"""Of the levels: beyond the mean below zero, the rest below, the rest above, beyond the mean above."""
_STEPS = 8
"""Of Lloyd's: each border is moved to the middle of its two levels. Few values that are far larger need them."""
_LEVELS = 4 * len(_SIGNS)
"""Bytes of four float32."""


@dataclass(frozen=True)
class TopK:
    """The form of `top_k`: four levels (float32), the indices tile by tile, the codes in the same order."""

    kept: int
    """Of 4096."""
    whole: Int8 = field(default_factory=Int8)

    def size(self, shape: tuple[int, ...]) -> int:
        """See `Form`."""
        tiling = Tiling.of(shape)
        if tiling is None:
            return self.whole.size(shape)
        kept = self.kept_of(tiling.area)
        indices = num_index_bytes(tiling.count, kept, tiling.area)
        return _LEVELS + indices + num_bytes(tiling.count * kept, 2)

    def kept_of(self, area: int) -> int:
        """How many values are kept of a tile of so many: the same share of it, and at least one."""
        return max(1, (area * self.kept + MAX_AREA // 2) // MAX_AREA)

    def write(self, values: np.ndarray, out: np.ndarray) -> None:
        """See `Form`."""
        tiling = Tiling.of(values.shape)
        if tiling is None:
            self.whole.write(values, out)
            return
        kept = self.kept_of(tiling.area)
        indices, chosen = [], []
        for tiles in tiling.strips(values):
            indices.append(largest(tiles, kept))
            chosen.append(np.take_along_axis(tiles, indices[-1].astype(np.intp), axis=1))
        levels, codes = four_levels(np.concatenate(chosen).reshape(-1))
        where = packed_indices(np.concatenate(indices), tiling.area)
        out[:_LEVELS].view("<f4")[:] = levels
        out[_LEVELS : _LEVELS + where.size] = where
        out[_LEVELS + where.size :] = packed(codes, 2)

    def read(
        self, data: np.ndarray, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Form`."""
        tiling = Tiling.of(shape)
        if tiling is None:
            values, _ = self.whole.read(data, shape)
            return values, np.ones(shape, np.bool_)
        kept = self.kept_of(tiling.area)
        end = _LEVELS + num_index_bytes(tiling.count, kept, tiling.area)
        indices = unpacked_indices(data[_LEVELS:end], tiling.count, kept, tiling.area)
        codes = unpacked(data[end:], tiling.count * kept, 2)
        levels = data[:_LEVELS].view("<f4").astype(np.float32)
        _check_levels(levels, codes)
        places = tiling.places(indices).reshape(-1)
        values, sent = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        values.reshape(-1)[places] = levels[codes]
        sent.reshape(-1)[places] = True
        return values, sent


def four_levels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Four levels (float32; 0 where none of the values has it) and the level of each of `values`, uint8."""
    above = (values > 0).astype(np.intp)
    magnitudes = np.abs(values).astype(np.float64)
    border = _means(above, magnitudes, 2)
    for _ in range(_STEPS + 1):
        beyond = magnitudes >= border[above]
        codes = np.where(above, np.uint8(2) + beyond, np.uint8(1) - beyond).astype(np.uint8)
        means = _means(codes, magnitudes, len(_SIGNS))
        border = np.array([means[0] + means[1], means[2] + means[3]]) / 2
    return np.where(means < MIN_PEAK, 0.0, _SIGNS * means).astype(np.float32), codes


def _means(which: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """The mean of each of `count` groups; `bincount` adds one value after the other."""
    sums = np.bincount(which, weights=values, minlength=count)
    return sums / np.maximum(np.bincount(which, minlength=count), 1)


def _check_levels(levels: np.ndarray, codes: np.ndarray) -> None:
    magnitudes = levels * _SIGNS
    if not ((magnitudes == 0) | ((magnitudes >= MIN_PEAK) & (magnitudes <= MAX_MAGNITUDE))).all():
        raise BadContribution(
            "a level is neither 0 nor from 2^-100 to 2^40, the first two below zero"
        )
    if levels[np.bincount(codes, minlength=len(_SIGNS)) == 0].any():
        raise BadContribution("a level that no value has is not 0")
