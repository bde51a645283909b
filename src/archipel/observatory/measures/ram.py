"""The Relative Adoption Metric of the ATOM project, both of its versions.

Source: atomproject.ai/relative-adoption-metric (12 January 2026: the median of the top ten) and its baseline 2026-Q2
(25 May 2026: the tenth most downloaded). Size classes: `sizes`.
Law: only counts at the asked age enter, the model's and the baseline's alike; fewer than ten models: unknown.
"""

import datetime
import statistics
from typing import Final

from archipel.observatory.measures.measure import (
    Asked,
    CannotAsk,
    Definition,
    Found,
    Line,
    named,
)
from archipel.observatory.measures.sizes import CLASSES, size_class
from archipel.observatory.rows import UNKNOWN, CountRow
from archipel.observatory.snapshot import Snapshot

MILESTONES: Final = (7, 14, 30, 60, 90, 180, 365)
"""Days after counting began."""
SLACK: Final = 0.1
"""A count serves a milestone if its age is within this share of it, at least one day; the nearest does."""
TOP: Final = 10
_FLAWS: Final = (
    "Counts of downloads hold HEAD requests and programs; within one size class and age they hold them for all.",
    "The baseline is of the models in the snapshot: a snapshot with few of a class gives another than one with all.",
    "The published bins say 1-9B, 10-30B, 31-100B, 100B+; here 9.5B is in the first, 30.5B in the second, 100B in the last.",
    "A count may be up to a tenth younger or older than the milestone, where none was taken on the day.",
)
RAM1: Final = Definition(
    "ram/1",
    "Relative Adoption Metric, version 1",
    "A model's cumulative downloads at an age (7, 14, 30, 60, 90, 180 or 365 days) divided by the median of the ten "
    "largest cumulative downloads at that age within its size class. Ten models must have a count, the model among "
    "them or not; otherwise unknown.",
    "ratio",
    ("age", "model"),
    _FLAWS,
)
RAM2: Final = Definition(
    "ram/2",
    "Relative Adoption Metric, version 2",
    "As ram/1, divided by the tenth largest: above 1 the model is among the ten most downloaded of its size at that age.",
    "ratio",
    ("age", "model"),
    _FLAWS,
)


def ram1(snapshot: Snapshot, asked: Asked) -> Found:
    """`ram/1`."""
    return _ram(snapshot, asked, is_median=True)


def ram2(snapshot: Snapshot, asked: Asked) -> Found:
    """`ram/2`."""
    return _ram(snapshot, asked, is_median=False)


def at_age(snapshot: Snapshot, age: int) -> dict[str, CountRow]:
    """Model -> the count of all its downloads that is nearest to an age, in days, within `SLACK`."""
    found: dict[str, tuple[int, CountRow]] = {}
    for row in snapshot.counts:
        if row.metric != "downloads_all" or row.first_at == UNKNOWN:
            continue
        old = _days(row.first_at, row.at)
        off = abs(old - age)
        if off <= max(1, int(age * SLACK)) and (
            row.model not in found or off < found[row.model][0]
        ):
            found[row.model] = (off, row)
    return {model: row for model, (_, row) in found.items()}


def _ram(snapshot: Snapshot, asked: Asked, *, is_median: bool) -> Found:
    if asked.age not in MILESTONES:
        raise CannotAsk(
            f"--age {asked.age}: expected one of {', '.join(map(str, MILESTONES))} days"
        )
    if asked.model and asked.model not in snapshot.models:
        raise CannotAsk(f"no model {asked.model!r:.80} in this snapshot")
    counts = at_age(snapshot, asked.age)
    lines: list[Line] = []
    left_out: list[str] = []
    for size in CLASSES:
        members = [
            row
            for model, row in counts.items()
            if size_class(snapshot.models[model].params) == size
        ]
        if 0 < len(members) < TOP:
            left_out.append(
                f"{size}: {len(members)} models have a count at {asked.age} days, of {TOP}"
            )
        elif members:
            lines += _scored(snapshot, size, members, is_median)
    lines.sort(key=lambda line: (-(line.value or 0.0), line.label))
    if asked.model:
        lines = [line for line in lines if line.label == asked.model]
    if not lines:
        return Found(
            None,
            f"fewer than {TOP} models of the size class have counted downloads at {asked.age} days",
            left_out=tuple(left_out),
        )
    first = lines[0]
    return Found(
        first.value, f"{first.label}: {first.value:.2f}", tuple(lines), (), tuple(left_out)
    )


def _scored(snapshot: Snapshot, size: str, members: list[CountRow], is_median: bool) -> list[Line]:
    best = sorted(members, key=lambda row: (-row.value, row.model))[:TOP]
    below = statistics.median(row.value for row in best) if is_median else best[-1].value
    if not below:
        return []
    baseline = named("counts", *best)
    return [
        Line(
            row.model,
            row.value / below,
            f"{size}, {row.value:,} over {below:,.0f}",
            (*named("counts", row), *named("models", snapshot.models[row.model]), *baseline),
        )
        for row in members
    ]


def _days(first: str, last: str) -> int:
    return (datetime.date.fromisoformat(last) - datetime.date.fromisoformat(first)).days
