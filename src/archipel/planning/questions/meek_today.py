"""`plan meek` from today: the gap over the years to come, on measures with a ceiling and without one.

The frontier already spends `lead` times the fixed budget. Fogelson et al. (2026), arXiv 2607.00913: measures
with a ceiling let the slower side catch up, their twins without one need not.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archipel.planning.laws import bounded, frontier
from archipel.planning.plan import Cell, Lines, Series, Table
from archipel.planning.quantity import Quantity, derive
from archipel.planning.questions.meek_race import (
    Race,
    gap_after,
    scaled_closed,
    scaled_gap,
    scaled_gap_after,
    scaled_inputs,
)
from archipel.planning.questions.meek_scores import points_after, tokens_to_tell
from archipel.planning.sampling import Draws

SHARES = (0.0, 1 / 5, 1 / 3, 2 / 3, 1.0)
"""Of the years ahead: the rows of the table; 0, 3, 5, 10, 15 by default."""
PICKED = (0, 2, 4)
"""The columns of the measures."""


@dataclass(frozen=True)
class Today:
    """The race from where it stands."""

    years: tuple[float, ...]
    gaps: tuple[Quantity, ...]
    scaled: tuple[Quantity, ...]
    points: tuple[Quantity, ...]
    tokens: tuple[Quantity, ...]
    leads: tuple[Quantity, ...]
    task_elasticity: Quantity
    closed: Quantity
    scaled_closed: Quantity
    since_widest: Quantity
    reach: Quantity


def today(of: Race) -> Today:
    """Every row of the race from now on."""
    years = tuple(round(of.years * share, 2) for share in SHARES)
    tags = [_tag(each) for each in years]
    gaps = tuple(gap_after(of, t, f"meek.gap{tag}") for t, tag in zip(years, tags, strict=True))
    pairs = list(zip(years, tags, strict=True))
    return Today(
        years=years,
        gaps=gaps,
        scaled=tuple(scaled_gap_after(of, t, f"meek.scaled_gap{tag}") for t, tag in pairs),
        points=tuple(points_after(of, t, f"meek.points{tag}") for t, tag in pairs),
        tokens=tuple(
            tokens_to_tell(
                of, gap, f"meek.tokens_to_tell{tag}", f"to tell them apart, {t:g} years on"
            )
            for gap, (t, tag) in zip(gaps, pairs, strict=True)
        ),
        leads=tuple(compute_lead(of, t, f"meek.compute_lead{tag}") for t, tag in pairs),
        task_elasticity=_task_elasticity(of),
        closed=_closed(of),
        scaled_closed=scaled_closed(of, "meek.today.scaled_closed", scaled_inputs(of)),
        since_widest=_since_widest(of),
        reach=_reach(of),
    )


def table(of: Race, now: Today) -> Table:
    """The years to come."""
    rows: list[tuple[Cell, ...]] = []
    for index, years in enumerate(now.years):
        columns = (now.gaps, now.scaled, now.points, now.tokens)
        when = "today" if years == 0 else f"in {years:g} year{'' if years == 1 else 's'}"
        rows.append((when, *(column[index] for column in columns)))
    return Table(
        f"From today: fixed budget against the frontier ({of.law.name} law)",
        ("", "loss gap", "progress by scale", "MMLU points", "text to tell apart"),
        tuple(rows),
        "loss gap: algorithms improve alike at every scale; progress by scale: less for small runs",
    )


def metrics(of: Race, now: Today) -> Table:
    """The same lead with a ceiling and without."""
    middle = now.years[PICKED[1]]
    rows: list[tuple[Cell, ...]] = [
        ("loss", "ceiling: shrinks", *(now.gaps[i] for i in PICKED)),
        ("MMLU score", "ceiling: shrinks", *(now.points[i] for i in PICKED)),
    ]
    for label, make in _UNBOUNDED:
        rows.append((label, "none: grows", *(make(of, now, i) for i in PICKED)))
    heads = (
        "the frontier's lead in",
        "ceiling?",
        "today",
        f"in {middle:g} years",
        f"in {of.years:g}",
    )
    return Table("Bounded and unbounded measures of the same race", heads, tuple(rows))


def compute_lead(of: Race, years: float, name: str) -> Quantity:
    """Effective compute of the frontier over the fixed budget's; what is shared cancels."""
    return derive(
        name,
        "1",
        [(of.lead, "1"), (of.own, "1")],
        lambda lead, own: lead * bounded.compute_lead(years, own),
        f"lead · own^{years:g}",
        f"effective compute of the frontier over the budget's after {years:g} years",
    )


def _task_elasticity(of: Race) -> Quantity:
    """Power that links task length to effective compute."""
    growth = of.shelf["frontier.growth.compute"] * of.algorithms
    return derive(
        "meek.task_elasticity",
        "1",
        [(of.shelf["meek.task_doubling"], "year"), (growth, "1")],
        bounded.elasticity_of_doubling,
        "ln 2 / (doubling time · ln(growth of compute × algorithmic progress))",
        "growth of task length for growth of effective compute, in logarithms",
    )


