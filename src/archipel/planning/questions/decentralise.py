"""`plan decentralise`: the same run bought from a market of providers and from one connected cluster.

What is computed stands in `sheets/decentralise.toml`; here are the method's words, the tokens that a budget buys,
and the sentence that answers.
"""

import math
from dataclasses import replace

import numpy as np

from archipel.planning.mistakes import Impossible
from archipel.planning.plan import Plan
from archipel.planning.quantity import Quantity, Stated, given, stated
from archipel.planning.questions.bounds import MONEY, bounded
from archipel.planning.questions.decentralise_asked import (
    LINES,
    check_amounts,
    check_conflicts,
    leaving,
    lines_of,
    method_of,
    named_line,
)
from archipel.planning.questions.decentralise_charts import charts
from archipel.planning.questions.deciding import decided, share_of_worlds
from archipel.planning.questions.sheet import Sheet, inputs
from archipel.planning.requests.option import Request, as_dict, read_sheet
from archipel.planning.sampling import Draws
from archipel.planning.sweeping import along
from archipel.planning.tables import Shelf

FEWEST_TOKENS_PER_PARAM, MOST_TOKENS_PER_PARAM = 1e-3, 1e6
"""Between these a budget is turned into tokens."""
LEAST_LOST = 0.05
"""Percent of paid time: below it churn is no row of its own."""
_centre = Draws(count=1).centre


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: Request, shelf: Shelf) -> Plan:
    """The chosen method's run against one cluster, the other methods beside it."""
    check_conflicts(request)
    of = _sheet(request, shelf)
    if request.budget:
        of = _sheet(request, shelf, _bought_tokens(request, of))
    fits = _say_what_matters(of)
    return Plan(
        question="decentralise",
        title=of.title(),
        answers=of.answers(),
        tables=tuple(of.tables()),
        charts=charts(of),
        remarks=of.remarks(),
        verdict=_verdict(of, fits),
        request=as_dict(request),
    )


def _sheet(request: Request, shelf: Shelf, tokens: Quantity | None = None) -> Sheet:
    """The sheet of the chosen method, with what was given."""
    method = method_of(request)
    kind = shelf.choose("accelerator", request.accelerator, "accelerator")
    asked = inputs("decentralise", request, {"method": method}, shelf)
    asked |= lines_of(request) | leaving(request)
    check_amounts(asked, kind, request, shelf)
    if not request.tokens:
        asked["run.tokens"] = tokens or _usual_tokens(asked, shelf)
    asked |= _ends(kind, shelf)
    return Sheet("decentralise", shelf, _words(request, method, kind, shelf), asked)


def _words(request: Request, method: str, kind: str, shelf: Shelf) -> dict[str, str]:
    sheet, line = read_sheet("decentralise"), named_line(request)
    posted = f"rental.{kind}" if f"rental.{kind}" in shelf else ""
    family = kind.partition("-")[0]
    words: dict[str, str] = {
        "method": method,
        "its": sheet["parts"][method]["table"],
        "kind": kind,
        "params": request.params,
        "sites": request.sites,
        "per_site": request.per_site,
        "bandwidth": line if line in LINES else LINES[-1],
        "leaves": "home" if line == "home" else "spot_h100",
        "stays": "volunteer" if line == "home" else "rented",
        "posted": posted,
        "median": "" if request.price else posted,
        "family": family if f"rental.dispersion.{family}" in shelf else "h100",
        "tail": posted if _ends(kind, shelf) else "",
    }
    words |= {"supply": ""} if request.price else {}
    words |= {"slower": "site.line"} if request.download else {}
    words |= sheet["chosen"][method]
    return words


def _usual_tokens(asked: dict[str, Quantity], shelf: Shelf) -> Quantity:
    """As many as the rule of thumb gives the size."""
    rule = shelf.entry("law.tokens_per_param.rule").figure.value
    size = _centre(asked.get("run.active_params", asked["run.params"]))
    default = f"default: {rule:g} tokens per parameter"
    return given("run.tokens", rule * size, "token", default, "training tokens")


