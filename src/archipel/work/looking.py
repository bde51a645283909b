"""What else was likely where a token was sampled.

Parts: `Looking` (of one question's completions). Law: who looks changes no bit; what is seen is the distribution that is sampled
from, and what has no chance in it is left out.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from archipel.model.cuts import CutRows
from archipel.records.cuts import Cut
from archipel.records.requests import Hand
from archipel.work.questions import TopK

NO_LOGPROB = -99999.0
"""Of a cell in which there is no token."""


def top_k(tokens: np.ndarray, logprobs: np.ndarray) -> TopK:
    """Cells (places, k) as they are told; what is not finite is none."""
    is_none = ~np.isfinite(logprobs)
    tokens, logprobs = tokens.astype(np.int32), logprobs.astype(np.float32)
    tokens[is_none], logprobs[is_none] = 0, NO_LOGPROB
    tokens.flags.writeable = logprobs.flags.writeable = False
    return TopK(tokens, logprobs)


@dataclass(frozen=True)
class Looking:
    """`Steering` that only looks."""

    num: int
    """Of the likeliest tokens."""
    temperature: float
    cut: Cut | None
    seen: dict[int, "_Eye"] = field(default_factory=dict)
    """By rollout, one for each that has begun."""

    def hand(self, rollout: int) -> Hand:
        """See `records.requests.Steering`; whoever begins again forgets what was seen before."""
        self.seen[rollout] = eye = _Eye(self)
        return eye

    def of(self, rollout: int, length: int) -> TopK:
        """At each of so many places of a completion."""
        places = self.seen[rollout].places[:length]
        tokens = np.zeros((length, self.num), dtype=np.int32)
        logprobs = np.full((length, self.num), -np.inf, dtype=np.float32)
        for at, (some, theirs) in enumerate(places):
            tokens[at, : len(some)], logprobs[at, : len(some)] = some, theirs
        return top_k(tokens, logprobs)


@dataclass
class _Eye:
    """Of one completion."""

    looking: Looking
    places: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def steer(self, logits: Tensor) -> None:
        """See `records.requests.Hand`."""
        looking = self.looking
        is_plain = looking.temperature in (0.0, 1.0)
        row = (logits if is_plain else logits / looking.temperature).unsqueeze(0)
        if looking.cut is not None:
            row = CutRows.alike(looking.cut, row.device).cut(row)
        chances, tokens = torch.softmax(row[0], dim=-1).topk(min(looking.num, len(logits)))
        self.places.append((tokens.cpu().numpy(), chances.log().cpu().numpy()))

    def took(self, token: int) -> None:
        """See `records.requests.Hand`."""
