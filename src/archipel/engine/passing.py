"""What one pass through the layers is, so that whoever has only some of them can compute those.

Parts: `Next` (a token of each running sequence), `Block` (part of some prompts), `Again` (tokens that were fed one
after the other, at once); `Passing`, attention that says in which of them it is. Law: these and the rows that come in
are all that a layer's results depend on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Next:
    """One token of each of slots 0 .. B-1."""

    positions: Tensor
    """(B,) int64; where each row stands."""
    written: Tensor | int
    """See `decode.decode`: where each row's keys and values go, or the one position at which all rows stand."""


@dataclass(frozen=True)
class Block:
    """Positions [start, start + length) of each of some prompts of one padded length, or of one long one."""

    slots: tuple[tuple[int, ...], ...]
    """Of each prompt: the slots that get its keys and values."""
    lengths: tuple[int, ...]
    start: int


@dataclass(frozen=True, eq=False)
class Again:
    """Rows that decode steps fed before, in any company: of one sequence, in their order."""

    slots: np.ndarray
    """(N,) int64."""
    positions: np.ndarray
    """(N,) int64; of one slot ascending."""

    @classmethod
    def of(cls, slots: Sequence[int], positions: Sequence[int]) -> Self:
        """From plain numbers."""
        return cls(np.array(slots, dtype=np.int64), np.array(positions, dtype=np.int64))


Pass = Next | Block | Again

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q (N, Hq, D), k (N, Hkv, D), v (N, Hkv, D)) -> mixed values (N, Hq * D).

The arguments are views, not contiguous."""


@dataclass(frozen=True)
class Passing:
    """An `Attend` that says in which pass it is: whoever has the layers elsewhere sends that instead."""

    attend: Attend
    what: Pass

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Attend`."""
        return self.attend(layer, q, k, v)
