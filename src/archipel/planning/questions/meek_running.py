"""`plan meek`, running beside training: the size a fixed price runs against the size the frontier trains.

The inference inequality of Gundlach, Lynch, Thompson (2025), arXiv 2507.07931: for a fixed price per token the
runnable size grows as prices fall, faster than the frontier's size, so that it is met in finite time, while
the training gap only fades. How fast prices fall is where sources disagree: one row for each.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from archipel.planning.laws import frontier, scaling
from archipel.planning.plan import Cell, Lines, Series, Table
from archipel.planning.quantity import Quantity, derive
from archipel.planning.questions.meek_race import Race, gap_after
from archipel.planning.questions.meek_today import Today
from archipel.planning.questions.train_fit import best_params
from archipel.planning.sampling import Draws
from archipel.planning.wording import amount_text

FALLS = (
    ("as published, 9 a year", "cottier", "frontier.meek.inference_growth"),
    ("fixed benchmark level (Epoch)", "epoch", "frontier.price_decline.epoch"),
    ("fixed benchmark level (MIT)", "mit", "frontier.price_decline.mit"),
    ("algorithms alone (MIT)", "algorithmic", "frontier.price_decline.algorithmic"),
)
GAP_YEARS = 5.0
"""When the two gaps in loss are put side by side."""


@dataclass(frozen=True)
class Running:
    """What a price per token runs, what the frontier trains, and when the first meets the second."""

    runnable: Quantity
    leading: Quantity
    leader_growth: Quantity
    behind: Quantity
    rates: tuple[Quantity, ...]
    reach: tuple[Quantity, ...]
    meets: tuple[Quantity, ...]
    gaps: tuple[Quantity, ...]
    """Loss that the smaller size costs, in `GAP_YEARS` years."""


def running(of: Race) -> Running:
    """Both sizes now, and under every source of falling prices."""
    runnable = _runnable(of)
    leading, growth = _leading(of), _leader_growth(of)
    behind = (leading / runnable).named("meek.run.behind", "size behind the frontier", "1")
    rates = tuple(of.shelf[name] for _, _, name in FALLS)
    return Running(
        runnable,
        leading,
        growth,
        behind,
        rates,
        tuple(_reach(behind, rate, key) for rate, (_, key, _) in zip(rates, FALLS, strict=True)),
        tuple(
            _meets(behind, rate, growth, key)
            for rate, (_, key, _) in zip(rates, FALLS, strict=True)
        ),
        tuple(
            _size_gap(of, (runnable, leading, rate, growth), key)
            for rate, (_, key, _) in zip(rates, FALLS, strict=True)
        ),
    )


def tables(of: Race, now: Today, run: Running) -> tuple[Table, Table]:
    """Training beside running, then what has been seen."""
    return _table(of, now, run), _observed(of)


def _table(of: Race, now: Today, run: Running) -> Table:
    """Training and running in the same columns, price by price."""
    rows: list[tuple[Cell, ...]] = [
        (
            "training the fixed budget",
            of.shared,
            of.lead,
            now.reach,
            "never: the lead grows",
            gap_after(of, GAP_YEARS, "meek.run.training_gap"),
        )
    ]
    for index, (label, _, _) in enumerate(FALLS):
        columns = (run.rates[index], run.behind, run.reach[index], run.meets[index])
        rows.append((f"running: {label}", *columns, run.gaps[index]))
    return Table(
        "Training and running side by side",
        (
            "",
            "× a year",
            "behind, ×",
            "reaches today's frontier",
            "meets it moving",
            "loss gap in 5 years",
        ),
        tuple(rows),
        "the price per token is that of the published example; sizes are parameters",
    )


def _observed(of: Race) -> Table:
    """What has been seen to happen, earlier and later."""
    at = of.shelf
    pro = [
        (
            100 * (at[f"frontier.meek.mmlu_pro.best_{y}"] - at[f"frontier.meek.mmlu_pro.meek_{y}"])
        ).named(
            f"meek.observed.mmlu_pro_{y}", f"MMLU-Pro gap at a fixed price, {y}, in points", "1"
        )
        for y in ("2023", "2024")
    ]
    example = [at["frontier.meek.mmlu_gap_start"], at["frontier.meek.mmlu_gap_after_5_years"]]
    shown = [
        (100 * each).named(
            f"meek.observed.mmlu_{when}", f"MMLU gap in the paper's example, {when}, in points", "1"
        )
        for each, when in zip(example, ("start", "5y"), strict=True)
    ]
    rows: tuple[tuple[Cell, ...], ...] = (
        (
            "open weights behind closed: until 2024, now",
            at["frontier.lag.open_early"],
            at["frontier.lag.open"],
        ),
        ("one consumer card behind the frontier", "", at["frontier.lag.consumer"]),
        ("MMLU-Pro at 0.5-1 USD per million tokens: mid-2023, late 2024", *pro),
        ("MMLU in the paper's example: start, five years on", *shown),
    )
    return Table(
        "What has been observed, and the published example", ("gap or lag", "then", "later"), rows
    )


def chart(of: Race, run: Running) -> Lines:
    """Runnable size over the years under each source, and the frontier's."""
    years = np.linspace(0.0, of.years, 31)
    draws = Draws(0, 200)
    size, growth = draws.centre(run.leading), draws.centre(run.leader_growth)
    lead = tuple(size * growth**years)
    series = [Series("the frontier trains", tuple(years), lead, style="dashed")]
    small = draws.centre(run.runnable)
    for (label, _, _), rate in zip(FALLS, run.rates, strict=True):
        grown = np.minimum(small * draws.centre(rate) ** years, np.array(lead))
        series.append(Series(label, tuple(years), tuple(grown)))
    price = draws.centre(of.shelf["frontier.meek.inference_price"])
    return Lines(
        f"Size of the models that run at {amount_text(price * 1e6, 'USD')} for a million tokens",
        "years from today",
        "effective parameters",
        tuple(series),
        log_y=True,
    )


