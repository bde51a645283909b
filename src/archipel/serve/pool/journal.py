"""What went into a range of layers for every sequence that runs: enough to make its keys and values again.

Parts: `Journal`, of one boundary between devices; `Running`. Law: what is made again is cut as it was cut the first time, so its
bits are the same: prompts in their blocks, later tokens each as a step.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from archipel.engine.again import parts
from archipel.engine.passing import Again, Block, Next, Pass


@dataclass(frozen=True, eq=False)
class _Piece:
    """A block of a prompt."""

    start: int
    rows: Tensor


@dataclass
class _Slot:
    """One sequence: its prompt and what came after."""

    pieces: list[_Piece] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)

    def copy(self) -> "_Slot":
        return _Slot(self.pieces.copy(), self.positions.copy(), self.rows.copy())


def nobody() -> frozenset[int]:
    """No slots."""
    return frozenset()


@dataclass(frozen=True)
class Running:
    """Who knows which slots mean something."""

    in_use: Callable[[], Collection[int]] = nobody
    """Those with a sequence whose prompt is being read, or that runs."""
    live: Callable[[], Collection[int]] = nobody
    """Those of which a token is sampled at the end of each `Next`."""


class Journal:
    """Rows that went in, by slot: activations (N, d), or token ids (N,) before the first layer."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._slots: dict[int, _Slot] = {}

    @property
    def num_positions(self) -> int:
        """That would be computed again, of sequences that run."""
        in_use = frozenset(self._running.in_use())
        return sum(
            len(slot.rows) + sum(len(piece.rows) for piece in slot.pieces)
            for place, slot in self._slots.items()
            if place in in_use
        )

    def note(self, what: Pass, rows: Tensor) -> None:
        """A pass went through with these rows."""
        used = frozenset(self._running.in_use())
        for place in self._slots.keys() - used:
            del self._slots[place]
        if isinstance(what, Block):
            start = 0
            for slots, length in zip(what.slots, what.lengths, strict=True):
                piece = _Piece(what.start, rows[start : start + length].clone())
                start += length
                for slot in slots:
                    self._begin(slot, piece)
            return
        if isinstance(what, Next):
            places, positions = range(len(rows)), what.positions.tolist()
        else:
            places, positions = what.slots.tolist(), what.positions.tolist()
        kept = rows.clone()
        meant = frozenset(self._running.live()) if isinstance(what, Next) else used
        for row, (place, position) in enumerate(zip(places, positions, strict=True)):
            if place in meant:
                held = self._slots.setdefault(place, _Slot())
                held.positions.append(position)
                held.rows.append(kept[row])

    def _begin(self, place: int, piece: _Piece) -> None:
        slot = self._slots.setdefault(place, _Slot())
        if slot.rows or piece.start == 0:
            slot = self._slots[place] = _Slot()
        slot.pieces.append(piece)

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Sequences changed slots."""
        found = [self._slots.get(source) for source in sources]
        for target, slot in zip(targets, found, strict=True):
            if slot is None:
                self._slots.pop(target, None)
            else:
                self._slots[target] = slot.copy()

    def passes(self) -> Iterator[tuple[Pass, Tensor]]:
        """All that went in of the sequences that run, to be taken through again in this order."""
        in_use = frozenset(self._running.in_use())
        used = [place for place in sorted(self._slots) if place in in_use]
        shared: dict[_Piece, list[int]] = {}
        for place in used:
            for piece in self._slots[place].pieces:
                shared.setdefault(piece, []).append(place)
        for piece, slots in sorted(shared.items(), key=lambda each: each[0].start):
            yield Block((tuple(slots),), (len(piece.rows),), piece.start), piece.rows
        steps = [
            (place, position, row)
            for place in used
            for position, row in zip(
                self._slots[place].positions, self._slots[place].rows, strict=True
            )
        ]
        for part in parts(len(steps)):
            places, positions, rows = zip(*steps[part], strict=True)
            yield Again.of(places, positions), torch.stack(rows)
