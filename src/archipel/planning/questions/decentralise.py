"""`plan decentralise`: the same run bought from a market of providers and from one connected cluster.

What is computed stands in `sheets/decentralise.toml`; here are the method's words, the tokens that a budget buys,
and the sentence that answers.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from archipel.planning.mistakes import Impossible
from archipel.planning.plan import Plan
from archipel.planning.quantity import Quantity, given, stated
from archipel.planning.questions.bounds import MONEY, bounded
from archipel.planning.questions.decentralise_asked import (
    LINES,
    check_amounts,
    leaving,
    lines_of,
    method_of,
    named_line,
    rents_of,
)
from archipel.planning.questions.decentralise_charts import charts
from archipel.planning.questions.grids import grid_of
from archipel.planning.questions.sheet import Sheet, inputs
from archipel.planning.questions.utilisation import usual_mfu
from archipel.planning.questions.ways import refuse, ways
from archipel.planning.requests.option import Request, as_dict, read_sheet
from archipel.planning.sampling import Draws
from archipel.planning.sweeping import along, least_within
from archipel.planning.tables import Shelf

FEWEST_TOKENS_PER_PARAM, MOST_TOKENS_PER_PARAM = 1e-3, 1e6
"""Between these a budget is turned into tokens."""
MOST_SITES = 1e6
"""Where the price is given, and nobody says how many are on offer."""
LEAST_LOST = 0.05
"""Percent of paid time: below it churn is no row of its own."""


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: Request, shelf: Shelf) -> Plan:
    """The chosen method's run against one cluster, the other methods beside it."""
    of = _sheet(request, shelf)
    if request.budget:
        of = _sheet(request, shelf, _bought_tokens(request, of))
    _say_what_matters(of, request)
    return Plan(
        question="decentralise",
        title=of.title(),
        answers=of.answers(),
        tables=of.tables,
        charts=lambda: charts(of),
        remarks=of.remarks,
        verdict=of.verdict,
        request=as_dict(request),
        find=of.find,
    )


def _sheet(request: Request, shelf: Shelf, tokens: Quantity | None = None) -> Sheet:
    """The sheet of the chosen method, with what was given."""
    method = method_of(request)
    kind = shelf.choose("accelerator", request.accelerator, "accelerator")
    grid = grid_of(request.country, shelf, ("price", "carbon"))
    words = _words(request, method, kind) | rents_of(request, kind, shelf) | grid.words
    asked = inputs("decentralise", request, {"method": method}, shelf)
    asked |= grid.given | lines_of(request) | leaving(request)
    check_amounts(asked, kind, request, shelf)
    if not request.tokens:
        asked["run.tokens"] = tokens or _usual_tokens(asked, shelf)
    if "run.mfu" not in asked:
        held, centre = asked["run.params"], Draws(count=1).centre
        sizes = (centre(held), centre(asked.get("run.active_params", held)))
        asked["train.mfu"] = usual_mfu(kind, sizes, shelf)
    asked |= _ends(words["posted"], shelf)
    return Sheet("decentralise", shelf, words | {"country": grid.country}, asked)


def _words(request: Request, method: str, kind: str) -> dict[str, str]:
    """What was asked, in words; those that a sheet's refusals and ways choose are by what was given."""
    line = named_line(request)
    options = {*as_dict(request), method} | ({"home"} if line == "home" else set())
    refuse("decentralise", options, {"method": method})
    return ways("decentralise", options) | {
        "method": method,
        "its": read_sheet("decentralise")["parts"][method]["table"],
        "kind": kind,
        "params": request.params,
        "sites": request.sites,
        "per_site": request.per_site,
        "bandwidth": line if line in LINES else LINES[-1],
        "deadline": request.deadline + (" days" if request.deadline[-1:].isdigit() else ""),
    }


def _usual_tokens(asked: dict[str, Quantity], shelf: Shelf) -> Quantity:
    """As many as the rule of thumb gives the size."""
    rule = shelf.entry("law.tokens_per_param.rule").figure.value
    size = Draws(count=1).centre(asked.get("run.active_params", asked["run.params"]))
    default = f"default: {rule:g} tokens per parameter"
    return given("run.tokens", rule * size, "token", default, "training tokens")


def _ends(name: str, shelf: Shelf) -> dict[str, Quantity]:
    """The middle and the cheapest of the posted prices, each exact, if both are known."""
    if not name or shelf.entry(name).figure.low is None:
        return {}
    entry, found = shelf.entry(name), {}
    for part, value in (("middle", entry.figure.value), ("cheapest", entry.figure.low)):
        figure = replace(entry.figure, value=value or 0.0, low=None, high=None, also=())
        about = f"{part} of the posted prices"
        found[f"{name}.{part}"] = stated(f"{name}.{part}", entry.unit, figure, about)
    return found


def _bought_tokens(request: Request, of: Sheet) -> Quantity:
    """The tokens whose run on the market costs the budget, at central values.

    Raises:
        Impossible: less than the shortest run costs, or more than any run of this size.
    """
    money = bounded(request.budget, MONEY, "--budget")
    size = Draws(count=1).centre(of[of.fill("{active}")])
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


def _say_what_matters(of: Sheet, request: Request) -> None:
    """Fill the words that depend on what comes out: the sites that keep the time, what churn takes, the best method."""
    centre = Draws(count=1).centre
    limit = centre(of[of.words["limit"]].to("day"))
    words = {"needed": "", "lost": of.fill("{method}.lost"), "best": _best(of, limit, centre)}
    if request.deadline or centre(of["market.time"]) > limit:
        words["needed"] = "deadline.sites"
        of.given = {**of.given, "deadline.sites": _needed(of, request)}
    if centre(of[words["lost"]]) < LEAST_LOST:
        words["lost"] = ""
    of.words = {**of.words, **words}


def _needed(of: Sheet, request: Request) -> Quantity:
    """The fewest sites that keep the time, of those on offer."""
    offered, centre = MOST_SITES, Draws(count=1).centre
    if not request.price:
        offered = centre(of[of.fill("{supply}")]) / centre(of["decentral.per_site"])
    limit = of[of.words["limit"]].to("day").named("market.limit", "time that the run may take")
    found = least_within(of["market.time"], of["decentral.sites"], limit, offered)
    return found.named("deadline.sites", "sites that would keep the time")


def _best(of: Sheet, limit: float, centre: Callable[[Quantity], float]) -> str:
    """The cheapest method of those that any work could take and that keep the time, in days, if it is not the chosen."""
    chosen = of.words["method"]
    alike = [name for name in of.entries("methods") if name != "rl-rollouts"]
    kept = [name for name in alike if centre(of[f"{name}.time"]) <= limit]
    best = min(kept, key=lambda name: centre(of[f"{name}.ratio"]), default=chosen)
    return "" if best == chosen or chosen not in alike else best