def _ends(kind: str, shelf: Shelf) -> dict[str, Quantity]:
    """The middle and the cheapest of the posted prices, each exact, if both are known."""
    name = f"rental.{kind}"
    if name not in shelf or shelf.entry(name).figure.low is None:
        return {}
    entry, found = shelf.entry(name), {}
    for part, value in (("middle", entry.figure.value), ("cheapest", entry.figure.low)):
        figure = replace(entry.figure, value=value or 0.0, low=None, high=None, also=())
        found[f"{name}.{part}"] = _printed(f"{name}.{part}", entry.unit, figure, part)
    return found


def _printed(name: str, unit: str, figure: Stated, part: str) -> Quantity:
    return stated(name, unit, figure, f"{part} of the posted prices")


def _bought_tokens(request: Request, of: Sheet) -> Quantity:
    """The tokens whose run on the market costs the budget, at central values.

    Raises:
        Impossible: less than the shortest run costs, or more than any run of this size.
    """
    money = bounded(request.budget, MONEY, "--budget")
    size = _centre(of[of.fill("{active}")])
    per_param = np.geomspace(FEWEST_TOKENS_PER_PARAM, MOST_TOKENS_PER_PARAM, 400)
    places = [float(place) for place in per_param * size]
    found = along(of["market.cost"], of["run.tokens"], places)
    costs = np.maximum.accumulate(np.asarray(found))  # they grow; interpolation needs them to
    if not costs[0] <= money <= costs[-1]:
        side, edge = ("least", costs[0]) if money < costs[0] else ("most", costs[-1])
        raise Impossible(
            f"--budget: got ${money:,.2f}; a run of {request.params} parameters on these sites costs "
            f"at {side} ${edge:,.2f} ({FEWEST_TOKENS_PER_PARAM:g} to {MOST_TOKENS_PER_PARAM:g} tokens "
            "per parameter); take another size"
        )
    value = float(np.exp(np.interp(np.log(money), np.log(costs), np.log(places))))
    return given("run.tokens", value, "token", "--budget", "tokens that the budget buys")


def _say_what_matters(of: Sheet) -> bool:
    """Fill the words that depend on what comes out; whether one site can hold what the method keeps there."""
    needs, has = _centre(of["site.memory_needed"]), _centre(of["site.memory"])
    words = dict.fromkeys(("needs", "has", "more", "floor", "lost"), "")
    if needs > has:
        each = has / _centre(of["decentral.per_site"])
        count = needs / each if each > 0 else math.inf
        more = f"at least {math.ceil(count):,} accelerators per site" if count < 1e9 else "others"
        words |= {"needs": f"{needs:,.0f}", "has": f"{has:,.0f}", "more": more}
    if _centre(of["market.unsubsidised"]) < _centre(of["market.floor"]):
        words["floor"] = "the electricity"
    lost = of.fill("{method}.lost")
    if _centre(of[lost]) >= LEAST_LOST:
        words["lost"] = lost
    of.words = {**of.words, **words}
    return needs <= has


def _verdict(of: Sheet, fits: bool) -> str:
    """When the market wins, and in how many of the sampled worlds it does."""
    method = of.words["method"]
    at_hand, even = _centre(of["market.price_ratio"]), _centre(of["break_even"])
    alike = [name for name in of.entries("methods") if name != "rl-rollouts"]
    ratios = {name: _centre(of[f"{name}.ratio"]) for name in alike}
    priced = [name for name in alike if math.isfinite(ratios[name])]
    best = min(priced, key=lambda name: ratios[name], default=method)
    beside = ""
    if not fits:
        beside = " But a site cannot hold this model."
    elif method in alike and best != method:
        beside = f" Cheapest here: {best}, at {ratios[best]:.0%} of one cluster."
    if not (math.isfinite(even) and math.isfinite(at_hand)):
        return f"No cost comes out for {method} under these constants: look at what --set changed."
    if even <= 0:
        return (
            f"With {method} no price makes the market cheaper: its learner waits too long.{beside}"
        )
    won = share_of_worlds(of["market.cost_ratio"], lambda ratio: ratio < 1.0)
    wins = decided(won, "the market wins", "the market loses", "it is undecided who wins")
    return (
        f"With {method} {wins} (market cheaper in {won:.0%} of sampled worlds): it must ask less than "
        f"{even:.0%} of a cluster's price, and asks {at_hand:.0%}.{beside}"
    )
