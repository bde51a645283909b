"""When a claim holds: a rule on sampled worlds, and nothing else.

A claim compares a computed quantity with a claimed one. In each sampled world that comparison is true or
false; the share of worlds in which it is true decides. Law: pure functions of numbers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from archipel.planning.mistakes import nearest

Numbers = Any
HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"
DEPENDS, NO_NUMBER = "depends on the reading", "no number decides"
OF_MANY = {
    HOLDS: "hold", DEPENDS: "depend on the reading", FAILS: "do not hold", OPEN: "undecided",
    NO_NUMBER: "beyond any number here",
}  # fmt: skip
"""What is said of several claims."""
COMPARISONS = ("about", "range", "at least", "at most", "more than", "less than")


def check_comparison(word: str) -> str:
    """The comparison of this name.

    Raises:
        UnknownName: no such comparison, with the nearest.
    """
    if word not in COMPARISONS:
        raise nearest(word, COMPARISONS, "comparison of a claim")
    return word


def share_true(
    comparison: str, computed: Numbers, claimed: Numbers, ends: tuple[float, float], factor: float
) -> float:
    """The share of sampled worlds in which a claim is true, in 0..1.

    `computed` and `claimed` are floats or one number per world, in one unit; `ends` are the claimed
    range, for the comparison "range"; `factor` is how far "about" may be off.
    """
    low, high = ends
    over = np.asarray(computed, dtype=float), np.asarray(claimed, dtype=float)
    true = {
        "about": (over[0] <= factor * over[1]) & (over[0] >= over[1] / factor),
        "range": (over[0] >= low) & (over[0] <= high),
        "at least": over[0] >= over[1],
        "at most": over[0] <= over[1],
        "more than": over[0] > over[1],
        "less than": over[0] < over[1],
    }[comparison]
    return float(np.mean(true))


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
