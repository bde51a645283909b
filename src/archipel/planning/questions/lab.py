"""`plan lab`: what a lab of N accelerators costs to build, to run and per useful FLOP.

What is computed and said stands in `sheets/lab.toml`; here are the choice of kinds and grid, the kinds side by
side, and what computers stay worth.
"""

from dataclasses import replace

import numpy as np

from archipel.planning.mistakes import CannotPlan
from archipel.planning.plan import Cell, Lines, Plan, Series, Table
from archipel.planning.quantity import Quantity, scoped
from archipel.planning.questions.bounds import LIFE
from archipel.planning.questions.computers import lab_words
from archipel.planning.questions.known import complete
from archipel.planning.questions.sheet import Sheet, inputs
from archipel.planning.requests.option import Request, as_dict
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

MOST_KINDS = 12
NEEDED = ("bf16", "server_power")
"""What a lab has to know of an accelerator, its price aside."""
COMPARED = ("lab.purchase", "power.critical", "lab.cost_per_hour", "lab.cost_per_flop")
"""What kinds are compared by, rent aside."""


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: Request, shelf: Shelf) -> Plan:
    """A lab of the first kind, and the same number of the other kinds beside it."""
    kinds = _kinds(request, shelf)
    others = replace(request, purchase="")
    labs = [_lab(kind, others if place else request, shelf) for place, kind in enumerate(kinds)]
    lab = labs[0]
    tables = lab.tables()
    return Plan(
        question="lab",
        title=lab.title(),
        answers=lab.answers(),
        tables=(*tables, _kinds_table(labs, kinds)),
        charts=(*lab.bars(), _worth(lab)),
        remarks=lab.remarks(),
        verdict=lab.verdict,
        request=as_dict(request),
    )


def _kinds(request: Request, shelf: Shelf) -> list[str]:
    words = [word.strip() for word in request.kind.split(",") if word.strip()]
    if not 1 <= len(words) <= MOST_KINDS:
        raise CannotPlan(
            f"--kind: got {request.kind!r}, {len(words)} kinds; expected 1 to {MOST_KINDS} after commas, "
            "such as h100 or h100,b200"
        )
    kinds = list(dict.fromkeys(shelf.choose("accelerator", word, "accelerator") for word in words))
    priced = [kind for kind in shelf.members("accelerator") if f"purchase.{kind}" in shelf]
    for place, kind in enumerate(kinds):
        given_here = bool(request.purchase) and place == 0
        complete("--kind", kind, NEEDED, shelf, "" if given_here else "purchase")
        if kind not in priced and not given_here:
            raise CannotPlan(
                f"--kind: no purchase price of {kind} is known; give one with --purchase, or as "
                f"purchase.{kind} in a table (--table), or choose one of {', '.join(priced)}"
            )
    return kinds


def _lab(kind: str, request: Request, shelf: Shelf) -> Sheet:
    """The sheet of one kind, with the person's own figures."""
    country = shelf.choose("energy.price", request.country, "country")
    if f"energy.carbon.{country}" not in shelf:
        raise CannotPlan(f"--country: the carbon of the grid of {country!r} is not known")
    words = lab_words(kind, country, shelf)
    given = inputs("lab", request, words, shelf)
    words |= {"researchers": "lab.researchers"} | ({"hourly": "rent.price"} if request.rent else {})
    words["accelerators"] = f"{_centre(given['lab.accelerators']):,.0f}"
    return Sheet("lab", shelf, words, given)


def _centre(of: Quantity) -> float:
    return Draws(count=1).centre(of)


def _kinds_table(labs: list[Sheet], kinds: list[str]) -> Table:
    """The same number of accelerators of each kind."""
    rows: list[tuple[Cell, ...]] = []
    for lab, kind in zip(labs, kinds, strict=True):
        shown = lab.present([*COMPARED, "rent.year"])
        cells = shown if lab is labs[0] else scoped(shown, kind)
        rows.append((kind, *cells, *(["no price known"] if len(shown) == len(COMPARED) else [])))
    columns = (
        "kind",
        "purchase",
        "critical IT",
        "accelerator-hour",
        "useful EFLOP",
        "rent, a year",
    )
    return Table("The same lab of other generations", columns, tuple(rows))


def _worth(lab: Sheet) -> Lines:
    """What the computers are still worth, by two ways of writing off."""
    years = np.linspace(0.0, 6.0, 25)
    orders = Draws(count=1).estimate(lab["hardware.price_performance.orders"])
    life = max(_centre(lab["lab.server_life"]), LIFE.least)
    straight = np.maximum(0.0, 1.0 - years / life)
    value, low, high = (10.0 ** (-each * years) for each in (orders.value, orders.high, orders.low))
    series = (
        Series("market: price of the same speed when new", years, value, low, high),
        Series("written off in a straight line", years, straight, style="dashed"),
    )
    return Lines("What the computers are still worth", "years", "share of the price", series)
