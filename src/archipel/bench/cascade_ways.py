"""Ways of choosing between two models on the same held-out questions, and what each is worth with bootstrap intervals.

Parts: `Way`, `ways_of` (ours, and simpler ones), `Worth`, `worth_of`. Pure. Source of intervals: percentiles of resampled questions (Efron 1979).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archipel.serve.cascade.choosing import thresholds
from archipel.serve.cascade.confidence import signs_of
from archipel.serve.cascade.curves import curve_of, oracle_curve, recovered, share_for
from archipel.serve.cascade.fitting import Chances, Evidence, Flags, Rules
from archipel.serve.cascade.heads import Floats

CASCADE, ORACLE, CHANCE = "cascade", "oracle", "random"
NUM_POINTS = 101


@dataclass(frozen=True)
class Way:
    """Points of one way, from never to always asking the large model."""

    name: str
    large: Flags
    """(K, N) whether the large model answers."""
    seconds: Floats
    """(K, N)"""


@dataclass(frozen=True)
class Interval:
    """A figure and its 95% interval over resampled questions."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "none"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Worth:
    """One way."""

    name: str
    apgr: Interval
    cpt50: Interval
    cpt80: Interval
    seconds80: float
    """A question at `cpt80`, of what the large model alone takes; NaN for ways that nobody can go."""
    points: tuple[tuple[float, float, float], ...]
    """(share, quality, seconds) of all questions."""


def ways_of(evidence: Evidence, told: Chances, alpha: float) -> list[Way]:
    """The cascade as it is served; without its gate; the gate alone; and scores that nobody fitted."""
    signs = np.stack([signs_of(each, alpha, 0.0) for each in evidence.logprobs])
    rules = [Rules(float(one), evidence.break_even) for one in thresholds(told, NUM_POINTS)]
    straight = np.stack([told.straight(one) for one in rules])
    large = np.stack([told.to_large(one) for one in rules])
    gate_s, small_s = evidence.gate_s, evidence.small_s
    seconds = gate_s + np.where(straight, 0.0, small_s) + np.where(large, evidence.large_s, 0.0)
    found = [Way(CASCADE, large, seconds)]
    for name, score, before in (
        ("without the gate", told.confidence, gate_s + small_s),
        ("quantile alone", signs[:, 0], small_s),
        ("mean alone", signs[:, 1], small_s),
    ):
        asked = _below(score)
        found.append(Way(name, asked, before + np.where(asked, evidence.large_s, 0.0)))
    asked = _below(told.gate)
    found.append(Way("gate alone", asked, gate_s + np.where(asked, evidence.large_s, small_s)))
    return found


def worth_of(ways: Sequence[Way], evidence: Evidence, resamples: int) -> list[Worth]:
    """Each way, and before them what chance and an oracle are worth on these questions."""
    num = len(evidence)
    draw = np.random.default_rng(0)
    weights = draw.multinomial(num, np.full(num, 1 / num), size=resamples) / num
    weights = np.concatenate([np.full((1, num), 1 / num), weights])
    ends = (weights @ evidence.small, weights @ evidence.large)
    return [
        _oracle(evidence, weights),
        *(_one(way, evidence, weights, ends) for way in ways),
        _chance(evidence),
    ]


def recovered_at(way: Way, evidence: Evidence, of: Flags) -> float:
    """APGR of a way over these questions (N,) alone."""
    small, large = float(evidence.small[of].mean()), float(evidence.large[of].mean())
    asked = way.large[:, of]
    quality = np.where(asked, evidence.large[of], evidence.small[of]).mean(axis=1)
    return recovered(curve_of(asked.mean(axis=1), quality, small, large), small, large)


def _below(score: Floats) -> Flags:
    """(K, N): which questions have less than each of its quantiles."""
    levels = np.quantile(score, np.linspace(0.0, 1.0, NUM_POINTS))
    found: Flags = score[None, :] < np.concatenate([levels, [math.inf]])[:, None]
    return found


def _one(way: Way, evidence: Evidence, weights: Floats, ends: tuple[Floats, Floats]) -> Worth:
    share = np.minimum(weights @ way.large.T.astype(float), 1.0)
    quality = weights @ np.where(way.large, evidence.large, evidence.small).T
    seconds = way.seconds.mean(axis=1)
    figures = []
    for n in range(len(weights)):
        small, large = float(ends[0][n]), float(ends[1][n])
        curve = curve_of(share[n], quality[n], small, large)
        figures.append(
            [
                recovered(curve, small, large),
                *(share_for(curve, part, small, large) for part in (0.5, 0.8)),
            ]
        )
    apgr, cpt50, cpt80 = (interval(column) for column in np.array(figures).T)
    order = np.argsort(share[0], kind="stable")
    at80 = float(np.interp(cpt80.value, share[0][order], seconds[order]))
    return Worth(
        way.name,
        apgr,
        cpt50,
        cpt80,
        at80 / float(evidence.large_s.mean()),
        tuple((float(share[0][k]), float(quality[0][k]), float(seconds[k])) for k in order),
    )


def _oracle(evidence: Evidence, weights: Floats) -> Worth:
    """Whoever knows both answers."""
    figures = []
    for row in weights:
        times = np.rint(row * len(evidence)).astype(int)
        small, large = np.repeat(evidence.small, times), np.repeat(evidence.large, times)
        low, high, curve = float(small.mean()), float(large.mean()), oracle_curve(small, large)
        parts = (share_for(curve, part, low, high) for part in (0.5, 0.8))
        figures.append([recovered(curve, low, high), *parts])
    apgr, cpt50, cpt80 = (interval(column) for column in np.array(figures).T)
    curve = oracle_curve(evidence.small, evidence.large)
    points = zip(curve.share[::10], curve.quality[::10], strict=True)
    told = tuple((float(share), float(quality), math.nan) for share, quality in points)
    return Worth(ORACLE, apgr, cpt50, cpt80, math.nan, told)


def _chance(evidence: Evidence) -> Worth:
    """Each question to the large model with the same chance, known without sampling."""
    small, large = float(evidence.small.mean()), float(evidence.large.mean())
    seconds = float(evidence.small_s.mean()), float(evidence.large_s.mean())
    points = ((0.0, small, seconds[0]), (1.0, large, seconds[1]))
    half, most, least = (Interval(each, each, each) for each in (0.5, 0.8, 0.5))
    at80 = (0.2 * seconds[0] + 0.8 * seconds[1]) / seconds[1]
    return Worth(CHANCE, least, half, most, at80, points)


def interval(column: Floats) -> Interval:
    """The first is of all questions, the others of resampled ones."""
    sound = column[1:][~np.isnan(column[1:])]
    low, high = np.quantile(sound, [0.025, 0.975]) if len(sound) else (math.nan, math.nan)
    return Interval(float(column[0]), float(low), float(high))