def charts(of: Race) -> tuple[Lines, Lines]:
    """The gap in loss, and the lead by measure."""
    return _gap_chart(of), _metrics_chart(of)


def _gap_chart(of: Race) -> Lines:
    """The gap from today, progress alike at every scale and not, each with its band."""
    years = np.linspace(0.0, of.years, 46)
    draws = Draws(0, 200)
    alike = [(q, "1") for q in (of.start, of.law.exponent, of.shared, of.own, of.lead)]
    lines = (
        _band("progress alike at every scale", years, frontier.loss_gap, alike, draws),
        _band("progress by scale (arXiv 2511.21622)", years, scaled_gap, scaled_inputs(of), draws),
    )
    threshold = draws.centre(of.threshold)
    flat = Series("no longer matters", (0.0, of.years), (threshold, threshold), style="dashed")
    return Lines(
        "Loss gap from today", "years from today", "nat per token", (*lines, flat), log_y=True
    )


def _metrics_chart(of: Race) -> Lines:
    """Each lead as a multiple of what it is today."""
    years = np.linspace(0.0, of.years, 46)
    draws = Draws(0, 200)
    gap = frontier.loss_gap(
        years,
        *(
            np.float64(draws.centre(q))
            for q in (of.start, of.law.exponent, of.shared, of.own, of.lead)
        ),
    )
    score = np.array([draws.centre(points_after(of, float(t), "")) for t in years])
    lead, own = draws.centre(of.lead), draws.centre(of.own)
    tasks = bounded.power_lead(bounded.compute_lead(years, own), draws.centre(_task_elasticity(of)))
    nines = 1.0 + years * np.log(own) / np.log(lead)
    series = [
        Series("loss (bounded)", tuple(years), tuple(gap / gap[0])),
        Series("MMLU points (bounded)", tuple(years), tuple(score / score[0])),
        Series("nines of reliability (unbounded)", tuple(years), tuple(nines), style="dashed"),
        Series("task length (unbounded)", tuple(years), tuple(tasks), style="dashed"),
    ]
    return Lines(
        "The same lead on different measures",
        "years from today",
        "lead, as a multiple of today's",
        tuple(series),
        log_y=True,
    )


def _closed(of: Race) -> Quantity:
    return derive(
        "meek.today.closed",
        "year",
        [
            (of.threshold, "nat/token"),
            (of.start, "nat/token"),
            (of.law.exponent, "1"),
            (of.shared, "1"),
            (of.own, "1"),
            (of.lead, "1"),
        ],
        frontier.closed_after,
        "years from today at which the gap falls below the threshold",
        "from today until the loss gap no longer matters",
    )


def _since_widest(of: Race) -> Quantity:
    return derive(
        "meek.today.since_widest",
        "year",
        [(of.law.exponent, "1"), (of.shared, "1"), (of.own, "1"), (of.lead, "1")],
        lambda *given: -frontier.widest_after(*given),
        "ln(lead) / ln(own) − t*",
        "years since the gap was widest (negative: it still opens)",
    )


def _reach(of: Race) -> Quantity:
    """Years until the fixed budget trains what the frontier has today."""
    return derive(
        "meek.today.reach",
        "year",
        [(of.lead, "1"), (of.shared, "1")],
        lambda lead, shared: np.log(lead) / np.log(shared),
        "ln(lead) / ln(shared)",
        "until the fixed budget trains what the frontier has today",
    )


def _task_length(of: Race, now: Today, index: int) -> Quantity:
    return derive(
        f"meek.task_lead{_tag(now.years[index])}",
        "1",
        [(now.leads[index], "1"), (now.task_elasticity, "1")],
        bounded.power_lead,
        "compute lead ^ elasticity",
        "task length of the frontier over the budget's",
    )


def _nines(of: Race, now: Today, index: int) -> Quantity:
    return derive(
        f"meek.nines{_tag(now.years[index])}",
        "1",
        [(now.leads[index], "1"), (of.law.exponent, "1")],
        bounded.nines_lead,
        "α · log10(compute lead)",
        "extra nines if errors fall like reducible loss",
    )


def _lead(of: Race, now: Today, index: int) -> Quantity:
    return now.leads[index]


_UNBOUNDED = (
    ("effective compute, ×", _lead),
    ("length of task finished, ×", _task_length),
    ("nines of reliability, +", _nines),
)


def _band(
    label: str,
    years: np.ndarray,
    path: Any,
    inputs: list[tuple[Quantity, str]],
    draws: Draws,
) -> Series:
    """A curve at central values with the 90% band of the samples."""
    centre = path(years, *(np.float64(draws.centre(q)) for q, _ in inputs))
    worlds = path(years[:, None], *(draws.samples(q) for q, _ in inputs))
    low, high = np.percentile(
        np.broadcast_to(worlds, (len(years), draws.count)), [5.0, 95.0], axis=1, method="nearest"
    )
    made = Series(label, tuple(years), tuple(centre))
    return replace(made, low=tuple(low), high=tuple(high))


def _tag(years: float) -> str:
    return f".{years:g}y".replace(".", "_").replace("_", ".", 1)
