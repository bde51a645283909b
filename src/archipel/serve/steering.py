"""What bends an answer: penalties for what was said, biases of single tokens, a grammar that it must keep to.

Parts: `Mask` (what a grammar says), `Steered` (of one question), `steering_of`. Laws: a grammar allows an end only where the document is
whole; where it allows nothing at all, the answer ends and says so (`Steered.faults`), it does not run on.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from archipel.records.requests import Hand
from archipel.serve.question import Bends


class Mask:
    """What a grammar allows next, for one answer; `serve.grammar` makes them."""

    def allowed(self, logits_V: Tensor) -> Tensor | None:
        """(V,) bool: the tokens that may come; None: none may."""
        raise NotImplementedError

    def took(self, token: int) -> None:
        """Be told which one came."""
        raise NotImplementedError


class Steered:
    """`Steering` of one question."""

    def __init__(
        self, bends: Bends, mask: Callable[[], Mask] | None, stop_tokens: tuple[int, ...]
    ) -> None:
        self._bends, self._mask, self._stops = bends, mask, stop_tokens
        self.faults: dict[int, str] = {}
        """Rollout -> why its document ended before it was whole."""

    def hand(self, rollout: int) -> Hand:
        """See `records.requests.Steering`."""
        return _Hand(
            self, rollout, self._bends, None if self._mask is None else self._mask(), self._stops
        )


@dataclass
class _Hand:
    """Of one answer."""

    steered: Steered
    rollout: int
    bends: Bends
    mask: Mask | None
    stops: tuple[int, ...]
    said: Counter[int] = field(default_factory=Counter)

    def steer(self, logits: Tensor) -> None:
        """See `records.requests.Hand`."""
        bends = self.bends
        if self.said and (bends.presence or bends.frequency):
            tokens = torch.tensor(list(self.said), device=logits.device)
            times = torch.tensor([float(each) for each in self.said.values()], device=logits.device)
            logits[tokens] -= bends.presence + bends.frequency * times
        for token, bias in bends.biases.items():
            if 0 <= token < len(logits):
                logits[token] += bias
        if self.mask is None:
            return
        allowed = self.mask.allowed(logits)
        if allowed is None:
            self.steered.faults[self.rollout] = (
                "the grammar allows no token here, so the document is not whole"
            )
            allowed = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
            allowed[list(self.stops)] = True
        logits.masked_fill_(~allowed, -torch.inf)

    def took(self, token: int) -> None:
        """See `records.requests.Hand`."""
        if self.bends.presence or self.bends.frequency:
            self.said[token] += 1
        if self.mask is not None and token not in self.stops:
            self.mask.took(token)


def steering_of(
    bends: Bends, mask: Callable[[], Mask] | None, stop_tokens: tuple[int, ...]
) -> Steered | None:
    """None where nothing is bent."""
    is_plain = bends == Bends() and mask is None
    return None if is_plain else Steered(bends, mask, stop_tokens)
