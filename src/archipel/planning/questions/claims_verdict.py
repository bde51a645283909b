"""When a claim holds: a rule on sampled worlds, and nothing else.

A claim compares a computed quantity with a claimed one. In each sampled world that comparison is true or
false; the share of worlds in which it is true decides. Law: pure functions of numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Numbers = Any
HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"
DEPENDS, NO_NUMBER = "depends on the reading", "no number decides"
COMPARISONS: dict[str, Callable[..., Numbers]] = {
    "about": lambda x, claimed, factor, *_: (x <= factor * claimed) & (x >= claimed / factor),
    "range": lambda x, claimed, factor, low, high: (x >= low) & (x <= high),
    "at least": lambda x, claimed, *_: x >= claimed,
    "at most": lambda x, claimed, *_: x <= claimed,
    "more than": lambda x, claimed, *_: x > claimed,
    "less than": lambda x, claimed, *_: x < claimed,
}


def share_true(
    comparison: str, computed: Numbers, claimed: Numbers, ends: tuple[float, float], factor: float
) -> float:
    """The share of sampled worlds in which a claim is true, in 0..1.

    `computed` and `claimed` are floats or one number per world, in one unit; `ends` are the claimed
    range, for the comparison "range"; `factor` is how far "about" may be off.
    """
    worlds = np.asarray(computed, dtype=float), np.asarray(claimed, dtype=float)
    return float(np.mean(COMPARISONS[comparison](*worlds, factor, *ends)))


def verdict(share: float, likely: float) -> str:
    """One reading: holds from `likely` of the worlds on, fails up to one minus that."""
    if share >= likely:
        return HOLDS
    return FAILS if share <= 1.0 - likely else OPEN


def overall(readings: Sequence[str]) -> str:
    """One claim, from the verdicts of its readings: they contradict each other, or most of them agree."""
    if not readings:
        return NO_NUMBER
    if HOLDS in readings and FAILS in readings:
        return DEPENDS
    decided = [each for each in readings if each != OPEN]
    return decided[0] if 2 * len(decided) > len(readings) else OPEN
