"""How one number comes about, in steps so small that a few numbers decide each.

A *working* is a list of numbers, the last of which is the one that it explains. Each is read from a row, or
computed from at most three numbers before it. Parts: `Working`, `Read`, `ScoreProduct` (clause 6.2's sum).
Law: integers are f64, which holds all of them exactly (6.6).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from archipel.engine.exact.hashing import Row

Numbers = NDArray[np.float64]
RowOf = Callable[[int], Row]
"""Of a leaf of the tree over all rows."""


@dataclass(frozen=True)
class Read:
    """A number that stands in a row on which both parties agree."""

    leaf: int
    element: int


class Working(Protocol):
    """See the module; `index` counts its numbers."""

    @property
    def num(self) -> int:
        """How many numbers."""

    def source(self, index: int) -> Read | tuple[int, ...]:
        """Where a number comes from: a row, or the numbers that it is computed from."""

    def deeper(self, index: int) -> "Working | None":
        """The working of a number that is too much for one step."""

    def value(self, index: int, numbers: list[np.float64]) -> np.float64:
        """A number, from those of its `source`."""

    def numbers(self, row: RowOf) -> Numbers:
        """All of them, from one party's rows."""

    def name(self, index: int) -> str:
        """What a number is, for people."""


@dataclass(frozen=True)
class ScoreProduct:
    """The sum of products of one query and one key: for each of D pairs both integers, and the sum so far."""

    query: Read
    """The first of its integers."""
    key: Read
    size: int

    @property
    def num(self) -> int:
        """See `Working`."""
        return 3 * self.size

    def name(self, index: int) -> str:
        """See `Working`."""
        return f"{('query', 'key', 'sum')[index % 3]} at {index // 3}"

    def source(self, index: int) -> Read | tuple[int, ...]:
        """See `Working`."""
        pair, part = divmod(index, 3)
        if part < 2:
            first = (self.query, self.key)[part]
            return Read(first.leaf, first.element + pair)
        return (index - 2, index - 1, index - 3) if pair else (index - 2, index - 1)

    def deeper(self, index: int) -> None:
        """See `Working`: there is none."""
        del index

    @np.errstate(all="ignore")
    def value(self, index: int, numbers: list[np.float64]) -> np.float64:
        """See `Working`."""
        del index
        q, k, *before = numbers
        return np.float64(sum(before) + q * k)

    @np.errstate(all="ignore")
    def numbers(self, row: RowOf) -> Numbers:
        """See `Working`."""
        q, k = (
            row(first.leaf)[first.element : first.element + self.size].astype(np.float64)
            for first in (self.query, self.key)
        )
        return np.stack((q, k, np.cumsum(q * k)), axis=-1).ravel()
