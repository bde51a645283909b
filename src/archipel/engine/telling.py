"""Which experts tokens were sent to, noted while they are read, for the rollouts that are to say it.

Parts: `Choices` (of one pass through the network; see `feeding.Note`), `Told` (of each slot so far).
"""

import numpy as np
import torch
from torch import Tensor

from archipel.model.config import DecoderConfig
from archipel.records.experts import OPEN


class Choices:
    """What a pass of so many rows chose; rows that a layer leaves out stay open."""

    def __init__(self, config: DecoderConfig, rows: int, device: torch.device) -> None:
        chosen = 0 if config.experts is None else config.experts.chosen
        shape = (rows, config.num_layers, chosen)
        self._choices_NLK = torch.full(shape, OPEN, dtype=torch.uint8, device=device)

    def __call__(self, layer: int, rows: Tensor | None, chosen_NK: Tensor) -> None:
        """See `feeding.Note`."""
        chosen_NK = chosen_NK.to(torch.uint8)
        if rows is None:
            self._choices_NLK[:, layer] = chosen_NK
        else:
            self._choices_NLK[rows, layer] = chosen_NK

    def flat(self) -> np.ndarray:
        """(rows, layers * chosen) uint8."""
        return self._choices_NLK.flatten(1).cpu().numpy()


class Told:
    """The choices of each slot's tokens so far; of slots that nobody asked about, nothing."""

    def __init__(self, num_slots: int) -> None:
        self._of: list[bytearray | None] = [None] * num_slots

    def forget(self, slots: np.ndarray) -> None:
        """Others are about to have these slots."""
        for slot in slots.tolist():
            self._of[slot] = None

    def begin(self, slot: int, choices: bytes) -> None:
        """A prompt's."""
        self._of[slot] = bytearray(choices)

    def append(self, slots: np.ndarray, choices_NC: np.ndarray) -> None:
        """One token's of each slot."""
        for row, slot in enumerate(slots.tolist()):
            held = self._of[slot]
            if held is not None:
                held += choices_NC[row].tobytes()

    def end(self, slot: int) -> bytes | None:
        """All of a slot's, which is empty then."""
        held, self._of[slot] = self._of[slot], None
        return None if held is None else bytes(held)

    def move(self, source: int, target: int) -> None:
        """A sequence changes slots."""
        self._of[target], self._of[source] = self._of[source], None

    def resized(self, num_slots: int, rows: int) -> "Told":
        """As many slots, the first `rows` as they are."""
        other = Told(num_slots)
        other._of[:rows] = self._of[:rows]
        return other
