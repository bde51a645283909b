"""`plan meek`, returns: what the next doubling buys, where it stops paying, methods against compute.

Benchmark points come from the benchmark curve at today's methods; the price of compute is what the fixed
budget pays. The split assumes efficiency ~ (1 + research / threshold)^elasticity (`laws.returns`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from archipel.planning.laws import bounded, frontier, returns
from archipel.planning.mistakes import Conflict, Impossible
from archipel.planning.plan import Lines, Series, Table
from archipel.planning.quantity import Quantity, Source, Stated, derive, given, stated
from archipel.planning.questions import bounds
from archipel.planning.questions.meek_race import Race
from archipel.planning.questions.meek_scores import score_inputs
from archipel.planning.requests.meek import MeekRequest
from archipel.planning.sampling import Draws
from archipel.planning.wording import amount_text

DECADES = (22, 23, 24, 25, 26)
SEARCH = np.logspace(19, 32, 131)
"""FLOP: where the last doubling that pays is looked for."""
HUNDREDTH = 0.01
"""--nat-value is per 0.01 nat."""


@dataclass(frozen=True)
class Returns:
    """What the next doubling is worth."""

    price: Quantity
    rows: tuple[tuple[Quantity, ...], ...]
    """Per decade of compute: compute, cost, loss removed, points, price per point."""
    stop: Quantity
    stop_cost: Quantity
    worth: Quantity
    by_points: bool


@dataclass(frozen=True)
class Split:
    """Better methods against compute."""

    budget: Quantity
    share: Quantity
    best: Quantity
    rule: Quantity
    one_to_one: Quantity


def marginal(request: MeekRequest, of: Race) -> Returns:
    """The next doubling at every decade, and the last that pays.

    Raises:
        Conflict: --value with --nat-value.
        Impossible: a worth that no doubling meets.
    """
    if request.value and request.nat_value:
        raise Conflict(
            "--value and --nat-value both say what an improvement is worth; drop --nat-value to go by "
            "benchmark points, or --value to go by loss"
        )
    price = (of.budget / of.now).named("meek.price", "price of training compute", "USD/FLOP")
    worth = _worth(request, of)
    by_points = not request.nat_value
    stop = _stop_by_points(of, price, worth) if by_points else _stop_by_loss(of, price, worth)
    _check_stop(of, price, stop, by_points)
    cost = (stop * price).named(
        "meek.stop.cost", "run beyond which the next doubling costs more", "USD"
    )
    return Returns(
        price, tuple(_row(of, price, each) for each in DECADES), stop, cost, worth, by_points
    )


def tables(found: Returns, split_up: Split) -> tuple[Table, Table]:
    """The next doubling, then the split."""
    return _doublings(found), _split_table(split_up)


def _doublings(of: Returns) -> Table:
    """Cost, gain and price per point of a doubling."""
    return Table(
        "The next doubling of compute, today's methods and prices",
        ("from", "costs", "removes loss", "adds MMLU points", "price of a point"),
        of.rows,
    )


def split(request: MeekRequest, of: Race) -> Split:
    """Research on better methods against compute, out of one budget."""
    spend = bounds.bounded(request.spend, bounds.MONEY, "--spend")
    budget = given("meek.split.budget", spend, "USD", "--spend", "budget to split")
    threshold = of.shelf["meek.research_threshold"]
    scale = (budget / threshold).named("meek.split.scale", "budget over research threshold", "1")
    elasticity = of.shelf["meek.research_elasticity"]
    share = derive(
        "meek.split.share",
        "percent",
        [(scale, "1"), (elasticity, "1")],
        lambda s, e: 100.0 * returns.best_research_share(s, e),
        "(φ − threshold/budget) / (1 + φ), not below zero",
        "best share of the budget for better methods",
    )

    def gain(name: str, parent: Quantity, about: str) -> Quantity:
        return derive(
            name,
            "1",
            [(parent, "1"), (scale, "1"), (elasticity, "1")],
            returns.split_gain,
            "(1 − s) (1 + s · budget/threshold)^φ",
            about,
        )

    rule = of.shelf["frontier.algorithms_per_training"]
    even = (rule / (rule + 1.0)).named(
        "meek.split.rule_share", "research share by Thompson's rule", "percent"
    )
    return Split(
        budget,
        share,
        gain("meek.split.best_gain", share, "effective compute at the best split, over none"),
        even,
        gain("meek.split.rule_gain", even, "effective compute one to one, over none"),
    )


def _split_table(of: Split) -> Table:
    """The best split beside Thompson's rule."""
    return Table(
        "Better methods against compute, one budget (assumed elasticity: see remarks)",
        ("", "research share", "effective compute, × all on compute"),
        (
            ("best split", of.share, of.best),
            ("at least one to one (Thompson)", of.rule, of.one_to_one),
        ),
    )


