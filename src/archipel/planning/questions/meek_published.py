"""The published race of `plan meek`: both sides start with the same compute, then one of them invests.

Gundlach, Lynch, Thompson (2025), arXiv 2507.07931; for each loss law: when the gap is widest, how wide, what
the frontier spends by then, when it has closed, how fast it halves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archipel.planning.laws import algorithmic, frontier
from archipel.planning.plan import Cell, Lines, Series, Table
from archipel.planning.quantity import Quantity, derive, pure
from archipel.planning.questions.meek_law import COMPARED, PUBLISHED, Law
from archipel.planning.questions.meek_race import (
    Race,
    scaled_closed,
    scaled_gap,
    scaled_inputs,
    starting_loss,
)
from archipel.planning.sampling import Draws
from archipel.planning.wording import amount_text

READINGS = ("1e17", "1e20")
"""What the paper's summaries print for 1,000 USD, read as compute and as compute per dollar."""
FINE = np.linspace(0.0, 30.0, 121)
"""Years searched for the widest gap when progress depends on scale."""


@dataclass(frozen=True)
class Equal:
    """The race from equal budgets under one law."""

    law: Law
    start: Quantity
    peak_time: Quantity
    ratio: Quantity
    peak_gap: Quantity
    closed: Quantity
    halving: Quantity


def from_equal(
    of: Race, under: Law, c0: Quantity, tag: str, rates: tuple[Quantity, Quantity]
) -> Equal:
    """The published quantities under a law, from a start; `rates` are shared and own, names end in `tag`."""
    start = starting_loss(under, c0, f"meek.start{tag}")
    shared, own = ((each, "1") for each in rates)
    peak = derive(
        f"meek.peak_time{tag}",
        "year",
        [(under.exponent, "1"), shared, own],
        frontier.widest_after,
        "ln(ln(shared·own) / ln(shared)) / (α ln own)",
        "gap in loss is widest, years after equal budgets",
    )
    ratio = derive(
        f"meek.peak_ratio{tag}",
        "1",
        [(under.exponent, "1"), shared, own],
        frontier.spending_ratio_when_widest,
        "own^t*",
        "times the fixed budget that the frontier spends by then",
    )
    path = [(start, "nat/token"), (under.exponent, "1"), shared, own]
    widest = derive(
        f"meek.peak_gap{tag}",
        "nat/token",
        [(peak, "year"), *path],
        frontier.loss_gap,
        "start · [shared^(-α t*) − (shared·own)^(-α t*)]",
        "gap in loss at its widest",
    )
    closed, halving = _afterwards(of, under, tag, path)
    return Equal(under, start, peak, ratio, widest, closed, halving)


def _afterwards(
    of: Race, under: Law, tag: str, path: list[tuple[Quantity, str]]
) -> tuple[Quantity, Quantity]:
    """When the gap has closed, and how fast it halves; `path` is start, exponent, shared, own."""
    closed = derive(
        f"meek.closed{tag}",
        "year",
        [(of.threshold, "nat/token"), *path],
        frontier.closed_after,
        "years after equal budgets at which the gap falls below the threshold",
        "gap below the threshold, years after equal budgets",
    )
    halving = derive(
        f"meek.halving{tag}",
        "year",
        [(under.exponent, "1"), path[2]],
        frontier.halving_years,
        "ln 2 / (α ln shared)",
        "years in which the gap then halves",
    )
    return closed, halving


def every_law(of: Race) -> list[Equal]:
    """The published constants, the refits, and the law asked for if it is another."""
    names = dict.fromkeys([*COMPARED, of.law.name])
    rates = (of.shared, of.own)
    return [from_equal(of, of.laws[name], of.c0, f".{name}", rates) for name in names]


def measured_rates(of: Race) -> Equal:
    """The law asked for with growth as others measured it: Ho's progress, Epoch's prices and spending."""
    progress = (
        of.shelf["frontier.algorithmic.rate_headline"] * of.shelf["frontier.growth.flop_per_usd"]
    )
    shared = progress.named("meek.shared.measured", "shared progress per year, other sources")
    rates = (shared, of.shelf["frontier.growth.cost"])
    return from_equal(of, of.law, of.c0, ".measured", rates)


