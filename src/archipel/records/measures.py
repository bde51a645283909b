"""What audits of floating-point answers go by, as a run's opening says it and the fold reads it: integers alone.

An auditor measures figures of an answer (`proofs.forced`, `proofs.printed`), in billionths, rounded up. Limits and tests come from a
calibration, whose digest is named (`proofs.citing`): one answer beyond a limit is more than honest answers reach; a
sum of weights over many answers of one node (`lab.sums`) accuses it. Law: pure, no floats; of every figure more is
worse.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import Closed, Count, Digest, LeftOut, MetricName, Sparing
from archipel.records.fingerprints import FIGURES

NANO = 1_000_000_000
MOST = 10**15
"""No figure is told larger: what is beyond counting is this."""
MAX_TESTS = 8
Figures = Annotated[
    dict[MetricName, Annotated[int, Field(ge=0, le=MOST)]], Field(min_length=1, max_length=32)
]
"""Name -> value in billionths."""
Weight = Annotated[int, Field(ge=-(10**9), le=10**9)]


class Measured(Closed):
    """What an auditor found of one answer."""

    drawn: Count
    """Tokens by which the noise decided something."""
    figures: Figures


class SumTest(Sparing):
    """One sum over the audits of a node: an audit is odd, or it is not, and adds one of two weights.

    Weights are logarithms of a likelihood ratio whose expected exponential is at most 1 for every honest node that is
    odd no more often than was calibrated, so a sum of `accuses_micro` is reached with a chance of at most
    exp(-accuses) for each audit that it may begin at (Ville's inequality).
    """

    figure: Annotated[MetricName | None, LeftOut] = None
    """Odd is more of it than `border_nano`; None: odd is an answer beyond any limit."""
    border_nano: Annotated[Count | None, LeftOut] = None
    odd_micro: Annotated[int, Field(gt=0, le=10**9)]
    """Millionths of a nat, here and below."""
    even_micro: Weight
    accuses_micro: Annotated[int, Field(gt=0, le=10**9)]

    def is_odd(self, measured: Measured, limits: Mapping[str, int]) -> bool:
        """Whether this audit speaks against the node."""
        if self.figure is None:
            return bool(beyond(measured, limits))
        return measured.figures.get(self.figure, MOST) > (self.border_nano or 0)


class Measures(Sparing):
    """By what a run's answers are judged where they cannot be recomputed to the bit."""

    calibration: Digest
    """Of the record that all of this follows from; it travels with the run's first weights."""
    limits: Figures
    """An honest answer exceeds any of them with no more than the chance that the record states."""
    least_drawn: Count
    """With fewer tokens that the noise decided, an answer is too thin to be judged."""
    tests: Annotated[tuple[SumTest, ...], Field(min_length=1, max_length=MAX_TESTS)]
    apart: Annotated[Literal[True] | None, LeftOut] = None
    """A sum accuses only where it would without what any one auditor told alone; None: where each told half at most, as
    in openings before."""

    @property
    def fingerprints(self) -> bool:
        """Whether fingerprints of activations are measured, so that answers have to bring them."""
        return any(name in self.limits for name in FIGURES)


def beyond(measured: Measured, limits: Mapping[str, int]) -> list[str]:
    """Figures of more than honest answers reach; one that is missing counts as such."""
    return [name for name, most in limits.items() if measured.figures.get(name, MOST) > most]


def is_odd_to_all(test: SumTest, told: Iterable[Measured], limits: Mapping[str, int]) -> bool:
    """Whether everybody who measured an answer finds it odd; where they disagree it is not held against the node."""
    found = [test.is_odd(each, limits) for each in told]
    return bool(found) and all(found)
