"""The rows of one step over the sequences that run: the last token of each, and behind it what is guessed to follow.

Parts: `Fed` (what came out of the layers, and whose it is), `feed_last`, `feed_guesses`. Law: a row's bits are the same
from both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from archipel.engine.adapters import Company
from archipel.engine.again import feed_again, padded
from archipel.engine.decode import decode
from archipel.engine.machinery import Machinery
from archipel.engine.passing import Again, Next
from archipel.engine.slots import Slots
from archipel.engine.telling import Choices


@dataclass(frozen=True, eq=False)
class Fed:
    """One pass."""

    x: Tensor
    """Residual stream (rows, d)."""
    first: np.ndarray
    """(num_slots,): the row of each running slot's last token; of what is guessed behind it, those that follow."""
    choices: Choices | None
    """Which experts the rows were sent to, where somebody wants to know."""
    company: Company | None
    """Which adapter each row has; None: the decoder has none."""


def feed_last(machinery: Machinery, slots: Slots, reading: Iterable[int], *, told: bool) -> Fed:
    """The last token of each slot that runs; `reading`: slots whose prompts are being read."""
    wanted = int(np.flatnonzero(slots.live)[-1]) + 1
    rows = max(wanted, machinery.min_rows)
    live, position = slots.live[:rows], slots.position[:rows]
    living, adapter = np.flatnonzero(live), slots.adapter[:rows]
    lowest, highest = int(position[living].min()), int(position[living].max())
    # Dead rows follow along: what they compute is dropped, what they write is masked.
    position[~live], adapter[~live] = highest, adapter[living[0]]
    # Not their own last token: it was never fed, and what it leads to may be no number.
    slots.last_token[:rows][~live] = slots.last_token[living[0]]
    tokens = torch.from_numpy(slots.last_token[:rows]).to(machinery.device)
    positions = torch.from_numpy(position).to(machinery.device)
    company = machinery.decoder.adapters.company(adapter)
    written: Tensor | int = highest if lowest == highest else positions
    kept = [slot for slot in reading if slot < rows]
    if kept:
        # What is there of a prompt stays: its row writes where no prompt reaches.
        written = positions.clone()
        written[kept] = machinery.cache.shape.length - 1
    choices = _choices(machinery, rows) if told else None
    x = decode(machinery, tokens, Next(positions, written), company, choices, wanted)
    return Fed(x, np.arange(len(slots.live)), choices, company)


def feed_guesses(
    machinery: Machinery,
    slots: Slots,
    living: np.ndarray,
    guesses: Sequence[Sequence[int]],
    *,
    told: bool,
) -> Fed:
    """The last token of each of the slots `living`, and behind each its guesses."""
    lengths = np.array([1 + len(guess) for guess in guesses])
    begins = lengths.cumsum() - lengths
    owners = np.repeat(living, lengths)
    behind = np.arange(len(owners)) - np.repeat(begins, lengths)
    tokens = [
        token
        for slot, guess in zip(living.tolist(), guesses, strict=True)
        for token in (int(slots.last_token[slot]), *guess)
    ]
    choices = _choices(machinery, padded(machinery, len(owners))) if told else None
    adapters = slots.adapter[owners]
    x = feed_again(
        machinery,
        torch.tensor(tokens),
        Again(owners, slots.position[owners] + behind),
        adapters,
        choices,
    )
    repeated = np.minimum(np.arange(len(x)), len(owners) - 1)
    company = machinery.decoder.adapters.company(adapters[repeated])
    first = np.zeros(len(slots.live), dtype=np.int64)
    first[living] = begins
    return Fed(x, first, choices, company)


def _choices(machinery: Machinery, rows: int) -> Choices:
    return Choices(machinery.decoder.config, rows, machinery.device)
