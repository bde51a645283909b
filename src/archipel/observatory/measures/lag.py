"""Lag: how long after a closed model an open one reached its score.

Law: a record is a closed model better than every closed one before it; the first open model with at least its score
ends the lag; a record that none has reached is told with the
months up to the newest model with a score, and is in no median.
"""

import datetime
import statistics
from dataclasses import dataclass
from typing import Final

from archipel.observatory.measures.measure import (
    DAYS_PER_MONTH,
    Asked,
    CannotAsk,
    Definition,
    Found,
    Line,
    lacking,
    named,
    one_of,
)
from archipel.observatory.measures.standing import OPEN
from archipel.observatory.rows import UNKNOWN, ModelRow, ScoreRow
from archipel.observatory.snapshot import Snapshot

LAG: Final = Definition(
    "lag/1",
    "Lag of open behind closed models",
    "On a benchmark, each closed model (by day of release) that beats all closed ones before it is a record. Its lag "
    "is the time until the release of the first model with open or restricted weights and at least that score, 0 if "
    "one was there before; a month is 30.4375 days. The figure is the median over the records that were reached, or "
    "the lag of the asked model. Models of unknown release or access are left out.",
    "months",
    ("benchmark", "model"),
    (
        "Scores were measured by different people with different prompts; a percent more or less moves a lag by months.",
        "Benchmarks leak into training data, and saturate: near the top a lag says little.",
        "The median leaves out records that nobody has reached, so it is too low while there are such.",
    ),
)


@dataclass(frozen=True)
class _Scored:
    row: ScoreRow
    model: ModelRow
    day: datetime.date


def lag(snapshot: Snapshot, asked: Asked) -> Found:
    """`lag/1`."""
    if not snapshot.scores:
        return lacking("no scores in this snapshot; import a table of benchmarks")
    benchmark = one_of(asked.benchmark, (row.benchmark for row in snapshot.scores), "benchmark")
    scored, strange = _scored(snapshot, benchmark)
    closed = [each for each in scored if each.model.access == "closed"]
    is_open = [each for each in scored if each.model.access in OPEN]
    wanted = _records(closed)
    if asked.model:
        wanted = [each for each in closed if each.model.id == asked.model]
        if not wanted:
            raise CannotAsk(f"no closed model {asked.model!r:.80} has a score of {benchmark} here")
    lines, reached = [], []
    newest = max((each.day for each in scored), default=datetime.date.min)
    for record in wanted:
        line, months = _line(record, is_open, newest)
        lines.append(line)
        if months is not None:
            reached.append(months)
    left_out = (f"{strange} scores of models of unknown release or access",) if strange else ()
    if not reached:
        return Found(
            None,
            f"no closed record of {benchmark} was reached by an open model",
            tuple(lines),
            (),
            left_out,
        )
    value = statistics.median(reached)
    says = f"{value:.1f} months on {benchmark}, the median of {len(reached)} records, {len(lines) - len(reached)} not reached"
    if asked.model:
        says = f"{value:.1f} months on {benchmark}: {lines[0].note}"
    return Found(value, says, tuple(lines), (), left_out)


def _scored(snapshot: Snapshot, benchmark: str) -> tuple[list[_Scored], int]:
    """By day of release; how many were left out."""
    found, strange = [], 0
    for row in snapshot.scores:
        if row.benchmark != benchmark:
            continue
        model = snapshot.models[row.model]
        if model.released == UNKNOWN or model.access == UNKNOWN:
            strange += 1
            continue
        found.append(_Scored(row, model, datetime.date.fromisoformat(model.released)))
    return sorted(found, key=lambda each: (each.day, -each.row.score_micro, each.row.id)), strange


def _records(closed: list[_Scored]) -> list[_Scored]:
    best: int | None = None
    found = []
    for each in closed:
        if best is None or each.row.score_micro > best:
            best = each.row.score_micro
            found.append(each)
    return found


def _line(
    record: _Scored, is_open: list[_Scored], newest: datetime.date
) -> tuple[Line, float | None]:
    score = record.row.score_micro
    name = f"{record.model.name} ({score / 1e6:.3f}, {record.model.released})"
    rows = (*named("scores", record.row), *named("models", record.model))
    reached = next((each for each in is_open if each.row.score_micro >= score), None)
    if reached is None:
        so_far = (newest - record.day).days / DAYS_PER_MONTH
        note = (
            f"not reached within {so_far:.1f} months, when the newest model with a score came out"
        )
        return Line(name, None, note, rows), None
    months = max(0, (reached.day - record.day).days) / DAYS_PER_MONTH
    note = f"{reached.model.name} ({reached.row.score_micro / 1e6:.3f}, {reached.model.released})"
    rows = (*rows, *named("scores", reached.row), *named("models", reached.model))
    return Line(name, months, note, rows), months
