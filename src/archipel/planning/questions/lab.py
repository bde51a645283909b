"""`plan lab`: what a lab of N accelerators costs to build, to run and per useful FLOP.

What is computed stands in `sheets/lab.toml`; here are the choice of kinds and grid, the kinds side by side, what
computers stay worth, and the sentence that answers.
"""

from dataclasses import replace

import numpy as np

from archipel.planning.mistakes import CannotPlan
from archipel.planning.plan import Cell, Lines, Plan, Series, Table
from archipel.planning.quantity import Quantity, scoped
from archipel.planning.questions.bounds import LIFE
from archipel.planning.questions.computers import lab_words
from archipel.planning.questions.deciding import decided, share_of_worlds
from archipel.planning.questions.known import complete
from archipel.planning.questions.sheet import Sheet, inputs
from archipel.planning.requests.option import Request, as_dict
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import spell
from archipel.planning.wording import amount_text

MOST_KINDS = 12
NEEDED = ("bf16", "server_power")
"""What a lab has to know of an accelerator, its price aside."""
MOSTLY = 0.5
"""A cost above this share of the whole decides it."""
STANDS_STILL = 0.05
"""A job that keeps less of its time than this does not run."""
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
        verdict=_verdict(lab, kinds[0]),
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


def _verdict(lab: Sheet, kind: str) -> str:
    """What it costs to build and by the hour, and whether renting is cheaper."""
    costs = (
        f"Building costs {_say(lab['lab.purchase'])}; an accelerator-hour costs "
        f"{_say(lab['lab.cost_per_hour'])} all in"
    )
    hourly = lab.get("step.rented")
    rented = "" if hourly is None else f" and {_say(hourly)} rented"
    staff = _centre(lab["step.staff_share"])
    if staff > MOSTLY:
        return f"{costs}, {staff:.0%} of it staff,{rented}: too small to own, rent instead."
    if not rented:
        against = f"; no rental price of {kind} is known to hold it against"
    else:
        share = share_of_worlds(lab["step.owning_over_renting"], lambda ratio: ratio < 1.0)
        owning = f"owning is cheaper in {share:.0%}"
        renting = f"renting is cheaper in {1 - share:.0%}"
        word = decided(share, owning, renting, f"undecided, {owning}")
        against = f"{rented}: {word} of sampled worlds"
    return f"{costs}{against}.{_one_job(lab)}"


def _one_job(lab: Sheet) -> str:
    """Whether one job can run on everything."""
    if _centre(lab["failures.goodput"]) > STANDS_STILL:
        return ""
    between = _centre(lab["failures.mtbf"].to("min"))
    return f" One job cannot run on all of them: one fails every {between:.2g} minutes."


def _say(of: Quantity) -> str:
    """Money, per whatever it is."""
    return amount_text(float(f"{_centre(of):.3g}"), spell(of.unit).partition("/")[0])


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