def readings(of: Race) -> list[tuple[str, Equal]]:
    """The published constants from either reading of the published compute."""
    under, made = of.laws[PUBLISHED], []
    for label in READINGS:
        start = of.shelf[f"meek.reading.{label}"]
        made.append((label, from_equal(of, under, start, f".meek.{label}", (of.shared, of.own))))
    return made


def table(of: Race, laws: Sequence[Equal], read: Sequence[tuple[str, Equal]]) -> Table:
    """One row per law, then the published law from other starts."""
    rows: list[tuple[Cell, ...]] = [(each.law.name, *_row(each)) for each in laws]
    rows += [(f"{PUBLISHED}, C0 = {label}", *_row(each)) for label, each in read]
    rows.append((f"{of.law.name}, rates by Ho and Epoch", *_row(measured_rates(of))))
    rows.append((f"{of.law.name}, by scale", of.law.exponent, *_scaled(of), ""))
    return Table(
        "The published race, from equal budgets (exponent, years and spending ratio do not depend on C0)",
        (
            "loss law",
            "exponent",
            "widest after",
            "spends ×",
            "widest gap",
            "closed after",
            "halves every",
        ),
        tuple(rows),
    )


def _row(of: Equal) -> tuple[Quantity, ...]:
    return (of.law.exponent, of.peak_time, of.ratio, of.peak_gap, of.closed, of.halving)


def _scaled(of: Race) -> tuple[Quantity, ...]:
    """The same race when progress depends on scale: years, spending ratio, widest gap, closed after."""
    inputs = [(of.c0, "FLOP"), (pure(1.0), "1"), *scaled_inputs(of)[2:]]

    def widest(*magnitudes: Any) -> Any:
        columns = [np.atleast_1d(each) for each in magnitudes]
        found = algorithmic.where_widest(FINE, scaled_gap(FINE[:, None], *columns))
        return found if found.size > 1 else float(found[0])

    peak = derive(
        "meek.scaled.peak_time",
        "year",
        inputs,
        widest,
        "the year of the widest gap, on a grid",
        "gap is widest, years after equal budgets, progress depending on scale",
    )
    ratio = derive(
        "meek.scaled.peak_ratio",
        "1",
        [(of.own, "1"), (peak, "year")],
        np.power,
        "own^t*",
        "times the fixed budget that the frontier spends by then",
    )
    gap = derive(
        "meek.scaled.peak_gap",
        "nat/token",
        [(peak, "year"), *inputs],
        scaled_gap,
        "the gap in that year",
        "gap in loss at its widest, progress depending on scale",
    )
    return peak, ratio, gap, scaled_closed(of, "meek.scaled.closed", inputs)


def chart(of: Race, laws: Sequence[Equal]) -> Lines:
    """The gap over the years since equal budgets, one line per law, a band for the one asked for."""
    years = np.linspace(0.0, max(of.years, 12.0), 61)
    draws = Draws(0, 200)
    series, marks = [], []
    for each in laws:
        if each.law.name not in (PUBLISHED, of.law.name):
            continue
        chosen = each.law.name == of.law.name
        line = _line(of, each, years, draws, band=chosen)
        series.append(line)
        marks.append((draws.centre(each.peak_time), f"widest ({each.law.name})"))
    now = np.log(draws.centre(of.lead)) / np.log(draws.centre(of.own))
    marks.append((float(now), "today's spending ratio"))
    c0 = draws.centre(of.c0)
    return Lines(
        f"Loss gap after equal budgets of {amount_text(c0, 'FLOP')}",
        "years since both spent the same",
        "nat per token",
        tuple(series),
        mark_x=tuple(marks),
    )


def _line(of: Race, each: Equal, years: np.ndarray, draws: Draws, *, band: bool) -> Series:
    """One law's curve, with its 90% band if wanted."""
    inputs = (each.start, each.law.exponent, of.shared, of.own)
    centre = frontier.loss_gap(years, *(np.float64(draws.centre(q)) for q in inputs))
    made = Series(each.law.name, tuple(years), tuple(centre))
    if not band:
        return replace(made, style="dashed")
    worlds = frontier.loss_gap(years[:, None], *(draws.samples(q) for q in inputs))
    worlds = np.broadcast_to(worlds, (len(years), draws.count))
    low, high = np.percentile(worlds, [5.0, 95.0], axis=1, method="nearest")
    return replace(made, low=tuple(low), high=tuple(high))
