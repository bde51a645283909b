"""The race of `plan meek`: what both sides have now, how fast it grows, and the gap in loss between them.

Two readings of one model: from equal budgets, as published (`from_equal`), and from today, when the frontier
already spends `lead` times as much.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from archipel.planning.laws import algorithmic, frontier
from archipel.planning.mistakes import Impossible
from archipel.planning.quantity import Quantity, derive, given
from archipel.planning.questions.bounds import GAP, MONEY, bounded
from archipel.planning.questions.meek_law import BENCHMARK_LAW, Law, laws
from archipel.planning.requests.meek import MeekRequest
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import amount

MOST_YEARS = 60.0
GRID = np.linspace(0.0, 120.0, 181)
"""Years searched when progress depends on scale."""


@dataclass(frozen=True)
class Race:
    """What both sides begin with and gain."""

    law: Law
    laws: dict[str, Law]
    """Every law shown, each made once; names of a plan are unique."""
    scores: Law
    """The law whose losses the benchmark curve knows."""
    c0: Quantity
    """Compute that both begin with in the published race."""
    now: Quantity
    """Compute that the fixed budget buys today."""
    budget: Quantity
    spend: Quantity
    lead: Quantity
    own: Quantity
    algorithms: Quantity
    hardware: Quantity
    shared: Quantity
    start: Quantity
    threshold: Quantity
    years: float
    shelf: Shelf


def race(request: MeekRequest, shelf: Shelf) -> Race:
    """The race as asked for.

    Raises:
        Impossible: growth that is none, a frontier that does not lead, years out of range.
    """
    budget = _chosen(request.budget, "frontier.meek.budget", "USD", "--budget", shelf)
    bought = shelf["frontier.meek.C0"] * budget / shelf["frontier.meek.budget"]
    now = bought.named("meek.now", "compute that the fixed budget buys now", "FLOP")
    spend = _chosen(request.frontier, "meek.frontier_spend", "USD", "--frontier", shelf)
    own = _factor(request.g_invest, "frontier.meek.g_i", "--g-invest", shelf)
    algorithms = _factor(request.g_alg, "frontier.meek.g_alg", "--g-alg", shelf)
    hardware = _factor(request.g_hw, "frontier.meek.g_h", "--g-hw", shelf)
    lead = (spend / budget).named("meek.lead", "what the frontier spends, over the budget", "1")
    shared = (algorithms * hardware).named("meek.shared", "progress that both share, per year")
    _check(budget, spend)
    known = laws(request.law, shelf)
    chosen = next(iter(known.values()))
    return Race(
        law=chosen,
        laws=known,
        scores=known[BENCHMARK_LAW],
        c0=_common_start(request.c0, now),
        now=now,
        budget=budget,
        spend=spend,
        lead=lead,
        own=own,
        algorithms=algorithms,
        hardware=hardware,
        shared=shared,
        start=starting_loss(chosen, now, "meek.start"),
        threshold=_threshold(request.threshold),
        years=_years(request.years),
        shelf=shelf,
    )


def starting_loss(of: Law, c0: Quantity, name: str) -> Quantity:
    """Reducible loss of the fixed budget at the start."""
    return derive(
        name,
        "nat/token",
        [(c0, "FLOP"), (of.coefficient, "nat/token"), (of.exponent, "1")],
        frontier.reducible_loss,
        "coefficient · C0^-exponent",
        f"reducible loss of the fixed budget at the start, {of.name}",
    )


def scale_inputs(shelf: Shelf) -> list[tuple[Quantity, str]]:
    """Yearly algorithmic factors at two scales, in the order of `Scale`."""
    return [
        (shelf["frontier.algorithmic.small_compute"], "FLOP"),
        (shelf["frontier.algorithmic.rate_small"], "1"),
        (shelf["frontier.algorithmic.frontier_compute"], "FLOP"),
        (shelf["frontier.algorithmic.rate_frontier"], "1"),
    ]


def gap_after(of: Race, years: float, name: str) -> Quantity:
    """The gap in loss so many years from today, progress the same at every scale."""
    return derive(
        name,
        "nat/token",
        [
            (of.start, "nat/token"),
            (of.law.exponent, "1"),
            (of.shared, "1"),
            (of.own, "1"),
            (of.lead, "1"),
        ],
        lambda *given: frontier.loss_gap(years, *given),
        f"start · [shared^(-α·{years:g}) − lead^-α (shared·own)^(-α·{years:g})]",
        f"loss gap {when(years)}",
    )


def scaled_inputs(of: Race) -> list[tuple[Quantity, str]]:
    """What `scaled_gap` takes after the years."""
    return [
        (of.now, "FLOP"),
        (of.lead, "1"),
        (of.hardware, "1"),
        (of.own, "1"),
        (of.law.coefficient, "nat/token"),
        (of.law.exponent, "1"),
        *scale_inputs(of.shelf),
    ]


def scaled_gap(years: Any, *magnitudes: Any) -> Any:
    """The gap in loss when progress depends on scale; `years` may be a column."""
    c0, lead, hardware, own, coefficient, exponent, *rest = magnitudes
    scale = algorithmic.Scale(*rest)
    fixed = algorithmic.effective_compute(c0, years, hardware, scale)
    led = algorithmic.effective_compute(c0 * lead, years, hardware * own, scale)
    return frontier.reducible_loss(fixed, coefficient, exponent) - frontier.reducible_loss(
        led, coefficient, exponent
    )


def scaled_gap_after(of: Race, years: float, name: str) -> Quantity:
    """The same gap as a quantity."""
    return derive(
        name,
        "nat/token",
        scaled_inputs(of),
        lambda *given: scaled_gap(years, *given),
        "coefficient · [Cf^-α − Cl^-α], C = C0 · bought^t · g(C)^t; ln g linear in ln C",
        f"loss gap {when(years)}, progress depending on scale",
    )


def scaled_closed(of: Race, name: str, inputs: list[tuple[Quantity, str]]) -> Quantity:
    """Years until the gap is below the threshold when progress depends on scale."""

    def closed(threshold: Any, *magnitudes: Any) -> Any:
        columns = [np.atleast_1d(each) for each in magnitudes]
        gaps = np.broadcast_to(scaled_gap(GRID[:, None], *columns), (len(GRID), _width(columns)))
        found = algorithmic.falls_below(GRID, gaps, threshold)
        return found if found.size > 1 else float(found[0])

    return derive(
        name,
        "year",
        [(of.threshold, "nat/token"), *inputs],
        closed,
        "the last year in which the gap reaches the threshold",
        "the same if small runs gain less from new methods",
    )


def when(years: float) -> str:
    """So many years from today, in words."""
    return "today" if years == 0 else f"in {years:g} years"


def _width(columns: list[Any]) -> int:
    return max(int(each.size) for each in columns)


def _common_start(text: str, now: Quantity) -> Quantity:
    """Compute at equal budgets: as given, or what the fixed budget buys now."""
    if not text:
        return now.named("meek.c0", "compute at equal budgets")
    flop = amount(text, "FLOP", "--c0")
    if not 1e6 <= flop <= 1e40:
        raise Impossible(f"--c0: got {flop:g} FLOP, expected 1e6 to 1e40, e.g. 6e20")
    return given("meek.c0", flop, "FLOP", "--c0", "compute at equal budgets")


def _chosen(text: str, name: str, unit: str, option: str, shelf: Shelf) -> Quantity:
    if not text:
        return shelf[name]
    return given(name, bounded(text, MONEY, option), unit, option, shelf[name].about)


def _factor(text: str, name: str, option: str, shelf: Shelf) -> Quantity:
    if not text:
        return shelf[name]
    value = amount(text, "1", option)
    if not 1.001 <= value <= 1000.0:
        raise Impossible(
            f"{option}: got {value:g}, expected a factor per year above 1, from 1.001 to 1000, "
            "e.g. 2.8 for 180% a year"
        )
    return given(name, value, "1", option, shelf[name].about)


def _threshold(text: str) -> Quantity:
    """The gap that no longer matters."""
    value = bounded(text, GAP, "--threshold")
    return given("meek.threshold", value, "nat/token", "--threshold", "gap that no longer matters")


def _check(budget: Quantity, spend: Quantity) -> None:
    """The frontier must lead."""
    centre = Draws(0, 1).centre
    if centre(spend) <= centre(budget):
        raise Impossible(
            f"--frontier: got {centre(spend):,.0f} USD, expected more than the fixed budget of "
            f"{centre(budget):,.0f} USD; otherwise there is no advantage to lose"
        )


def _years(text: str) -> float:
    years = amount(text, "year", "--years")
    if not 1.0 <= years <= MOST_YEARS:
        raise Impossible(f"--years: got {years:g}, expected 1 to {MOST_YEARS:g}")
    return years
