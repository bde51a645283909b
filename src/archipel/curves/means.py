"""What the rules of `concerns` and `held_out` share: a concern, and means over points that measured something."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from archipel.curves.history import Point


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that goes wrong."""

    kind: str
    """`nothing-to-learn`, `solved`, `few-teach`, `cut-off`, `collapse`, `few-answers`, `fallen`, `worse`, `apart`,
    `majority`, `mismatch`, `unusable`, `held-back`, `grading`, `void`."""
    text: str
    """What was seen, then what may be done about it."""


def trained(points: Sequence[Point]) -> list[Point]:
    """Means over trained tokens are 0 where there were none, and measure nothing."""
    return [point for point in points if point.values.get("tokens") != 0]


def mean(points: Sequence[Point], name: str) -> float | None:
    """Mean over the points; None if not all of them have it."""
    values = [point.values[name] for point in points if name in point.values]
    return fmean(values) if values and len(values) == len(points) else None


def means(points: Sequence[Point], name: str, window: int) -> list[float]:
    """Mean over each `window` points in a row; nothing if not all of them have it."""
    values = [point.values[name] for point in points if name in point.values]
    if len(values) != len(points) or len(values) < window:
        return []
    sums = [0.0, *accumulate(values)]
    return [(sums[end] - sums[end - window]) / window for end in range(window, len(sums))]
