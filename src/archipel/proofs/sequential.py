"""Many audits of one provider: a CUSUM that accuses when they differ too often, though none shows it alone.

An audit is `odd` when one figure exceeds a border that honest answers exceed at most with chance `honest`, and a
cheat's with `cheat` at least. Its weight is the log of the likelihood ratio of the two chances; the score is
max(0, score + weight). Bound: for every chance up to `honest` the expected exponential of a weight is at most 1, so
(Ville) a sum that begins at a given audit reaches h with chance at most exp(-h), and of n audits one does with at
most n exp(-h). h is chosen so that this is what a year may have. Weights only ever shrink by the cap on a single
auditor, which keeps the bound; with it no fewer than 1/share auditors accuse together.
Source: Page 1954 (CUSUM), Wald 1945 (SPRT). Law: pure; state in, state out.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


class BadTest(ValueError):
    """No such test: its chances, its bound or its share are out of range."""


@dataclass(frozen=True)
class SequentialTest:
    """What is watched for, and how seldom an honest provider may be accused."""

    honest: float
    """An honest answer is odd with at most this chance: an upper bound from calibration."""
    cheat: float
    """A cheat's answer is odd with at least this chance: a lower bound from calibration."""
    audits_per_year: int
    """Of one provider, at most."""
    false_per_year: float
    """Accusations of an honest provider in a year, at most."""
    share: float = 1.0
    """Of what accuses, at most this much comes from one auditor."""

    def __post_init__(self) -> None:
        sound = (
            0 < self.honest < self.cheat < 1
            and self.audits_per_year >= 1
            and 0 < self.false_per_year < 1
            and 0 < self.share <= 1
        )
        if not sound:
            raise BadTest(
                f"got {self}; expected 0 < honest < cheat < 1, at least one audit a year, a bound between 0 and 1 and "
                "a share up to 1"
            )

    @property
    def border(self) -> float:
        """Nats at which a provider is accused."""
        return math.log(self.audits_per_year / self.false_per_year)

    def weight(self, odd: bool) -> float:
        """Nats of one audit."""
        if odd:
            return math.log(self.cheat / self.honest)
        return math.log1p(-self.cheat) - math.log1p(-self.honest)

    def audits_needed(self, fraction: float = 1.0) -> float:
        """About how many audits accuse a provider that cheats in this fraction of its work; infinite: none do."""
        return self.audits_at(fraction * self.cheat + (1 - fraction) * self.honest)

    def audits_at(self, odd: float) -> float:
        """The same of a provider whose audits are odd with this chance."""
        drift = odd * self.weight(True) + (1 - odd) * self.weight(False)
        return self.border / drift if drift > 0 else math.inf


@dataclass(frozen=True)
class Standing:
    """Of one provider in one test."""

    score: float = 0.0
    """Nats since it was last 0."""
    audits: int = 0
    by_auditor: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Nats that each auditor has added since then, less what it took away."""
    accused: bool = False
    """It stays so until somebody decides."""


def after(test: SequentialTest, standing: Standing, auditor: str, odd: bool) -> Standing:
    """The standing after one more audit."""
    weight, own = test.weight(odd), standing.by_auditor.get(auditor, 0.0)
    if weight > 0:
        weight = min(weight, max(0.0, test.share * test.border - own))
    score = max(0.0, standing.score + weight)
    # The score is never more than what its auditors have added, each at most its share.
    told = {**standing.by_auditor, auditor: max(0.0, own + weight)} if score > 0 else {}
    # Shares of a third must be able to meet: a sum of thirds is not 1 in floating point.
    accused = standing.accused or score >= test.border * (1 - 1e-12)
    return Standing(score, standing.audits + 1, MappingProxyType(told), accused)


def first_accusation(test: SequentialTest, audits: Iterable[tuple[str, bool]]) -> int | None:
    """After how many of these (auditor, odd) a provider is accused; None: it is not."""
    standing = Standing()
    for auditor, odd in audits:
        standing = after(test, standing, auditor, odd)
        if standing.accused:
            return standing.audits
    return None
