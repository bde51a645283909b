"""Fingerprints that came with an answer against the activations that a verifier's prefill gives.

Of an answer four figures, more is worse: the share of points whose exponents differ and the mean distance of mantissas
where they are equal (0 to 127), each over all proofs and of the worst one. Over all, rounding averages out, so that other
weights show; the worst shows one forged rollout among many. Law: what is malformed or missing is `BadFingerprint`.
Not shown: that the tokens were sampled from these activations; that is for the noise to say (`forced`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from archipel.engine.exact.replay import Recorded
from archipel.engine.toploc import BadFingerprint, Distance, distances
from archipel.proofs.forced import Checked
from archipel.records.fingerprints import ROWS

RANGE = 128.0
"""A mantissa's; as far is what has not one exponent in common."""


@dataclass(frozen=True)
class Printed:
    """What the fingerprints of one answer come to."""

    exponents: float
    exponents_mean: float
    mantissas: float
    mantissas_mean: float
    worst: tuple[int, int]
    """(which rollout of all that were checked, first token) of the proof that is furthest away."""


def printed(recorded: Sequence[Recorded], checked: Sequence[Checked]) -> Printed:
    """Of an answer; checked: its rollouts, in order.

    Raises:
        BadFingerprint: a rollout brings none, or others than its tokens ask for.
    """
    rollouts = [rollout for each in recorded for rollout in each.rollouts.values()]
    found: list[tuple[tuple[int, int], Distance]] = []
    for row, (rollout, own) in enumerate(zip(rollouts, checked, strict=True)):
        if rollout.fingerprints is None:
            raise BadFingerprint("a rollout without fingerprints; this run asks for them")
        apart = distances(rollout.fingerprints, own.hidden)
        found += [((row, part * ROWS), each) for part, each in enumerate(apart)]
    if not found:
        raise BadFingerprint("an answer without a rollout; expected at least one")
    points = sum(each.points for _, each in found)
    alike = sum(each.points - each.exponents for _, each in found)
    total = sum(_mean(each) * (each.points - each.exponents) for _, each in found)
    worst, _ = max(found, key=lambda one: (_share(one[1]), _mean(one[1])))
    return Printed(
        exponents=max(_share(each) for _, each in found),
        exponents_mean=(points - alike) / points,
        mantissas=max(_mean(each) for _, each in found),
        mantissas_mean=total / alike if alike else RANGE,
        worst=worst,
    )


def _share(apart: Distance) -> float:
    return apart.exponents / apart.points


def _mean(apart: Distance) -> float:
    return min(RANGE, apart.mean)
