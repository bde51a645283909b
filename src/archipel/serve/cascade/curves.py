"""What a way of choosing between two models is worth: quality over the share of questions that the large one answers.

Parts: `Curve` and its numbers (`recovered`: APGR; `share_for`: CPT), `random_curve`, `oracle_curve`. Pure.
Source: APGR and CPT, Ong et al. 2024 (arXiv 2406.18665), section 4.2; an oracle spends a budget where the gain is largest.
"""

import math
from dataclasses import dataclass

import numpy as np

from archipel.serve.cascade.heads import Floats


@dataclass(frozen=True)
class Curve:
    """Points, shares rising from 0 (the small model alone) to 1 (the large one alone)."""

    share: Floats
    quality: Floats

    @property
    def area(self) -> float:
        """Mean quality over all shares, by trapezoids."""
        return float(np.trapezoid(self.quality, self.share))


def curve_of(share: Floats, quality: Floats, small: float, large: float) -> Curve:
    """Points in order of their share, with each model alone at the ends; of equal shares all are kept."""
    order = np.argsort(share, kind="stable")
    return Curve(np.array([0.0, *share[order], 1.0]), np.array([small, *quality[order], large]))


def recovered(curve: Curve, small: float, large: float) -> float:
    """APGR: the mean share of the gap between the two models that is recovered; .5 for chance; NaN without a gap."""
    return (curve.area - small) / (large - small) if large > small else math.nan


def share_for(curve: Curve, part: float, small: float, large: float) -> float:
    """CPT: the least share of questions to the large model that recovers `part` of the gap; NaN if none does."""
    if large <= small:
        return math.nan
    wanted = small + part * (large - small) - 1e-12
    for n in range(len(curve.share)):
        if curve.quality[n] >= wanted:
            if n == 0:
                return 0.0
            (x0, x1), (y0, y1) = curve.share[n - 1 : n + 1], curve.quality[n - 1 : n + 1]
            return float(x0 + (x1 - x0) * min(1.0, (wanted - y0) / (y1 - y0)))
    return math.nan


def oracle_curve(small_N: Floats, large_N: Floats) -> Curve:
    """Whoever knows both answers spends each call where it gains most, and none where it loses."""
    gains = np.sort(np.maximum(large_N - small_N, 0.0))[::-1]
    num = len(gains)
    return Curve(
        np.arange(num + 1) / num,
        small_N.mean() + np.concatenate([[0.0], np.cumsum(gains)]) / num,
    )
