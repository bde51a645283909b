"""Fingerprints of the activations that sequences are sampled from, made while these run (`toploc`).

Parts: `Seen` (the last hidden state of one pass), `Prints` (of each slot so far). Of a sequence at most
`ROWS` rows are held; those of several that are due at once are encoded together.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archipel.engine.toploc import Bits, encode_all
from archipel.records.fingerprints import A_ROW, ROWS


class Seen:
    """What a pass computes its logits from."""

    def __init__(self) -> None:
        self.patterns: Bits | None = None
        """(rows, d) in bf16; None: nothing, or no floating-point numbers."""

    def __call__(self, rows: Any) -> None:
        """Rows as the output layer is fed them."""
        if isinstance(rows, Tensor):
            self.patterns = patterns_of(rows)


def patterns_of(rows_Nd: Tensor) -> Bits:
    """The bits of these numbers in bf16."""
    found: Bits = rows_Nd.to(torch.bfloat16).contiguous().view(torch.int16).cpu().numpy()
    return found.view(np.uint16)


class Prints:
    """The fingerprints of each slot's tokens so far; of slots that nobody asked about, nothing."""

    def __init__(self, num_slots: int) -> None:
        self._rows: list[list[Bits] | None] = [None] * num_slots
        self._told = [b""] * num_slots

    def begin(self, slot: int, *, asked: bool) -> None:
        """Another sequence is about to have this slot."""
        self._rows[slot], self._told[slot] = [] if asked else None, b""

    def append(self, slots: Sequence[int], patterns_Nd: Bits) -> None:
        """One token's of each slot."""
        due = []
        for slot, row in zip(slots, patterns_Nd, strict=True):
            held = self._rows[slot]
            if held is not None:
                held.append(row)
                if len(held) == ROWS:
                    due.append(slot)
        self._encode(due)

    def finish(self, slots: Iterable[int]) -> None:
        """Encode what is left of sequences that have ended."""
        by_rows: dict[int, list[int]] = {}
        for slot in slots:
            held = self._rows[slot]
            if held:
                by_rows.setdefault(len(held), []).append(slot)
        for alike in by_rows.values():
            self._encode(alike)

    def end(self, slot: int) -> bytes | None:
        """All of a slot's, which is empty then; None: nobody asked, or no pass showed anything."""
        told = self._told[slot]
        self.begin(slot, asked=False)
        return told or None

    def move(self, source: int, target: int) -> None:
        """A sequence changes slots."""
        self._rows[target], self._told[target] = self._rows[source], self._told[source]
        self.begin(source, asked=False)

    def resized(self, num_slots: int, rows: int) -> "Prints":
        """As many slots, the first `rows` as they are."""
        other = Prints(num_slots)
        other._rows[:rows], other._told[:rows] = self._rows[:rows], self._told[:rows]
        return other

    def _encode(self, slots: Sequence[int]) -> None:
        """What is held of these slots, of each as many rows."""
        chunks = [np.concatenate(self._rows[slot] or []) for slot in slots]
        if not chunks:
            return
        rows = len(self._rows[slots[0]] or [])
        for slot, proof in zip(slots, encode_all(chunks, A_ROW * rows), strict=True):
            self._told[slot] += proof
            self._rows[slot] = []
