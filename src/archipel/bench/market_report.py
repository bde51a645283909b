"""What lying in a market earns, as a table and as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from archipel.bench.intervals import MeanOfSeeds, exact_share, mean_of_seeds
from archipel.bench.market import ARMS, Arm, Outcome

NUM_BATCHES = 11
"""Ratios of sums are taken over so many parts of an arm; Student's interval is over these."""

Found = Mapping[str, Sequence[Outcome]]
"""Arm -> an outcome for each of its markets."""


def summary(arm: Arm, found: Sequence[Outcome]) -> dict[str, Any]:
    """Figures of one arm; amounts are shares of what the sponsor spends when all say the truth."""
    lied = sum(1 for each in found if each.gain > 0)
    low, high = exact_share(lied, len(found))
    return {
        "arm": arm.name,
        "assumption": arm.assumption,
        "claimed_truthful": arm.is_claimed,
        "markets": len(found),
        "lies_tried": sum(each.tried for each in found),
        "markets_where_a_lie_pays": lied,
        "share_where_a_lie_pays_95": [low, high],
        "largest_gain_over_spent": max(
            (each.gain / each.spent for each in found if each.spent), default=0.0
        ),
        "gain_over_spent": _figure(found, lambda each: each.gain),
        "sponsor_pays_more": _figure(found, lambda each: each.spent_lied - each.spent),
        "spent_over_cost": _figure(found, lambda each: each.spent, lambda each: each.cost),
    }


def to_json(found: Found) -> dict[str, Any]:
    """Every arm that was measured."""
    return {"arms": [summary(arm, found[arm.name]) for arm in ARMS if found.get(arm.name)]}


def table(found: Found) -> str:
    """A line an arm."""
    lines = [
        f"{'arm':<17}{'markets':>9}{'a lie pays in':>24}{'best gain, % of spending':>28}"
        f"{'sponsor pays, %':>24}{'paid / cost':>24}"
    ]
    for row in to_json(found)["arms"]:
        low, high = row["share_where_a_lie_pays_95"]
        share = f"{row['markets_where_a_lie_pays']:,} [{low:.2%}, {high:.2%}]"
        lines.append(
            f"{row['arm']:<17}{row['markets']:>9,}{share:>24}{_percent(row['gain_over_spent']):>28}"
            f"{_percent(row['sponsor_pays_more']):>24}{_plain(row['spent_over_cost']):>24}"
        )
    lines += ["", *(f"{arm.name}: {arm.assumption}" for arm in ARMS if found.get(arm.name))]
    return "\n".join(lines)


def broken(found: Found) -> list[str]:
    """Arms in which no lie may pay, and one did."""
    return [
        arm.name
        for arm in ARMS
        if arm.is_claimed and any(each.gain > 0 for each in found.get(arm.name, ()))
    ]


def _figure(
    found: Sequence[Outcome], above: Any, below: Any = lambda each: each.spent
) -> dict[str, float]:
    """A ratio of sums with its interval, over batches."""
    parts = [found[i::NUM_BATCHES] for i in range(NUM_BATCHES) if found[i::NUM_BATCHES]]
    ratios = [
        sum(map(above, part)) / total for part in parts if (total := sum(map(below, part))) > 0
    ]
    mean = mean_of_seeds(ratios) if ratios else MeanOfSeeds(0.0, 0.0, 0.0, 0)
    return {"mean": mean.mean, "low": mean.low, "high": mean.high}


def _percent(figure: Mapping[str, float]) -> str:
    return f"{100 * figure['mean']:.2f} [{100 * figure['low']:.2f}, {100 * figure['high']:.2f}]"


def _plain(figure: Mapping[str, float]) -> str:
    return f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
