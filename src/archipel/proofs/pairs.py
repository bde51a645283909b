"""From the figures of honest and dishonest answers to the thresholds of one pair of prover and verifier. Pure.

One half of the honest answers gives every figure its scale, the other half the limit: the largest score, of which an
answer's is its worst figure over its scale. The limit holds for tokens and log-probabilities alone as well as with
fingerprints beside them; which cheats pass is told for both.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from archipel.proofs.binomial import lower, upper
from archipel.proofs.plan import Plan
from archipel.proofs.record import Caught, Pair, Watch
from archipel.records.fingerprints import FIGURES as FINGERPRINTS

FLOORS = {
    "flips": 0.01, "excess_mean": 1e-6, "excess_largest": 1e-5, "logprob_mean": 1e-6, "logprob_largest": 1e-5,
    "logprob_bias": 1e-6, "temperature": 1e-6, "exponents": 0.05, "exponents_mean": 0.002, "mantissas": 0.05, "mantissas_mean": 0.002,
}  # fmt: skip
"""No scale is smaller: below this a figure is grain (one token, one mantissa's step), not evidence."""
PLAIN = tuple(name for name in FLOORS if name not in FINGERPRINTS)
"""What tokens and log-probabilities show."""
QUANTILES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)

Figures = dict[str, float]


def pair_of(
    prover: str,
    verifier: str,
    honest: Sequence[Figures],
    cheats: Mapping[str, Sequence[Figures]],
    plan: Plan,
) -> Pair:
    """Thresholds of one pair, or its refusal."""
    fit, rest = honest[::2], honest[1::2]
    scales = {name: max(FLOORS[name], *(each[name] for each in fit)) for name in FLOORS}
    limit = max(max(each[name] / scales[name] for name in scales) for each in rest)
    thresholds = {name: scale * limit * plan.headroom for name, scale in scales.items()}
    caught = {name: _caught(found, thresholds, plan) for name, found in cheats.items()}
    overlaps = tuple(name for name, each in caught.items() if each.caught < each.answers)
    blind = tuple(name for name, each in caught.items() if (each.plainly or 0) < each.answers)
    usable = set(overlaps) <= set(plan.sequential)

    def watched(names: Sequence[str], figures: Collection[str]) -> dict[str, Watch]:
        found = {name: _watch(fit, rest, cheats[name], plan, figures) for name in names}
        return {name: each for name, each in found.items() if each is not None}

    return Pair(
        prover=prover,
        verifier=verifier,
        honest=len(honest),
        usable=usable,
        thresholds=thresholds if usable else {},
        false_at_most=upper(0, len(rest), plan.confidence),
        cheats=caught,
        overlaps=overlaps,
        watched=watched(overlaps, FLOORS),
        blind=blind,
        watched_blind=watched(blind, PLAIN),
    )


def _caught(found: Sequence[Figures], thresholds: Figures, plan: Plan) -> Caught:
    over = [[name for name, most in thresholds.items() if each[name] > most] for each in found]
    caught = sum(1 for each in over if each)
    by = {name: sum(name in each for each in over) for name in thresholds}
    return Caught(
        answers=len(found),
        caught=caught,
        at_least=lower(caught, len(found), plan.confidence),
        by={name: count for name, count in by.items() if count},
        plainly=sum(any(name in PLAIN for name in each) for each in over),
    )


def _watch(
    fit: Sequence[Figures],
    rest: Sequence[Figures],
    cheat: Sequence[Figures],
    plan: Plan,
    figures: Collection[str],
) -> Watch | None:
    """The figure and border that tell most, chosen by one half, with honest's rate from the other; None: none does."""
    best: tuple[float, str, float] | None = None
    for name in figures:
        for quantile in QUANTILES:
            border = float(np.quantile([each[name] for each in fit], quantile))
            told = _information(
                upper(_over(fit, name, border), len(fit), plan.confidence),
                lower(_over(cheat, name, border), len(cheat), plan.confidence),
            )
            if best is None or told > best[0]:
                best = (told, name, border)
    if best is None:
        return None
    _, name, border = best
    honest = upper(_over(rest, name, border), len(rest), plan.confidence)
    odd = lower(_over(cheat, name, border), len(cheat), plan.confidence)
    if odd <= honest:
        return None
    return Watch(figure=name, border=border, honest=honest, cheat=odd)


def _over(answers: Sequence[Figures], name: str, border: float) -> int:
    return sum(each[name] > border for each in answers)


def _information(honest: float, cheat: float) -> float:
    """Nats that one answer of the cheat gives against honesty on average; 0 where the rates are in the wrong order."""
    if not 0 < honest < cheat < 1:
        return 0.0
    return cheat * math.log(cheat / honest) + (1 - cheat) * math.log((1 - cheat) / (1 - honest))
