"""Openness and its loss: classes, who says what a model was made from, and what was taken back.

Law: of a model and a question the newest answer counts; no answer is "unknown", and no share is of unknown ones.
"""

import datetime
from typing import Final

from archipel.observatory.measures.adoption import newest
from archipel.observatory.measures.measure import (
    Asked,
    Definition,
    Found,
    Line,
    country_of,
    grades,
    lacking,
    named,
)
from archipel.observatory.rows import UNKNOWN, DisclosureRow
from archipel.observatory.snapshot import Snapshot
from archipel.plurals import counted

DISCLOSURE: Final = Definition(
    "disclosure/1",
    "Models that disclose their training data",
    "Of the models with a known answer, the share that disclose their training data, all of it; those that do in part "
    "count as not. Lines by year of release.",
    "share",
    (),
    (
        "The models that somebody asked about are no sample of all models.",
        "Disclosed is what the makers say or a tool lists; nobody looked into the data.",
    ),
)
DISCLOSURE_DOWNLOADS: Final = Definition(
    "disclosure_downloads/1",
    "Downloads of models that disclose their training data",
    "As disclosure/1, each model weighted with its newest count of the metric; models without a count are left out.",
    "share",
    ("metric",),
    DISCLOSURE.flaws,
)
OPENNESS: Final = Definition(
    "openness/1",
    "Models by openness class",
    "Of the models with a grade by the scheme, how many have each; the figure is the share with the best grade of the "
    "Model Openness Framework (class I), or `yes` of a checklist. Lines by grade.",
    "share",
    ("scheme",),
    (
        "Classes that a model's own makers state are not looked into here: the source says whose word it is.",
    ),
)
WITHDRAWALS: Final = Definition(
    "withdrawals/1",
    "Openness taken back",
    "Withdrawals of models, and announcements that models to come will be closed, in the 365 days up to the "
    "snapshot's day; earlier ones are listed and not counted.",
    "models",
    (),
    ("Only what somebody noticed and wrote down is here.",),
)
_BEST: Final = ("1", "yes")


def disclosure(snapshot: Snapshot, asked: Asked) -> Found:
    """`disclosure/1`."""
    return _disclosed(snapshot, dict.fromkeys(snapshot.models, (1.0, ())))


def disclosure_downloads(snapshot: Snapshot, asked: Asked) -> Found:
    """`disclosure_downloads/1`."""
    counts = newest(snapshot, asked.metric)
    if not counts:
        return lacking(f"no counts of {asked.metric} in this snapshot; fetch or import some")
    return _disclosed(
        snapshot, {model: (float(row.value), named("counts", row)) for model, row in counts.items()}
    )


def openness(snapshot: Snapshot, asked: Asked) -> Found:
    """`openness/1`."""
    found = grades(snapshot, asked.scheme)
    known = {model: each for model, each in found.items() if each[0] != UNKNOWN}
    if not known:
        return lacking(f"no grades by {asked.scheme} in this snapshot")
    by_grade: dict[str, list[str]] = {}
    for model, (grade, _) in known.items():
        by_grade.setdefault(grade, []).append(model)
    lines = tuple(
        Line(
            grade,
            len(models) / len(known),
            f"{counted(len(models), 'model')}, makers' countries: {_countries(snapshot, models)}",
            tuple(known[model][1] for model in models),
        )
        for grade, models in sorted(by_grade.items())
    )
    best = [model for model, (grade, _) in known.items() if grade in _BEST]
    says = f"{len(best)} of {len(known)} graded models have the best class of {asked.scheme}"
    strange = len(snapshot.models) - len(known)
    left_out = (f"{counted(strange, 'model')} without a grade",) if strange else ()
    return Found(len(best) / len(known), says, lines, (), left_out)


def withdrawals(snapshot: Snapshot, asked: Asked) -> Found:
    """`withdrawals/1`."""
    if not snapshot.withdrawals:
        return lacking("no withdrawals are written down in this snapshot")
    today = datetime.date.fromisoformat(snapshot.manifest.day)
    since = (today - datetime.timedelta(days=365)).isoformat()
    rows = sorted(snapshot.withdrawals, key=lambda row: row.at, reverse=True)
    lines = tuple(
        Line(f"{row.at} {row.subject}", None, f"{row.what}: {row.said}", named("withdrawals", row))
        for row in rows
    )
    recent = sum(since <= row.at <= snapshot.manifest.day for row in rows)
    return Found(float(recent), f"{recent} in the year up to {today}, {len(rows)} in all", lines)


def _disclosed(snapshot: Snapshot, weights: dict[str, tuple[float, tuple[str, ...]]]) -> Found:
    newest_answer: dict[str, DisclosureRow] = {}
    for row in sorted(snapshot.disclosures, key=lambda row: (row.at, row.id)):
        if row.about == "training_data":
            newest_answer[row.model] = row
    known = [
        row for row in newest_answer.values() if row.answer != UNKNOWN and row.model in weights
    ]
    if not known or not sum(weights[row.model][0] for row in known):
        return lacking("no answers about training data in this snapshot that could be counted")
    years: dict[str, list[DisclosureRow]] = {}
    for row in known:
        years.setdefault(snapshot.models[row.model].released[:4], []).append(row)
    lines = tuple(_year(year, years[year], weights) for year in sorted(years))
    whole = sum(weights[row.model][0] for row in known)
    value = sum(weights[row.model][0] for row in known if row.answer == "disclosed") / whole
    strange = len(weights) - len(known)
    left_out = (f"{counted(strange, 'model')} of which nobody says it",) if strange else ()
    return Found(value, f"{value:.1%} of {counted(len(known), 'model')}", lines, (), left_out)


def _year(
    year: str, rows: list[DisclosureRow], weights: dict[str, tuple[float, tuple[str, ...]]]
) -> Line:
    whole = sum(weights[row.model][0] for row in rows)
    said = sum(weights[row.model][0] for row in rows if row.answer == "disclosed")
    label = UNKNOWN if year == UNKNOWN[:4] else year
    used = (*named("disclosures", *rows), *(each for row in rows for each in weights[row.model][1]))
    return Line(label, said / whole if whole else None, counted(len(rows), "model"), used)


def _countries(snapshot: Snapshot, models: list[str]) -> str:
    return ", ".join(sorted({country_of(snapshot, snapshot.models[each]) for each in models}))
