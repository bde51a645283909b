"""What `bench distil` makes of answers: each way on the same held-out questions, with intervals over resampled ones.

Pure. Source of intervals: percentiles of resampled questions (Efron 1979).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archipel.bench.cascade_ways import Interval, interval
from archipel.training.lessons import ON_POLICY, SEQUENCES

TEACHER, BEFORE, LABELS, FEW = "teacher", "student before", "labels", "few labels"


@dataclass(frozen=True)
class Arm:
    """A model after one of the ways."""

    name: str
    steps: int
    seconds: float
    """Of the processor, in this way alone."""
    right: tuple[float, ...]
    """Of each held-out question."""


@dataclass(frozen=True)
class Line:
    """One arm on the held-out questions."""

    name: str
    steps: int
    seconds: float
    quality: Interval
    gain: Interval
    """Over the student before, on the same questions."""
    closed: float | None
    """Of the gap between the student before and its teacher; None where there is none."""


@dataclass(frozen=True)
class Found:
    """What came out."""

    lines: tuple[Line, ...]
    differences: Mapping[str, Interval]
    """Of two arms, on the same questions."""


def found_of(arms: Sequence[Arm], resamples: int) -> Found:
    """Gains and differences of the ways."""
    right = {arm.name: np.array(arm.right) for arm in arms}
    num = len(right[BEFORE])
    weights = np.random.default_rng(0).multinomial(num, np.full(num, 1 / num), size=resamples) / num
    weights = np.concatenate([np.full((1, num), 1 / num), weights])
    gap = float(right[TEACHER].mean() - right[BEFORE].mean())
    lines = [
        Line(
            arm.name,
            arm.steps,
            arm.seconds,
            interval(weights @ right[arm.name]),
            interval(weights @ (right[arm.name] - right[BEFORE])),
            float(right[arm.name].mean() - right[BEFORE].mean()) / gap if gap > 0 else None,
        )
        for arm in arms
    ]
    pairs = ((ON_POLICY, SEQUENCES), (ON_POLICY, LABELS), (SEQUENCES, LABELS), (ON_POLICY, FEW), (SEQUENCES, FEW))  # fmt: skip
    differences = {
        f"{one} - {other}": interval(weights @ (right[one] - right[other])) for one, other in pairs
    }
    return Found(tuple(lines), differences)


def table(found: Found) -> str:
    """For people."""
    return "\n".join(
        [
            f"{'':<16}{'right':>22}{'gain':>24}{'gap closed':>12}{'steps':>7}{'processor s':>13}",
            *(
                f"{x.name:<16}{x.quality!s:>22}{x.gain!s:>24}{'' if x.closed is None else f'{x.closed:.0%}':>12}{x.steps:>7}{x.seconds:>13.1f}"
                for x in found.lines
            ),
            "",
            *(f"{name:<26}{value}" for name, value in found.differences.items()),
        ]
    )
