"""Concentration: how few hold how much of the counted adoption.

Law: the Herfindahl-Hirschman index is the sum of squared shares; what belongs to nobody known is told, and left out.
"""

from typing import Final

from archipel.observatory.measures.adoption import FLAWS, newest
from archipel.observatory.measures.measure import (
    Asked,
    Definition,
    Found,
    group_of,
    lacking,
    named,
    shares,
)
from archipel.observatory.rows import UNKNOWN
from archipel.observatory.snapshot import Snapshot

HHI: Final = Definition(
    "hhi/1",
    "Concentration of adoption",
    "The sum over groups of the squared share of the newest counts of the metric: 1 where one group has all, 1/n where n "
    "have the same. Models of an unknown group are left out, and what share of the counts they have is said.",
    "hhi",
    ("by", "metric", "scheme"),
    (*FLAWS, "Several makers of one model are a group of their own."),
)


def concentration(snapshot: Snapshot, asked: Asked) -> Found:
    """`hhi/1`."""
    counts = newest(snapshot, asked.metric)
    parts: dict[str, list[tuple[float, tuple[str, ...]]]] = {}
    for model_id, count in counts.items():
        model = snapshot.models[model_id]
        rows = (*named("counts", count), *named("models", model))
        parts.setdefault(group_of(snapshot, model, asked), []).append((float(count.value), rows))
    without = sum(amount for amount, _ in parts.pop(UNKNOWN, []))
    whole = sum(each.value for each in counts.values())
    if whole - without <= 0:
        return lacking(f"no counts of {asked.metric} of a known {asked.by} in this snapshot")
    lines = shares(parts)
    value = sum((line.value or 0.0) ** 2 for line in lines)
    left_out = (f"unknown {asked.by}: {without / whole:.1%} of the counts",) if without else ()
    return Found(value, f"{value:.3f}, as of {1 / value:.1f} equal groups", lines, (), left_out)
