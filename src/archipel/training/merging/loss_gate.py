"""Which contributions make text likelier that nobody trained on: the second gate.

Parts: `Judge` (what loss weights have, in integers), `GateTerms`, `Judged`, `judged`, `refusals`, `gains_of`.
The score of a contribution is loss(base) - loss(base - step * delta) on the held-out text; it is dropped where it is not
above `share` of the lower median score. Where that median is not positive, the text or the step is bad and not the
members: the same distance, (1 - share) of its magnitude, is then taken below it. Law: losses and scores are integers, so
that whoever has the text takes the same decisions.
What it does not stop: what leaves the loss of ordinary text as it is, such as a backdoor; and with one contribution
alone it compares it with itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from archipel.training.exchange.codec import Tensors
from archipel.training.merging.contributions import Contribution, Opened, Refusal
from archipel.training.merging.copies import Gains


class Unmeasurable(Exception):
    """Weights for which a judge finds no loss: what they compute is not finite."""


@dataclass(frozen=True)
class Judge:
    """Losses of weights (float32) as integers, the smaller the better; in any unit, the same for all.

    Both raise `Unmeasurable`.
    """

    held_out: Callable[[Tensors], int]
    """Of text that nobody knew while they trained."""
    assigned: Callable[[Tensors, Contribution], int] | None = None
    """Of some of the text that one contribution was to be trained on; None: it is not looked at."""


@dataclass(frozen=True)
class GateTerms:
    """When a contribution is dropped."""

    share: float = 0.25
    """Share of the median score that it must be above, in [0, 1]."""
    step: float = 1.0
    """How far a contribution is followed for its score, as a multiple of itself, in (0, 1000]; 1: the member's own weights."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or not 0 < self.step <= 1000:
            raise ValueError(
                f"share is {self.share} and step {self.step}; expected share in [0, 1] and step in (0, 1000]"
            )


@dataclass(frozen=True)
class Judged:
    """By how much one contribution lowers losses; None: it has no finite loss, or was not asked."""

    score: int | None
    own_score: int | None = None


Refused = tuple[Refusal, str]
"""Why, as a word and as a sentence."""


def judged(
    base: Tensors, everyone: Sequence[Opened], terms: GateTerms, judge: Judge
) -> list[Judged]:
    """Scores of each, in their order.

    Raises:
        Unmeasurable: of the base itself.
    """
    before = judge.held_out(base)
    return [_judged(base, before, each, terms, judge) for each in everyone]


def _judged(base: Tensors, before: int, opened: Opened, terms: GateTerms, judge: Judge) -> Judged:
    probed = _probed(base, opened, terms)
    if probed is None:
        return Judged(None)
    try:
        score = before - judge.held_out(probed)
    except Unmeasurable:
        return Judged(None)
    if judge.assigned is None:
        return Judged(score)
    own_before = judge.assigned(base, opened.contribution)
    try:
        return Judged(score, own_before - judge.assigned(probed, opened.contribution))
    except Unmeasurable:
        return Judged(None)


def _probed(base: Tensors, opened: Opened, terms: GateTerms) -> Tensors | None:
    """The weights that one contribution alone would make; None: they are not finite."""
    step = np.float32(terms.step)
    with np.errstate(over="ignore", invalid="ignore"):
        probed = {name: base[name] - step * opened.values[name] for name in sorted(base)}
    return probed if all(bool(np.isfinite(each).all()) for each in probed.values()) else None


def gains_of(base: Tensors, terms: GateTerms, judge: Judge) -> Gains | None:
    """What texts that were assigned gain by contributions; 0 by one that has no finite loss. None: the judge has no such
    text.
    """
    assigned = judge.assigned
    if assigned is None:
        return None

    def gain(opened: Opened, whose: Contribution) -> int:
        before, probed = assigned(base, whose), _probed(base, opened, terms)
        try:
            return 0 if probed is None else before - assigned(probed, whose)
        except Unmeasurable:
            return 0

    return gain


def refusals(everyone: Sequence[Judged], terms: GateTerms) -> list[Refused | None]:
    """Of each why it is dropped; None: it is not. Pure, on integers and exact fractions."""
    known = sorted(each.score for each in everyone if each.score is not None)
    if not known:
        return [_unmeasured() for _ in everyone]
    median = known[(len(known) - 1) // 2]
    limit = median - (1 - Fraction(terms.share)) * abs(median)
    return [_refusal(each, limit) for each in everyone]


def _refusal(judged: Judged, limit: Fraction) -> Refused | None:
    if judged.score is None:
        return _unmeasured()
    if judged.score > limit:
        return None
    if judged.own_score is not None and judged.own_score > 0 >= judged.score:
        return "own_data", (
            f"it makes its own text likelier ({judged.own_score}) and held-out text not ({judged.score})"
        )
    return "loss", f"its score is {judged.score}, expected above {float(limit):.6g}"


def _unmeasured() -> Refused:
    return "loss", "with it the network computes nothing finite"
