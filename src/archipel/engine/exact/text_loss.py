"""How unlikely weights find a given text, as one integer that is the same on every machine (clause 11).

Parts: `text_loss`. Law: exact sums have no order, so batches, blocks and threads are free.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from archipel.engine.arithmetic import Arithmetic
from archipel.engine.capacity import EngineLimits
from archipel.engine.exact.forcing import Line, batches, force
from archipel.engine.exact.sampling import log_chances
from archipel.engine.fused import FusedDecoder
from archipel.engine.protocol import NonFiniteLogits

UNIT = 1 << 20
"""Of a nat: what losses are counted in."""
MOST = 1 << 9
"""Nats that one token may cost: of fewer than 2^24 of them the units are below 2^53, an integer of any record."""


@torch.inference_mode()
def text_loss(
    decoder: FusedDecoder, windows: Sequence[Sequence[int]], limits: EngineLimits | None = None
) -> int:
    """Units of 2^-20 nats over all windows, of every token but each window's first.

    decoder: of an exact arithmetic. windows: of at least two tokens, each read by itself.

    Raises:
        NonFiniteLogits: the weights are broken.
        ValueError: a window that is too short or too long for the model, or a token that it does not know.
    """
    _check(decoder.arithmetic, windows)
    lines = [
        Line(group, (window[0],), tuple(window[1:]))
        for group, window in enumerate(map(tuple, windows))
    ]
    total = 0
    for batch in batches(lines, decoder, limits or EngineLimits()):
        longest = max(len(line.tokens) for line in batch)
        tokens = np.zeros((len(batch), longest), np.int64)
        for row, line in enumerate(batch):
            tokens[row, : len(line.tokens)] = line.tokens
        total += _of_batch(decoder, batch, tokens, limits or EngineLimits())
    return total


def _of_batch(
    decoder: FusedDecoder, batch: Sequence[Line], tokens: np.ndarray, limits: EngineLimits
) -> int:
    parts = list[int]()

    def take(lines: np.ndarray, places: np.ndarray, logits: Tensor) -> None:
        asked = torch.from_numpy(tokens[lines, places]).to(logits.device)
        parts.append(_units(log_chances(logits, asked)))

    force(decoder, batch, limits, take)
    return sum(parts)


def _units(logprobs: Tensor) -> int:
    """Each rounded to a unit, ties to even, and limited; f64 holds them all exactly."""
    if not bool(logprobs.isfinite().all()):
        raise NonFiniteLogits(
            "a log-probability is not finite; expected finite logits: check the weights that were loaded"
        )
    units = logprobs.double().mul_(-UNIT).round_().clamp_(max=MOST * UNIT)
    return int(units.to(torch.int64).sum())


def _check(arithmetic: Arithmetic, windows: Sequence[Sequence[int]]) -> None:
    vocabulary, longest = arithmetic.config.vocab_size, arithmetic.max_positions
    if not windows:
        raise ValueError("there is no window; expected one at least")
    for window in windows:
        if not 2 <= len(window) <= longest + 1:
            raise ValueError(f"a window has {len(window)} tokens; expected 2 to {longest + 1}")
        if min(window) < 0 or max(window) >= vocabulary:
            raise ValueError(
                f"tokens go from {min(window)} to {max(window)}; expected 0 to {vocabulary - 1}: tokenise the text with"
                " this model's tokenizer"
            )