def chart(of: Race, found: Returns) -> Lines:
    """Price of one more benchmark point over compute, and where it passes its worth."""
    grid = np.logspace(21.5, 27.5, 61)
    draws = Draws(0, 200)
    inputs = [quantity for quantity, _ in score_inputs(of)]
    at = draws.centre(found.price) * grid
    centre = at / points_of_doubling(grid, *(draws.centre(q) for q in inputs))
    samples = [np.atleast_1d(draws.samples(q)) for q in inputs]
    prices = np.atleast_1d(draws.samples(found.price)) * grid[:, None]
    worlds = np.broadcast_to(
        prices / points_of_doubling(grid[:, None], *samples), (len(grid), draws.count)
    )
    low, high = np.percentile(worlds, [5.0, 95.0], axis=1, method="nearest")
    lines = [Series("price of a point", tuple(grid), tuple(centre), tuple(low), tuple(high))]
    if found.by_points:
        worth = draws.centre(found.worth)
        lines.append(Series("its worth", (grid[0], grid[-1]), (worth, worth), style="dashed"))
    return Lines(
        "Price of the next MMLU point by doubling compute",
        "training compute, FLOP",
        "USD per point",
        tuple(lines),
        log_x=True,
        log_y=True,
        mark_x=((draws.centre(found.stop), "stops paying"),),
    )


def points_of_doubling(
    flop: Any, coefficient: Any, exponent: Any, floor_loss: Any, *curve: Any
) -> Any:
    """Benchmark points that a doubling adds; `curve` is floor, span, steepness, middle."""
    scores = [
        bounded.score(floor_loss + frontier.reducible_loss(c, coefficient, exponent), *curve)
        for c in (flop, 2.0 * flop)
    ]
    return 100.0 * (scores[1] - scores[0])


def _row(of: Race, price: Quantity, decade: int) -> tuple[Quantity, ...]:
    tag = f"1e{decade}"
    figure = Stated(10.0**decade, "derived", Source("row", "a row of the table"))
    flop = stated(f"meek.doubling.{tag}.flop", "FLOP", figure, "compute to double")
    cost = (flop * price).named(f"meek.doubling.{tag}.cost", f"doubling from {tag} FLOP", "USD")
    loss = derive(
        f"meek.doubling.{tag}.loss",
        "nat/token",
        [(flop, "FLOP"), (of.law.coefficient, "nat/token"), (of.law.exponent, "1")],
        returns.doubling_gain,
        "coefficient · C^-α (1 − 2^-α)",
        f"loss that doubling from {tag} FLOP removes",
    )
    points = derive(
        f"meek.doubling.{tag}.points",
        "1",
        [(flop, "FLOP"), *score_inputs(of)],
        points_of_doubling,
        "score(2C) − score(C)",
        f"MMLU points that doubling from {tag} FLOP adds",
    )
    each = (cost / points).named(f"meek.doubling.{tag}.per_point", "price of one more point", "USD")
    return flop, cost, loss, points, each


def _worth(request: MeekRequest, of: Race) -> Quantity:
    if request.nat_value:
        text, option, about = request.nat_value, "--nat-value", "worth of 0.01 nat per token"
    elif request.value:
        text, option, about = request.value, "--value", "worth of one benchmark point"
    else:
        return of.shelf["meek.point_worth"]
    return given("meek.worth", bounds.bounded(text, bounds.WORTH, option), "USD", option, about)


def _stop_by_points(of: Race, price: Quantity, worth: Quantity) -> Quantity:
    def last(cost: Any, value: Any, *curve: Any) -> Any:
        columns = [np.atleast_1d(each) for each in curve]
        gains = points_of_doubling(SEARCH[:, None], *columns)
        grid = SEARCH[:, None]
        found = returns.last_crossing(grid, gains * value, grid * cost)
        return found if found.size > 1 else float(found[0])

    return derive(
        "meek.stop.flop",
        "FLOP",
        [(price, "USD/FLOP"), (worth, "USD"), *score_inputs(of)],
        last,
        "largest C at which points(C → 2C) · worth still covers C · price",
        "compute beyond which the next doubling costs more than it is worth",
    )


def _stop_by_loss(of: Race, price: Quantity, worth: Quantity) -> Quantity:
    return derive(
        "meek.stop.flop",
        "FLOP",
        [
            (worth, "USD"),
            (price, "USD/FLOP"),
            (of.law.coefficient, "nat/token"),
            (of.law.exponent, "1"),
        ],
        lambda value, *rest: returns.last_doubling_worth_it(value / HUNDREDTH, *rest),
        "[worth · A (1 − 2^-α) / price]^(1/(1+α))",
        "compute beyond which the next doubling costs more than it is worth",
    )


def _check_stop(of: Race, price: Quantity, stop: Quantity, by_points: bool) -> None:
    """Somewhere between the first doubling and the last one imaginable it must stop paying."""
    at = Draws(0, 1).centre(stop)
    if at <= 0:
        raise Impossible(_too_little(of, price))
    if by_points and at >= SEARCH[-1]:
        raise Impossible(
            f"--value: at this worth every doubling up to {amount_text(SEARCH[-1], 'FLOP')} pays; give less, "
            "e.g. 10M USD a point"
        )


def _too_little(of: Race, price: Quantity) -> str:
    """The message for a worth that even the cheapest point exceeds."""
    draws = Draws(0, 1)
    inputs = [draws.centre(quantity) for quantity, _ in score_inputs(of)]
    per_point = draws.centre(price) * SEARCH / points_of_doubling(SEARCH, *inputs)
    return (
        f"--value: no doubling of compute pays at this worth; the cheapest point costs "
        f"{float(np.min(per_point)):,.0f} USD, so give at least that"
    )
