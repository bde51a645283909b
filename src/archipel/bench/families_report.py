"""What `bench families` found, for people and for machines."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from archipel.bench.families import EARLIER, MORE, REWARDS, START, Row
from archipel.bench.intervals import mean_of_seeds

LIFTED, SAME, FELL = "lifted", "no difference shown", "FELL"
ALONE = "nothing to compare with"
GRAVE_FIRST = ("collapse", "fallen", "worse", "apart", "few-answers", "majority", "cut-off")


def row_line(row: Row) -> str:
    """One arm that has ended, on a line."""
    value, low, high = row.examined.greedy
    told = ", ".join(f"{kind} at {first}" for kind, (first, *_) in row.learned.alarms.items())
    last = row.learned.last
    course = (
        f"  reward {row.learned.first['reward']:.2f} -> {last['reward']:.2f}, entropy {last['entropy']:.2f}, "
        f"{last.get('distinct_answers', 0):.0f} answers, {last['zero_advantage_fraction']:.0%} taught nothing, "
        f"{last['cut_fraction']:.0%} cut"
        if last
        else ""
    )
    return (
        f"{row.family:<9} seed {row.seed}  {row.arm:<24} greedy {value:.3f} [{low:.3f}, {high:.3f}]  "
        f"{_most(row)}  majority {row.examined.majority:.3f}  {row.examined.distinct} answers{course}"
        + (f"  ALARMS: {told}" if told else "")
    )


def table(rows: Sequence[Row]) -> str:
    """Means over seeds, and what a family came to."""
    if not rows:
        return "no arm has ended yet"
    lines = [
        f"{'family':<10}{'majority':>9} {'arm':<24}{'greedy, over seeds':>24} {'pass@k':>14} {'processor s':>12}  "
        "beside the supervised stage"
    ]
    for family, arm in dict.fromkeys((row.family, row.arm) for row in rows):
        mine = [row for row in rows if (row.family, row.arm) == (family, arm)]
        lines.append(
            f"{family:<10}{_mean([row.examined.majority for row in mine]):>9.3f} {arm:<24}"
            f"{mean_of_seeds([row.examined.greedy[0] for row in mine])!s:>24} {_most(mine[0]):>14} "
            f"{_mean([row.learned.processor_s for row in mine]):>12.0f}  "
            f"{', '.join(verdict(rows, row) for row in mine) if arm != START else ''}{_alarms(mine)}"
        )
    return "\n".join([*lines, "", *_sums(rows)])


def verdict(rows: Sequence[Row], row: Row) -> str:
    """Whether an arm is better than the weights that it began with, on the same tasks; they may not be shown."""
    start = next(
        (
            each.examined
            for each in rows
            if (each.family, each.seed, each.arm) == (row.family, row.seed, START)
        ),
        None,
    )
    if start is None:
        return ALONE
    low, high = difference(start.greedy, row.examined.greedy)
    return LIFTED if low > 0 else FELL if high < 0 else SAME


def difference(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """95% interval of after - before, each a share with its Wilson interval, as of independent tasks.

    Source: Newcombe 1998, Statistics in Medicine 17, method 10. The tasks are the same, so it is too wide.
    """
    gain = after[0] - before[0]
    down = math.hypot(after[0] - after[1], before[2] - before[0])
    up = math.hypot(after[2] - after[0], before[0] - before[1])
    return gain - down, gain + up


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every arm, for machines."""
    starts = any(row.arm == START for row in rows)
    return [
        asdict(row)
        | ({"verdict": verdict(rows, row)} if starts and row.arm != START else {})
        for row in rows
    ]  # fmt: skip


def _sums(rows: Sequence[Row]) -> list[str]:
    lines = []
    for arm in (EARLIER, REWARDS, MORE):
        told = [verdict(rows, row) for row in rows if row.arm == arm]
        if told and ALONE not in told:
            kinds = ", ".join(f"{told.count(each)} {each}" for each in (LIFTED, SAME, FELL))
            lines.append(f"{arm}: of {len(told)} families and seeds {kinds}")
    return lines


def _alarms(rows: Sequence[Row]) -> str:
    kinds = {kind for row in rows for kind in row.learned.alarms}
    named = sorted(kinds, key=lambda kind: (kind not in GRAVE_FIRST, kind))
    return f"  ALARMS: {', '.join(named)}" if named else ""


def _most(row: Row) -> str:
    if not row.examined.pass_at:
        return ""
    k, (value, *_) = list(row.examined.pass_at.items())[-1]
    return f"pass@{k} {value:.3f}"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
