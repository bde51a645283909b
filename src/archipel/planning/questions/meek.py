"""`plan meek`: will the frontier's advantage last, on which measure, and when does scale stop paying?

Steps: what both sides have and gain (`meek_race`) -> the published race from equal budgets
(`meek_published`) -> the race from today, bounded and unbounded (`meek_today`) -> running beside training
(`meek_running`) -> the next doubling and the split of a budget (`meek_returns`).
"""

import numpy as np

from archipel.planning.plan import Plan
from archipel.planning.quantity import Quantity
from archipel.planning.questions import (
    meek_published,
    meek_returns,
    meek_running,
    meek_sides,
    meek_today,
)
from archipel.planning.questions.meek_law import BENCHMARK_LAW
from archipel.planning.questions.meek_race import Race, race
from archipel.planning.requests.meek import MeekRequest
from archipel.planning.requests.option import as_dict
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import spell
from archipel.planning.wording import amount_text


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: MeekRequest, shelf: Shelf) -> Plan:
    """The frontier against a fixed budget."""
    of = race(request, shelf)
    laws = meek_published.every_law(of)
    equal = {each.law.name: each for each in laws}[of.law.name]
    now = meek_today.today(of)
    run = meek_running.running(of)
    found = meek_returns.marginal(request, of)
    split = meek_returns.split(request, of)
    about = f"gap is widest, years after equal budgets ({of.law.name})"
    return Plan(
        question="meek",
        title=_title(of),
        answers=(
            now.closed,
            now.scaled_closed,
            now.gaps[0],
            now.points[0],
            equal.peak_time.named("meek.peak_time", about),
            run.meets[0],
            found.stop_cost,
            split.share,
        ),
        tables=(
            meek_today.table(of, now),
            meek_sides.table(of, now, run),
            meek_published.table(of, laws, meek_published.readings(of)),
            meek_today.metrics(of, now),
            *meek_running.tables(of, now, run),
            *meek_returns.tables(found, split),
        ),
        charts=(
            *meek_today.charts(of),
            meek_published.chart(of, laws),
            meek_running.chart(of, run),
            meek_returns.chart(of, found),
        ),
        remarks=_remarks(of),
        verdict=_verdict(of, now, found),
        request=as_dict(request),
    )


def _title(of: Race) -> str:
    centre = Draws(0, 1).centre
    return (
        f"{amount_text(centre(of.budget), 'USD')} of training against a frontier that spends "
        f"{amount_text(centre(of.spend), 'USD')}"
    )


def _verdict(of: Race, now: meek_today.Today, found: meek_returns.Returns) -> str:
    centre = Draws(0, 1).centre
    since = centre(now.since_widest)
    if not np.isfinite(since):
        return "No time comes out at which the gap is widest: look at the constants that --set changed."
    peak = f"was widest {since:.1f} years ago" if since > 0 else f"is widest in {-since:.1f} years"
    worth = f"{_text(found.worth)} a {'point' if found.by_points else 'hundredth of a nat'}"
    return (
        f"The loss gap {peak} and is below {_text(of.threshold)} {_in(now.closed)} "
        f"({_in(now.scaled_closed)} by scale); in compute and task length the lead grows. No run beyond "
        f"{_text(found.stop_cost)} is repaid by doubling it, at {worth}."
    )


def _remarks(of: Race) -> tuple[str, ...]:
    return (
        "The model (arXiv 2507.07931) is for next-token loss on a fixed distribution: reinforcement "
        "learning, synthetic data, contests between models and private data are outside it.",
        "Loss laws were fitted to 6e18-3e21 FLOP and the benchmark curve "
        f"({BENCHMARK_LAW} losses, equal effective compute) through models of 2020-2023; beyond is "
        "extrapolation, and newer models score higher for their compute.",
        "Progress by scale (arXiv 2511.21622): two points, 1e18 and 2e23 FLOP, straight in log-log, held "
        "outside; it contradicts giving the small side the full rate, so both are shown.",
        "Measures with a ceiling favour the fixed budget by construction, their twins without one the "
        "frontier (arXiv 2607.00913): ask which one your use pays for before drawing a policy from either.",
        "A fixed price running a large effective size supposes distillation from a frontier that somebody "
        "paid for; observed lags of open and consumer models are months, those of training are years.",
        "Assumed, so replace them: meek.research_elasticity and meek.research_threshold (with --set), the "
        "worth of a point (--value). Shared progress helps every split alike and leaves the best share.",
    )


def _in(of: Quantity) -> str:
    years = Draws(0, 1).centre(of)
    if years == 0:
        return "already"
    return f"in {years:.0f} years" if np.isfinite(years) else "never"


def _text(of: Quantity) -> str:
    return amount_text(float(f"{Draws(0, 1).centre(of):.3g}"), spell(of.unit))
