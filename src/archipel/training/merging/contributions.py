"""What comes into a merge and what is said of it.

Parts: `Contribution` (as it was sent), `Opened` (as it was read), `Verdict` and its reasons, `ordered`,
`age_weight`, the errors of a merge. Weights are integers: tokens times the weight of their age in millionths.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from archipel.training.exchange.codec import Tensors

MICRO = 1_000_000
MAX_TOKENS = 1 << 32
"""Of one contribution: with its age's millionths below 2^53, so that a weight is exact as float64."""

Refusal = Literal["payload", "norm", "copy", "loss", "own_data", "outlier"]
"""payload: its bytes are no payload, or its counts are out of bounds; norm: beyond the bound on its length; copy: another's
over again; loss: the loss gate; own_data: that gate, of one that makes its own data likelier and no other; outlier: the
aggregate left it out, which says nothing against it."""


@dataclass(frozen=True)
class Contribution:
    """What a member sent for one place of an outer step."""

    member: str
    index: int
    """Its place in the outer step, from 0."""
    payload: bytes
    tokens: int
    """That it was trained on."""
    steps: int
    """Inner steps."""
    age: int = 0
    """Outer steps since the version that it was made from: 0 where it is in time."""
    answered: int = 0
    """Its place among the answers to its version, in the order of the ledger: of two alike, the later one is the copy."""


@dataclass(frozen=True)
class Opened:
    """A contribution that was read: old minus new weights."""

    contribution: Contribution
    values: Tensors
    """float32; 0 where nothing was sent."""
    sent: Mapping[str, np.ndarray] | None = None
    """Which coordinates were sent; None: all."""

    @property
    def weight(self) -> int:
        """Its tokens, in millionths, less by age."""
        return self.contribution.tokens * age_weight(self.contribution.age)


@dataclass(frozen=True)
class Verdict:
    """What became of one contribution."""

    member: str
    index: int
    age: int
    reason: Refusal | None = None
    """Why it was refused; None: it was merged."""
    weight_micro: int = 0
    """Its share of the merge in millionths, rounded down, at least 1; 0 where it was refused."""
    score: int | None = None
    """By how much it lowers the loss of the held-out text, in the judge's units; None: it was not asked."""
    own_score: int | None = None
    """The same of the text that was assigned to it."""
    why: str = field(default="", compare=False)
    """A sentence, for people."""

    @property
    def merged(self) -> bool:
        """Whether it is in the new version."""
        return self.reason is None


class NothingToMerge(Exception):
    """No version can be made of what came; says how many are left, how many it takes, and what to do."""

    verdicts: tuple[Verdict, ...] = ()
    """Of all contributions, as far as the merge came."""


def ordered(contributions: Iterable[Contribution]) -> list[Contribution]:
    """By index, those in time before late ones.

    Raises:
        ValueError: two are for one place of one outer step.
    """
    found = sorted(contributions, key=lambda each: (each.index, each.age))
    places = [(each.index, each.age) for each in found]
    if len(set(places)) < len(places):
        raise ValueError(
            f"contributions are for places {places!r:.200}; expected one for each index and age: give one of each"
        )
    return found


def age_weight(age: int) -> int:
    """Millionths: (1 + age)^(-1/2), rounded down.

    Source: the weight of stale updates in asynchronous local SGD.
    """
    return math.isqrt(MICRO * MICRO // (1 + age))


def shares(weights: Iterable[int]) -> list[int]:
    """Millionths of their sum, each rounded down, but at least 1 of what is not 0; of whole numbers."""
    weights = list(weights)
    together = sum(weights)
    return [max(MICRO * weight // together, min(weight, 1)) for weight in weights]