def _runnable(of: Race) -> Quantity:
    """Parameters that the published price per token runs at a hosted small model's price."""
    price = of.shelf["frontier.meek.inference_price"]
    hosted = of.shelf["serving.price.open-8b.output"] / of.shelf["run.llama31-8b.params"]
    return (price / hosted).named(
        "meek.run.size", "size that the fixed price per token runs", "param"
    )


def _leading(of: Race) -> Quantity:
    """Parameters that the frontier's compute is best spent on."""
    compute = (of.now * of.lead).named(
        "meek.run.frontier_flop", "compute of the frontier now", "FLOP"
    )
    return best_params(of.law.fit, compute, "meek.run.frontier_size")


def _leader_growth(of: Race) -> Quantity:
    """Yearly growth of that size with effective compute."""
    return derive(
        "meek.run.frontier_growth",
        "1",
        [(of.shared, "1"), (of.own, "1"), (of.law.fit.alpha, "1"), (of.law.fit.beta, "1")],
        lambda shared, own, a, b: np.power(shared * own, b / (a + b)),
        "(shared · own)^(β/(α+β))",
        "yearly growth of the frontier's size",
    )


def _reach(behind: Quantity, rate: Quantity, key: str) -> Quantity:
    return derive(
        f"meek.run.reach.{key}",
        "year",
        [(behind, "1"), (rate, "1")],
        lambda gap, chaser: frontier.catch_up_years(gap, chaser, 1.0),
        "ln(behind) / ln(growth)",
        "until the fixed price runs today's frontier",
    )


def _meets(behind: Quantity, rate: Quantity, growth: Quantity, key: str) -> Quantity:
    return derive(
        f"meek.run.meets.{key}",
        "year",
        [(behind, "1"), (rate, "1"), (growth, "1")],
        frontier.catch_up_years,
        "ln(behind) / ln(growth / the frontier's growth)",
        "until the fixed price runs the frontier of its day",
    )


def _size_gap(of: Race, sizes: tuple[Quantity, Quantity, Quantity, Quantity], key: str) -> Quantity:
    """Loss of the runnable size above the frontier's, the parameters' term alone."""

    def gap(runnable: Any, leading: Any, rate: Any, growth: Any, fit: scaling.Fit) -> Any:
        led = leading * np.power(growth, GAP_YEARS)
        small = np.minimum(runnable * np.power(rate, GAP_YEARS), led)
        return scaling.params_term(small, fit) - scaling.params_term(led, fit)

    formula = f"A·N^-α of the runnable size − A·N^-α of the frontier's, after {GAP_YEARS:g} years"
    about = f"loss gap of what the fixed price runs in {GAP_YEARS:g} years"
    inputs = list(zip(sizes, ("param", "param", "1", "1"), strict=True))
    return of.law.fit.apply(f"meek.run.gap.{key}", "nat/token", inputs, gap, (formula, about))
