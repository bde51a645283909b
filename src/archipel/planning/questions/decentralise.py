"""`plan decentralise`: the same run bought from a market of providers and from one connected cluster.

Steps: the run and its sites (`_run`) -> prices (`_market`) -> every method's chain from price to cost
(`_method`) -> tables, remarks (`_words`) and charts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archipel.planning.mistakes import Conflict, Impossible
from archipel.planning.plan import Plan
from archipel.planning.quantity import Quantity, given
from archipel.planning.questions.bounds import MONEY, bounded
from archipel.planning.questions.decentralise_charts import charts
from archipel.planning.questions.decentralise_market import Prices, prices_of
from archipel.planning.questions.decentralise_method import Way, way_of
from archipel.planning.questions.decentralise_run import (
    METHODS,
    Run,
    asked_tokens,
    method_of,
    run_of,
    sizes,
)
from archipel.planning.questions.decentralise_words import fits, remarks, tables, verdict
from archipel.planning.requests.decentralise import DecentraliseRequest
from archipel.planning.requests.option import as_dict
from archipel.planning.sweeping import along
from archipel.planning.tables import Shelf

FEWEST_TOKENS_PER_PARAM, MOST_TOKENS_PER_PARAM = 1e-3, 1e6
"""Between these a budget is turned into tokens."""


@dataclass(frozen=True)
class Comparison:
    """Every method for one run, the chosen one among them."""

    run: Run
    prices: Prices
    ways: tuple[Way, ...]
    chosen: Way


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: DecentraliseRequest, shelf: Shelf) -> Plan:
    """The chosen method's run against one cluster, the other methods beside it."""
    if request.budget and request.tokens:
        raise Conflict(
            "--budget and --tokens each fix how long the run is; drop --tokens to spend the budget, "
            "or --budget to price the tokens"
        )
    tokens = _bought_tokens(request, shelf) if request.budget else asked_tokens(request, shelf)
    made = _compared(request, shelf, tokens)
    run, way = made.run, made.chosen
    kind = shelf.fact(f"accelerator.{run.kind}.title", run.kind)
    where = f"{request.sites} sites × {request.per_site} {kind}"
    return Plan(
        question="decentralise",
        title=f"A run of {request.params} parameters from a market: {where}, {way.name}",
        answers=_answers(made),
        tables=tables(run, made.prices, made.ways, way, shelf),
        charts=charts(run, made.prices, made.ways, way, shelf),
        remarks=remarks(run, made.prices, way, shelf),
        verdict=verdict(made.prices, made.ways, way, fits(run, way, shelf)),
        request=as_dict(request),
    )


def _compared(request: DecentraliseRequest, shelf: Shelf, tokens: Quantity) -> Comparison:
    chosen = method_of(request)
    run = run_of(request, shelf, tokens)
    prices = prices_of(request, run, shelf)
    ways = tuple(
        way_of(method, method == chosen, run, prices, request, shelf) for method in METHODS
    )
    return Comparison(run, prices, ways, next(way for way in ways if way.name == chosen))


def _answers(made: Comparison) -> tuple[Quantity, ...]:
    way = made.chosen
    return (
        way.ratio.named("market.cost_ratio", "cost, times one connected cluster's"),
        way.cost.named("market.cost", "the run, bought on the market"),
        way.central_cost.named("central.cost", "the same run on one cluster"),
        way.break_even.named("break_even", "price, times the cluster's, below which it is cheaper"),
        (made.prices.paid / made.prices.central).named(
            "market.price_ratio", "price at hand, times the cluster's", "1"
        ),
        way.time.named("market.time", "time on these sites"),
        way.utilisation.named("sync.utilisation", "share of time computing", "percent"),
        way.exchange.named("sync.exchange", "one exchange"),
    )


def _bought_tokens(request: DecentraliseRequest, shelf: Shelf) -> Quantity:
    """The tokens whose run on the market costs the budget, at central values.

    Raises:
        Impossible: less than the shortest run costs, or more than any run of this size.
    """
    money = bounded(request.budget, MONEY, "--budget")
    size = sizes(request)[1]
    trial = given("run.tokens", size, "token", "--budget", "training tokens")
    cost = _compared(request, shelf, trial).chosen.cost.to("USD")
    per_param = np.geomspace(FEWEST_TOKENS_PER_PARAM, MOST_TOKENS_PER_PARAM, 400)
    places = [float(place) for place in per_param * size]
    costs = _rising(along(cost, trial, places))
    if not costs[0] <= money <= costs[-1]:
        side, edge = ("least", costs[0]) if money < costs[0] else ("most", costs[-1])
        raise Impossible(
            f"--budget: got ${money:,.2f}; a run of {request.params} parameters on these sites costs "
            f"at {side} ${edge:,.2f} ({FEWEST_TOKENS_PER_PARAM:g} to {MOST_TOKENS_PER_PARAM:g} tokens "
            "per parameter); take another size"
        )
    value = float(np.exp(np.interp(np.log(money), np.log(costs), np.log(places))))
    return given("run.tokens", value, "token", "--budget", "tokens that the budget buys")


def _rising(costs: Sequence[float]) -> list[float]:
    """As found; costs grow with tokens, and interpolation needs them to."""
    return [float(cost) for cost in np.maximum.accumulate(np.asarray(costs))]
