"""Sampling from a part of the vocabulary: which tokens are left, and how it travels. Pure.

A token is left if every bound leaves it, each looked at by itself in the whole distribution at the request's
temperature; the likeliest token always is. What is left is renormalised, and log-probabilities are those
of that. Tokens that tie at a bound are all left.
"""

import math
from dataclasses import dataclass

MICRO = 1_000_000
MAX_TOP_K = 2**24


@dataclass(frozen=True, slots=True)
class Cut:
    """Which tokens are left."""

    top_k: int = 0
    """The k likeliest; 0: all."""
    top_p: float = 1.0
    """The likeliest that together reach this probability."""
    min_p: float = 0.0
    """Those with at least this share of the likeliest one's probability."""

    @property
    def bounds(self) -> tuple[str, ...]:
        """Names of those that leave something out."""
        named = {"top_k": self.top_k > 0, "top_p": self.top_p < 1.0, "min_p": self.min_p > 0.0}
        return tuple(name for name, cuts in named.items() if cuts)

    @property
    def fault(self) -> str:
        """What is wrong with it, or nothing."""
        if not 0 <= self.top_k <= MAX_TOP_K:
            return f"top_k is {self.top_k}; expected 0 to {MAX_TOP_K}"
        if not (math.isfinite(self.top_p) and 0.0 < self.top_p <= 1.0):
            return f"top_p is {self.top_p}; expected above 0, at most 1"
        if not (math.isfinite(self.min_p) and 0.0 <= self.min_p < 1.0):
            return f"min_p is {self.min_p}; expected 0 or more, below 1"
        return ""


def cut_of(top_k: int | None, top_p_micro: int | None, min_p_micro: int | None) -> Cut | None:
    """A cut as a record says it; None where nothing is left out."""
    cut = Cut(
        top_k or 0,
        1.0 if top_p_micro is None else top_p_micro / MICRO,
        (min_p_micro or 0) / MICRO,
    )
    return cut if cut.bounds else None
