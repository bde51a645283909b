"""Version v, its memory and what members contributed to it -> version v + 1, the next memory and a verdict for each.

The order: form (`validity`), length, copies, loss (`loss_gate`), each tensor clipped (`clipping`), one pseudo-gradient
(`aggregates`), an outer step (`outer`). Law: pure; contributions are taken by index, and equal bytes in give equal bytes
out on any machine, if the judge is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from archipel.training.exchange import BadContribution, codec_of
from archipel.training.exchange.codec import Tensors
from archipel.training.merging.aggregates import aggregated
from archipel.training.merging.clipping import clipped
from archipel.training.merging.contributions import (
    Contribution,
    NothingToMerge,
    Opened,
    Refusal,
    Verdict,
    ordered,
    shares,
)
from archipel.training.merging.copies import copies
from archipel.training.merging.loss_gate import Judge, gains_of, judged, refusals
from archipel.training.merging.outer import outer_step
from archipel.training.merging.terms import MergeTerms
from archipel.training.merging.validity import opened, within

AGGREGATE = "aggregate."
"""Before a weight's name: the last aggregate in the memory, where the rule of aggregation begins with it."""


@dataclass(frozen=True)
class Merged:
    """What a merge makes."""

    weights: dict[str, np.ndarray]
    """float32."""
    memory: dict[str, np.ndarray]
    """float32, by `momentum.NAME` and `aggregate.NAME`; what the next merge begins with."""
    verdicts: tuple[Verdict, ...]
    """By index, those in time before late ones."""


def merge(
    base: Tensors,
    memory: Tensors,
    contributions: Sequence[Contribution],
    terms: MergeTerms,
    judge: Judge | None = None,
) -> Merged:
    """One outer step.

    base: weights of version v, float32. memory: of the merge that made version v; empty at the first. judge: needed where
    `terms.gate` is given.

    Raises:
        NothingToMerge: too few contributions are left, or what they make is not finite.
        ValueError: the base is not float32, a place was filled twice, or a gate has no judge.
        Unmeasurable: the base has no finite loss.
    """
    wrong = sorted(name for name, each in base.items() if each.dtype != np.float32)
    if wrong:
        raise ValueError(f"weights {', '.join(wrong):.200} are not float32; widen them first")
    table = _Verdicts(contributions)
    try:
        left = _gated(base, terms, judge, table)
        return _merged(base, memory, clipped(left) if terms.clip else left, terms, table)
    except NothingToMerge as error:
        error.verdicts = table.all()
        raise


def _gated(
    base: Tensors, terms: MergeTerms, judge: Judge | None, table: "_Verdicts"
) -> list[Opened]:
    """What four gates let through; the table knows the others."""
    left = _read(table, base, terms)
    long = within(left, terms.length_bound)
    left = table.without(left, [None if why is None else ("norm", why) for why in long])
    if terms.copies is not None:
        gains = gains_of(base, terms.gate, judge) if terms.gate and judge else None
        others = copies(left, terms.copies, gains)
        left = table.without(left, [None if why is None else ("copy", why) for why in others])
    if terms.gate is not None:
        if judge is None:
            raise ValueError("the terms have a loss gate and no judge was given; give one")
        scores = judged(base, left, terms.gate, judge)
        for each, found in zip(left, scores, strict=True):
            table.note(each, score=found.score, own_score=found.own_score)
        left = table.without(left, refusals(scores, terms.gate))
    if not left:
        raise NothingToMerge(
            f"none of {len(table.contributions)} contributions is left after the gates ({table.reasons()}): the verdicts say"
            " why of each; wait for others"
        )
    return left


def _read(table: "_Verdicts", base: Tensors, terms: MergeTerms) -> list[Opened]:
    codec, shapes = codec_of(terms.codec), {name: each.shape for name, each in base.items()}
    left = []
    for each in table.contributions:
        try:
            left.append(opened(each, codec, shapes))
        except BadContribution as error:
            table.refuse(each, "payload", str(error))
    return left


def _merged(
    base: Tensors, memory: Tensors, left: Sequence[Opened], terms: MergeTerms, table: "_Verdicts"
) -> Merged:
    begins = terms.aggregate == "centred_clip"
    last = {
        name.removeprefix(AGGREGATE): each
        for name, each in memory.items()
        if name.startswith(AGGREGATE)
    }
    found = aggregated(terms.aggregate, left, terms.faulty, (last or None) if begins else None)
    table.merge(left, found.weights)
    with np.errstate(over="ignore", invalid="ignore"):
        weights, kept = outer_step(base, memory, found.values, terms.outer)
    broken = sorted(name for name, each in weights.items() if not np.isfinite(each).all())
    if broken:
        raise NothingToMerge(
            f"the next weights are not finite in {', '.join(broken):.200}: the run diverged; go on from an earlier version"
            " with a smaller outer lr"
        )
    if begins:
        kept |= {AGGREGATE + name: each for name, each in found.values.items()}
    return Merged(weights, kept, table.all())


class _Verdicts:
    """What is known of each contribution so far."""

    def __init__(self, contributions: Sequence[Contribution]) -> None:
        self.contributions = ordered(contributions)
        self._of = {
            (each.index, each.age): Verdict(each.member, each.index, each.age)
            for each in self.contributions
        }

    def note(self, opened: Opened, **fields: int | None) -> None:
        place = opened.contribution.index, opened.contribution.age
        self._of[place] = replace(self._of[place], **fields)  # type: ignore[arg-type]

    def refuse(self, contribution: Contribution, reason: Refusal, why: str) -> None:
        place = contribution.index, contribution.age
        self._of[place] = replace(self._of[place], reason=reason, why=why)

    def without(
        self, left: Sequence[Opened], refused: Sequence[tuple[Refusal, str] | None]
    ) -> list[Opened]:
        """Those that are not refused."""
        for each, refusal in zip(left, refused, strict=True):
            if refusal is not None:
                self.refuse(each.contribution, *refusal)
        return [each for each, refusal in zip(left, refused, strict=True) if refusal is None]

    def merge(self, left: Sequence[Opened], weights: Sequence[int]) -> None:
        """What the aggregate took of each."""
        for each, share in zip(left, shares(weights), strict=True):
            if share:
                self.note(each, weight_micro=share)
            else:
                self.refuse(each.contribution, "outlier", "others lie nearer to each other")

    def reasons(self) -> str:
        found = [each.reason or "merged" for each in self._of.values()]
        return ", ".join(f"{found.count(each)} {each}" for each in sorted(set(found))) or "none"

    def all(self) -> tuple[Verdict, ...]:
        return tuple(self._of.values())
