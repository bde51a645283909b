"""How likely each token of a text is where it stands, and what else is likely there: the text read once, without sampling.

Parts: `Wanted`, `Scoring` (one text, a block at a time, with a cache of its own), `check_wanted`. Law: all numbers are of the
whole distribution at temperature 1, and follow from the text alone, however it is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from archipel.engine.adapters import NONE
from archipel.engine.protocol import NonFiniteLogits
from archipel.engine.reading import BLOCK, Decoder, TextLayers
from archipel.records.requests import InvalidRequest

ROWS = 64
"""Places whose logits exist at once."""


@dataclass(frozen=True)
class Wanted:
    """What is asked beside each token's own log-probability."""

    num_top: int = 0
    """Of the likeliest at each place."""
    pairs: tuple[tuple[int, int], ...] = ()
    """(place from 1 up, token) whose log-probability is asked."""


def check_wanted(wanted: Wanted, length: int, vocabulary: int) -> None:
    """Refuse what cannot be found in a text of so many tokens.

    Raises:
        InvalidRequest: says what.
    """
    if not 0 <= wanted.num_top <= vocabulary:
        raise InvalidRequest(
            f"the {wanted.num_top} likeliest tokens are asked; expected 0 to {vocabulary}"
        )
    for place, token in wanted.pairs:
        if not (1 <= place < length and 0 <= token < vocabulary):
            raise InvalidRequest(
                f"token {token} is asked at place {place}; expected a token of 0..{vocabulary - 1} at a place of "
                f"1..{length - 1}: nothing comes before the first"
            )


class Scoring:
    """One text that is being scored."""

    def __init__(
        self, decoder: Decoder, tokens: Sequence[int], wanted: Wanted, adapter: int = NONE
    ) -> None:
        """adapter: its number among the decoder's."""
        self._decoder, self._tokens, self._adapter = decoder, tuple(tokens), adapter
        self._layers = TextLayers(decoder, decoder.num_layers, len(tokens))
        self.logprobs = np.full(len(tokens), np.nan, dtype=np.float32)
        """(T,) nats, NaN at the first place."""
        self.top_tokens = np.zeros((len(tokens), wanted.num_top), dtype=np.int32)
        """(T, k), the likeliest first."""
        self.top_logprobs = np.full(self.top_tokens.shape, -np.inf, dtype=np.float32)
        """(T, k); minus infinity at the first place."""
        self.pairs = np.zeros(len(wanted.pairs), dtype=np.float32)
        """Of each pair, in their order."""
        self._asked: dict[int, list[tuple[int, int]]] = {}
        for number, (place, token) in enumerate(wanted.pairs):
            self._asked.setdefault(place, []).append((number, token))

    @property
    def is_whole(self) -> bool:
        """Whether all of it is scored."""
        return self._layers.num_read >= len(self._tokens)

    @property
    def num_read(self) -> int:
        """Tokens that were read."""
        return self._layers.num_read

    @property
    def num_bytes(self) -> int:
        """Of its cache."""
        return self._layers.num_bytes

    @torch.inference_mode()
    def step(self) -> bool:
        """Score the next block; whether there is another.

        Raises:
            NonFiniteLogits: the weights are broken.
        """
        if not self.is_whole:
            start = self._layers.num_read
            tokens = self._tokens[start : start + BLOCK]
            x = self._layers.next(tokens, self._adapter)
            # What follows the last token is no place of the text.
            count = min(len(tokens), len(self._tokens) - 1 - start)
            for first in range(0, count, ROWS):
                self._take(x, first, min(ROWS, count - first), start + first + 1)
        return not self.is_whole

    def _take(self, x: Tensor, first: int, count: int, place: int) -> None:
        """Score `count` places from `place` on, by the rows of x from `first` on."""
        least = self._decoder.arithmetic.min_rows()
        rows = first + np.minimum(np.arange(max(count, least)), count - 1)
        company = self._decoder.adapters.company(np.full(len(rows), self._adapter))
        some = x.index_select(0, torch.from_numpy(rows).to(x.device))
        logits = self._decoder.logits(some, company=company)[:count].float()
        logprobs = torch.log_softmax(logits, dim=-1)
        end = place + count
        own = torch.tensor(self._tokens[place:end], device=x.device).unsqueeze(1)
        self.logprobs[place:end] = logprobs.gather(1, own)[:, 0].cpu().numpy()
        if not np.isfinite(self.logprobs[place:end]).all():
            raise NonFiniteLogits(
                "a log-probability is not finite; expected finite logits: check the weights that were loaded"
            )
        if self.top_tokens.shape[1]:
            best = logprobs.topk(self.top_tokens.shape[1], dim=-1)
            self.top_tokens[place:end] = best.indices.cpu().numpy()
            self.top_logprobs[place:end] = best.values.cpu().numpy()
        for at in range(place, end):
            for number, token in self._asked.get(at, ()):
                self.pairs[number] = logprobs[at - place, token].item()
