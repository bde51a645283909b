"""Adoption: whose open models are downloaded, liked and built upon; as counted, weighted by openness, and robustly.

Law: of each model the newest count of the metric counts, once; totals that others published are a measure of their own.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from archipel.observatory.measures.measure import (
    Asked,
    Definition,
    Found,
    Line,
    grades,
    group_of,
    lacking,
    named,
    shares,
)
from archipel.observatory.measures.sizes import CLASSES, size_class
from archipel.observatory.rows import UNKNOWN, CountRow, ModelRow
from archipel.observatory.snapshot import Snapshot

FLAWS: Final = (
    "A download is a request for a counted file, HEAD requests too: tests and other programs that fetch a model again and again are counted as people are.",
    "Small models are downloaded far more than large ones, by such programs above all.",
    "Other places than Hugging Face (ModelScope, mirrors, hosted interfaces) are not counted.",
    "A country is that of the organisation's seat, wherever its people and computers are.",
)
ADOPTION: Final = Definition(
    "adoption/1",
    "Adoption by group",
    "Of each model the newest count of the metric; a group's share is the sum over its models, divided by the sum over "
    "all models of the snapshot that have a count. The figure is the largest group's share; unknown is a group of its own.",
    "share",
    ("by", "metric", "scheme"),
    FLAWS,
)
OPEN: Final = Definition(
    "adoption_open/1",
    "Adoption weighted by openness",
    "As adoption/1, each count multiplied by the model's class in the Model Openness Framework: class I 1, II 2/3, "
    "III 1/3, none 0. Models without a class are left out, and what share of the counts they have is said.",
    "share",
    ("by", "metric"),
    (*FLAWS, "Weights of classes are a convention: thirds, because there are three classes."),
)
ROBUST: Final = Definition(
    "adoption_robust/1",
    "Adoption, every size class alike",
    "As adoption/1 within each size class (1 to 9, 10 to 30, 31 to 100, more than 100 thousand million parameters); the "
    "figure is the mean of a group's shares over the classes that have counts. Models below 1 thousand million or of "
    "unknown size are left out, and what share of the counts they have is said.",
    "share",
    ("by", "metric", "scheme"),
    (*FLAWS[:1], *FLAWS[2:], "A size class with few models weighs as much as one with many."),
)
TOTALS: Final = Definition(
    "adoption_published/1",
    "Adoption by totals that others published",
    "The newest published total of downloads of each member of the group; its share of the sum of those members that "
    "were published. Nothing is known of those that were not.",
    "share",
    ("by",),
    (*FLAWS, "Only members that somebody printed are compared, so shares are of those alone."),
)
DOWNLOADS: Final = Definition(
    "downloads/1",
    "Counted adoption",
    "As adoption/1, in counts: the sum over a group's models of the newest count of the metric. The figure is the sum "
    "over all models.",
    "downloads",
    ("by", "metric", "scheme"),
    FLAWS,
)
WEIGHTS: Final = {"1": 1.0, "2": 2.0 / 3.0, "3": 1.0 / 3.0, "0": 0.0}


def newest(snapshot: Snapshot, metric: str) -> dict[str, CountRow]:
    """Model -> its newest count of a metric."""
    found: dict[str, CountRow] = {}
    for row in snapshot.counts:
        if row.metric == metric and (row.model not in found or row.at > found[row.model].at):
            found[row.model] = row
    return found


def adoption(snapshot: Snapshot, asked: Asked) -> Found:
    """`adoption/1`."""
    return _shared(snapshot, asked, lambda _: (1.0, ()), "")


def downloads(snapshot: Snapshot, asked: Asked) -> Found:
    """`downloads/1`."""
    found = adoption(snapshot, asked)
    whole = float(sum(each.value for each in newest(snapshot, asked.metric).values()))
    if not found.lines:
        return found
    lines = tuple(replace(each, value=(each.value or 0.0) * whole) for each in found.lines)
    return Found(whole, f"{whole:,.0f} {asked.metric} of all models", lines)


def adoption_open(snapshot: Snapshot, asked: Asked) -> Found:
    """`adoption_open/1`."""
    known = grades(snapshot, "mof")

    def weight(model: ModelRow) -> tuple[float, tuple[str, ...]] | None:
        grade, row = known.get(model.id, (UNKNOWN, ""))
        return (WEIGHTS[grade], (row,)) if grade in WEIGHTS else None

    return _shared(
        snapshot, asked, weight, "models without a class in the Model Openness Framework"
    )


def adoption_robust(snapshot: Snapshot, asked: Asked) -> Found:
    """`adoption_robust/1`."""
    counts = newest(snapshot, asked.metric)
    if not counts:
        return lacking(_lacks(asked))
    by_size: dict[str, dict[str, list[tuple[float, tuple[str, ...]]]]] = {}
    without = 0.0
    for model_id, count in counts.items():
        model = snapshot.models[model_id]
        size = size_class(model.params)
        if size is None:
            without += count.value
            continue
        group = group_of(snapshot, model, asked)
        rows = (*named("counts", count), *named("models", model))
        by_size.setdefault(size, {}).setdefault(group, []).append((float(count.value), rows))
    told: dict[str, list[Line]] = {}
    sizes = [size for size in CLASSES if size in by_size and _sum(by_size[size])]
    for size in sizes:
        for line in shares(by_size[size]):
            told.setdefault(line.label, []).append(line)
    lines = [
        Line(
            label,
            sum(each.value or 0.0 for each in parts) / len(sizes),
            f"in {len(parts)} of {len(sizes)} size classes",
            tuple(row for each in parts for row in each.rows),
        )
        for label, parts in told.items()
    ]
    whole = float(sum(each.value for each in counts.values()))
    ordered = tuple(sorted(lines, key=lambda each: (each.label == UNKNOWN, -(each.value or 0.0))))
    return _headed(
        ordered, _left_out(without, whole, "models below 1 thousand million or of unknown size")
    )


def adoption_published(snapshot: Snapshot, asked: Asked) -> Found:
    """`adoption_published/1`."""
    newest_total = {}
    for row in sorted(snapshot.shares, key=lambda row: (row.to_day, row.id)):
        if row.about == "downloads" and row.by == asked.by and row.unit == "count":
            newest_total[row.member] = row
    if not newest_total:
        return lacking(f"no published totals of downloads by {asked.by} in this snapshot")
    whole = sum(row.value for row in newest_total.values())
    lines = tuple(
        Line(row.member, row.value / whole, f"{row.value:,} to {row.to_day}", named("shares", row))
        for row in sorted(newest_total.values(), key=lambda row: -row.value)
    )
    return _headed(lines, ())


def _shared(
    snapshot: Snapshot,
    asked: Asked,
    weight: Callable[[ModelRow], tuple[float, tuple[str, ...]] | None],
    missing: str,
) -> Found:
    counts = newest(snapshot, asked.metric)
    if not counts:
        return lacking(_lacks(asked))
    parts: dict[str, list[tuple[float, tuple[str, ...]]]] = {}
    without = 0.0
    for model_id, count in counts.items():
        model = snapshot.models[model_id]
        weighed = weight(model)
        if weighed is None:
            without += count.value
            continue
        rows = (*named("counts", count), *named("models", model), *weighed[1])
        parts.setdefault(group_of(snapshot, model, asked), []).append(
            (count.value * weighed[0], rows)
        )
    whole = float(sum(each.value for each in counts.values()))
    return _headed(shares(parts), _left_out(without, whole, missing))


def _headed(lines: tuple[Line, ...], left_out: tuple[str, ...]) -> Found:
    known = [each for each in lines if each.label != UNKNOWN and each.value is not None]
    if not known:
        return Found(None, "nothing that was counted belongs to a known group", lines, (), left_out)
    first = known[0]
    return Found(first.value, f"{first.label}: {first.value:.1%}", lines, (), left_out)


def _left_out(without: float, whole: float, what: str) -> tuple[str, ...]:
    return (f"{what}: {without / whole:.1%} of the counts",) if without else ()


def _sum(groups: dict[str, list[tuple[float, tuple[str, ...]]]]) -> float:
    return sum(amount for members in groups.values() for amount, _ in members)


def _lacks(asked: Asked) -> str:
    return f"no counts of {asked.metric} in this snapshot; fetch or import some"
