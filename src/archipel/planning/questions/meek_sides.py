"""`plan meek`, both sides as they stand today: compute, loss, score, size."""

from typing import Any

from archipel.planning.laws import bounded, frontier
from archipel.planning.plan import Table
from archipel.planning.quantity import Quantity, derive
from archipel.planning.questions.meek_law import BENCHMARK_LAW
from archipel.planning.questions.meek_race import Race
from archipel.planning.questions.meek_running import Running
from archipel.planning.questions.meek_scores import score_inputs
from archipel.planning.questions.meek_today import Today


def table(of: Race, now: Today, run: Running) -> Table:
    """Two columns: the fixed budget and the frontier."""
    led = (of.now * of.lead).named("meek.frontier.flop", "compute of the frontier now", "FLOP")
    sides = (("meek.fixed", of.now), ("meek.frontier", led))
    return Table(
        "Both sides today",
        ("", "fixed budget", "frontier"),
        (
            ("training compute", of.now, led),
            (f"loss ({of.law.name} law)", *(_loss(of, name, flop) for name, flop in sides)),
            ("MMLU score", *(_score(of, name, flop) for name, flop in sides)),
            ("size run at a fixed price, size trained", run.runnable, run.leading),
            ("years since the gap was widest", now.since_widest, ""),
        ),
    )


def _loss(of: Race, side: str, flop: Quantity) -> Quantity:
    return derive(
        f"{side}.loss",
        "nat/token",
        [
            (flop, "FLOP"),
            (of.law.coefficient, "nat/token"),
            (of.law.exponent, "1"),
            (of.law.floor, "nat/token"),
        ],
        lambda c, a, x, floor: floor + frontier.reducible_loss(c, a, x),
        "floor + coefficient · C^-exponent",
        "loss at the best split of that compute",
    )


def _score(of: Race, side: str, flop: Quantity) -> Quantity:
    def score(c: Any, coefficient: Any, exponent: Any, floor: Any, *curve: Any) -> Any:
        loss = floor + frontier.reducible_loss(c, coefficient, exponent)
        return 100.0 * bounded.score(loss, *curve)

    return derive(
        f"{side}.mmlu",
        "percent",
        [(flop, "FLOP"), *score_inputs(of)],
        score,
        f"benchmark curve of the {BENCHMARK_LAW} loss",
        "MMLU score at that compute",
    )
