"""How a matrix is cut into tiles, and which values of each are its largest.

A tile is as high and as wide as the largest divisors, up to 64, of the two dimensions; all but the last dimension count
as one. A tensor whose tile would have fewer than 64 values (a vector, a small matrix, a prime dimension) has none.
Law: of equal magnitudes the first ones are taken, so that every machine takes the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from archipel.training.exchange.table import num_values

MAX_SIDE = 64
MAX_AREA = MAX_SIDE * MAX_SIDE
MIN_AREA = 64
_AT_ONCE = 2**18


@dataclass(frozen=True)
class Tiling:
    """A matrix of `height` x `width` tiles."""

    columns: int
    height: int
    width: int
    count: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Self | None:
        """How a tensor of this shape is cut; None: it is not."""
        total = num_values(shape)
        columns = shape[-1] if shape else 1
        if columns in (1, total):
            return None
        height, width = _side(total // columns), _side(columns)
        if height * width < MIN_AREA:
            return None
        return cls(columns, height, width, total // (height * width))

    @property
    def area(self) -> int:
        """Values of a tile."""
        return self.height * self.width

    def strips(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """The tiles (some, area), row by row from the upper left one, as many at once as stay near the processor."""
        across = self.columns // self.width
        step = max(1, _AT_ONCE // (self.height * self.columns)) * self.height * self.columns
        flat = values.reshape(-1)
        for start in range(0, flat.size, step):
            cut = flat[start : start + step].reshape(-1, self.height, across, self.width)
            yield cut.swapaxes(1, 2).reshape(-1, self.area)

    def places(self, indices: np.ndarray) -> np.ndarray:
        """Where in the flat tensor the values at `indices` (count, kept) of the tiles are, int64 of the same shape."""
        across = self.columns // self.width
        tiles = np.arange(self.count)[:, None]
        row = tiles // across * self.height + indices // self.width
        return row * self.columns + tiles % across * self.width + indices % self.width


def largest(tiles: np.ndarray, kept: int) -> np.ndarray:
    """Indices (uint16, ascending) of the `kept` largest magnitudes of each of `tiles` (num, area): (num, kept)."""
    magnitudes = np.abs(tiles)
    area = tiles.shape[1]
    least = np.partition(magnitudes, area - kept, axis=1)[:, area - kept, None]
    taken = magnitudes >= least
    crowded = np.flatnonzero(np.count_nonzero(taken, axis=1) > kept)
    if crowded.size:
        taken[crowded] = _first(magnitudes[crowded], least[crowded], kept)
    places = np.flatnonzero(taken).reshape(-1, kept)
    return (places - np.arange(len(tiles))[:, None] * area).astype(np.uint16)


def _first(magnitudes: np.ndarray, least: np.ndarray, kept: int) -> np.ndarray:
    """Where a tile has more than `kept` values of at least `least`: of those that equal it, the first ones."""
    above, equal = magnitudes > least, magnitudes == least
    room = kept - np.count_nonzero(above, axis=1)
    return above | (equal & (np.cumsum(equal, axis=1) <= room[:, None]))


def _side(length: int) -> int:
    return max(side for side in range(1, MAX_SIDE + 1) if length % side == 0)
