"""`plan meek`, what people notice of a gap in loss: benchmark points, text needed to tell two models apart.

Scores are read at equal effective compute, through the law whose losses the benchmark curve was drawn with.
"""

from typing import Any

import numpy as np

from archipel.planning.laws import bounded, distinguish, frontier
from archipel.planning.quantity import Quantity, derive
from archipel.planning.questions.meek_law import BENCHMARK_LAW
from archipel.planning.questions.meek_race import Race, when


def points_after(of: Race, years: float, name: str) -> Quantity:
    """The gap in benchmark points so many years from today."""

    def points(c0: Any, lead: Any, shared: Any, own: Any, *rest: Any) -> Any:
        coefficient, exponent, floor_loss, *curve = rest
        fixed = c0 * np.power(shared, years)
        led = fixed * lead * np.power(own, years)
        both = [
            bounded.score(floor_loss + frontier.reducible_loss(c, coefficient, exponent), *curve)
            for c in (fixed, led)
        ]
        return 100.0 * (both[1] - both[0])

    return derive(
        name,
        "1",
        [
            (of.now, "FLOP"),
            (of.lead, "1"),
            (of.shared, "1"),
            (of.own, "1"),
            *score_inputs(of),
        ],
        points,
        f"score of the frontier − score of the budget, {BENCHMARK_LAW} losses",
        f"MMLU gap {when(years)}, in points",
    )


def score_inputs(of: Race) -> list[tuple[Quantity, str]]:
    """The law of the benchmark curve and the curve."""
    curve = [of.shelf[f"frontier.benchmark.mmlu.{part}"] for part in ("floor", "span", "k", "x0")]
    return [
        (of.scores.coefficient, "nat/token"),
        (of.scores.exponent, "1"),
        (of.scores.floor, "nat/token"),
        *(
            (each, unit)
            for each, unit in zip(curve, ("1", "1", "token/nat", "nat/token"), strict=True)
        ),
    ]


def tokens_to_tell(of: Race, gap: Quantity, name: str, about: str) -> Quantity:
    """Tokens one must read until a sequential test tells the two apart."""
    return derive(
        name,
        "token",
        [(of.shelf["frontier.sprt.error"], "1"), (gap, "nat/token")],
        distinguish.tokens_needed,
        "[(1−a) ln((1−a)/a) + a ln(a/(1−a))] / gap",
        about,
    )
