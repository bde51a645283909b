"""Decode steps of one sequence, many at once, where their tokens are known: how lost keys and values come back, and how
guesses are read (`drafts`).

Products run over all rows together, as any company is the same to them; each row's attention is the decode step's own,
over a copy of its slot's window. Law: every bit is that of the step that is repeated.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from archipel.engine.attention import round_up, window_granule
from archipel.engine.cache import Window
from archipel.engine.feeding import Note
from archipel.engine.machinery import Machinery
from archipel.engine.passing import Again, Passing

ROWS = 64
"""That go through the layers together."""


def parts(num_rows: int) -> Iterator[slice]:
    """Rows for one pass each."""
    return (slice(start, start + ROWS) for start in range(0, num_rows, ROWS))


def feed_again(
    machinery: Machinery,
    tokens_N: Tensor,
    what: Again,
    adapters_N: np.ndarray | None = None,
    note: Note | None = None,
) -> Tensor:
    """Residual stream (at least N, d) after `tokens_N` at `what.positions` of `what.slots`.

    What each slot held before its first row must be there. adapters_N: each row's, by number; None: none has any.
    note: is told which experts each row was sent to, and of the rows that come back beyond N.
    """
    count = len(what.slots)
    rows = torch.arange(padded(machinery, count)).clamp_(max=count - 1)
    slots, positions = (
        torch.from_numpy(each)[rows].to(machinery.device) for each in (what.slots, what.positions)
    )
    places, again = (
        machinery.cache.places(slots, positions),
        _Attention(machinery, slots, positions),
    )

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        machinery.cache.append(layer, machinery.decoder.arithmetic.held(k, v), places)
        return again(layer, q)

    rotations = machinery.rotations.index_select(0, positions)
    tokens = tokens_N[rows].to(machinery.device)
    company = None
    if adapters_N is not None:
        company = machinery.decoder.adapters.company(adapters_N[rows.numpy()])
    passing = Passing(attend, what)
    return machinery.decoder.forward(tokens, rotations, passing, company=company, note=note)


def padded(machinery: Machinery, count: int) -> int:
    """Rows that `count` rows are fed as."""
    return max(count, machinery.min_rows)


class _Attention:
    """As in `decode`, `min_rows` rows at a time."""

    def __init__(self, machinery: Machinery, slots: Tensor, positions: Tensor) -> None:
        self._machinery = machinery
        config = machinery.decoder.config
        granule = window_granule(config.head_dim, machinery.group)
        size = machinery.min_rows
        last = torch.arange(-(-len(slots) // size) * size).clamp_(max=len(slots) - 1)
        self._parts = []
        for some in last.to(slots.device).split(size):
            at = positions[some]
            window = round_up(int(at.max()) + 1, granule)
            bias = machinery.mask(at, window)[:, None, None, :]
            heads, group = machinery.kv_heads, machinery.group
            bias = bias.expand(size, heads, group, window).reshape(-1, group, window)
            self._parts.append((some, slots[some], window, bias))

    def __call__(self, layer: int, q: Tensor) -> Tensor:
        machinery = self._machinery
        numbers, group, dim = machinery.decoder.arithmetic, machinery.group, machinery.head_dim
        mixed = [
            numbers.attend(
                q.index_select(0, some).reshape(-1, group, dim),
                self._windows(layer, slots, window),
                bias,
            ).view(len(some), -1)
            for some, slots, window, bias in self._parts
        ]
        return torch.cat(mixed)[: len(q)]

    def _windows(self, layer: int, slots: Tensor, window: int) -> Window:
        return self._machinery.cache.windows_of(layer, slots, window)
