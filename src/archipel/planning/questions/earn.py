"""`plan earn`: what a machine would earn in this project's market, against renting it out, after electricity.

What is computed and said stands in `sheets/earn.toml`; rates and draws are those of `plan serve` for the same model.
"""

from dataclasses import replace

import numpy as np

from archipel.planning.answering import named
from archipel.planning.mistakes import CannotPlan
from archipel.planning.plan import Plan
from archipel.planning.quantity import Quantity, given, scoped
from archipel.planning.questions import serve
from archipel.planning.questions.sheet import Sheet, inputs
from archipel.planning.requests import REQUESTS
from archipel.planning.requests.option import Request, as_dict
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.wording import amount_text

PROMPT, ANSWER = "16", "512"
"""Tokens of a rollout; reading a prompt is shared by its group and not counted."""
Given = dict[str, Quantity]
MOST_STREAMS = 256
"""Beyond it engines gain little, whatever memory holds."""
ANYTHING = "1000 USD"
"""A price for a machine whose price is not looked at."""


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: Request, shelf: Shelf) -> Plan:
    """The machine in the market, and rented out."""
    of = sheet_of(request, shelf)
    return Plan(
        question="earn",
        title=of.title(),
        answers=of.answers(),
        tables=of.tables,
        remarks=of.remarks,
        verdict=of.verdict,
        request=as_dict(request),
        find=of.find,
    )


def sheet_of(request: Request, shelf: Shelf) -> Sheet:
    kind, against = (
        shelf.choose("accelerator", word, "accelerator")
        for word in (request.hardware, request.against)
    )
    country = shelf.choose("energy.household", request.country, "country")
    own = inputs("earn", request, {}, shelf)
    bought = request.purchase or ("" if f"purchase.{kind}" in shelf else ANYTHING)
    here = _served(request, kind, bought, shelf)
    there = _served(request, against, ANYTHING, shelf)
    own["earn.rate"] = _of_one(here["speed.decode"], "earn.rate", "tokens a second")
    [theirs] = scoped([there["speed.decode"]], against)
    own["earn.their_rate"] = _of_one(theirs, "earn.their_rate", f"tokens a second of a {against}")
    own["earn.draw"] = _of_one(here["own.draw"], "earn.draw", "drawn at the socket, at work")
    own["earn.idle"] = _of_one(here["own.idle"], "earn.idle", "drawn at the socket, waiting")
    if not bought:
        own["own.price"] = here["own.price"]
    return Sheet(
        "earn", shelf, _words(request, (kind, against, country), (here, there), own, shelf), own
    )


def _words(
    request: Request,
    names: tuple[str, str, str],
    served: tuple[Given, Given],
    own: Given,
    shelf: Shelf,
) -> dict[str, str]:
    (kind, against, country), (here, there) = names, served
    prices = [
        name for name in here if name.startswith("serving.price.") and name.endswith(".output")
    ]
    central, rent = (
        f"rental.{each}" if f"rental.{each}" in shelf else "" for each in (against, kind)
    )
    if not central and not request.price:
        raise CannotPlan(
            f"--against {against}: no rental price is known; choose another, or give --price"
        )
    return {
        "kind": kind,
        "against": against,
        "accelerators": f"{_centre(own['earn.accelerators']):,.0f}",
        "hours": f"{_centre(own['earn.hours_a_day']):g}",
        "model": f"a model of {amount_text(_centre(here['model.params']), '').strip()} parameters",
        "streams": _streams(here),
        "their_streams": _streams(there),
        "cheapest": "min(earn.their_price, earn.same_price)" if rent else "earn.their_price",
        "grid": "earn.electricity" if request.electricity else f"energy.household.{country}",
        "market": "earn.paid" if request.price else "earn.rented_price",
        "market.words": "as you say" if request.price else "what they cost from rented machines",
        "central": central,
        "rent": rent,
        "hosted": prices[0] if prices else "",
        "machine": "earn.bought" if request.purchase else "own.price" if "own.price" in own else "",
    }


def _served(request: Request, kind: str, price: str, shelf: Shelf) -> dict[str, Quantity]:
    """What serving this model on one of a kind comes to, by name; as many streams as memory holds, unless told.

    Raises:
        CannotPlan: it does not fit.
    """
    asked = REQUESTS["serve"](
        hardware=kind, price=price, params=request.params, quant=request.quant, batch=request.batch or "1",
        context=request.context, prompt=PROMPT, answer=ANSWER,
    )  # fmt: skip
    found = named(serve.plan(asked, shelf))
    needs, has = (_centre(found[name].to("GB")) for name in ("memory.needed", "memory.usable"))
    if needs > has:
        raise CannotPlan(
            f"--params {request.params} as {request.quant} takes {needs:.3g} GB with {request.batch or '1'} streams of "
            f"{request.context} tokens, and a {kind} has {has:.3g}; give a smaller --quant, --params, --batch or --context"
        )
    if request.batch:
        return found
    most = max(1, min(MOST_STREAMS, int(_centre(found["memory.streams"]))))
    return named(serve.plan(replace(asked, batch=str(most)), shelf))


def _streams(served: dict[str, Quantity]) -> str:
    return f"{_centre(served['traffic.streams']):,.0f}"


def _of_one(of: Quantity, name: str, about: str) -> Quantity:
    """The same of one accelerator."""
    return (of / given("", 1.0, "accelerator", "one of them")).named(name, about)


def _centre(of: Quantity) -> float:
    return Draws(count=1).centre(of)
