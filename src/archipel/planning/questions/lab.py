"""`plan lab`: what a lab of N accelerators costs to build, to run and per useful FLOP.

What is computed and said stands in `sheets/lab.toml`; here are the choice of kinds and grid, the kinds side by
side, and what computers stay worth.
"""

from dataclasses import replace

import numpy as np

from archipel.planning.mistakes import CannotPlan, Conflict, Impossible
from archipel.planning.plan import Cell, Lines, Plan, Series, Table
from archipel.planning.quantity import Quantity, given, scoped
from archipel.planning.questions.bounds import ACCELERATORS, LIFE
from archipel.planning.questions.computers import lab_words
from archipel.planning.questions.known import complete
from archipel.planning.questions.sheet import Sheet, inputs
from archipel.planning.requests.option import Request, as_dict, read_sheet
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import spell
from archipel.planning.wording import amount_text

MOST_KINDS = 12
NEEDED = ("bf16", "server_power")
"""What a lab has to know of an accelerator, its price aside."""
COMPARED = {
    "budget.accelerators": "bought and run",
    "budget.rented": "rented",
    "lab.purchase": "purchase",
    "power.critical": "critical IT",
    "lab.cost_per_hour": "accelerator-hour",
    "lab.cost_per_flop": "useful EFLOP",
    "rent.year": "rent, a year",
}
"""What kinds are compared by."""
Inputs = dict[str, Quantity]


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: Request, shelf: Shelf) -> Plan:
    """A lab of the first kind, and the same number of the other kinds beside it."""
    kinds = _kinds(request, shelf)
    lab = _lab(kinds[0], request, shelf)
    _check_affordable(lab)

    def labs() -> dict[str, Sheet]:
        others = replace(request, purchase="")
        beside = {kind: _lab(kind, others, shelf) for kind in kinds[1:]}
        return {kinds[0]: lab} | {kind: each for kind, each in beside.items() if _has_some(each)}

    return Plan(
        question="lab",
        title=lab.title(),
        answers=lab.answers(),
        tables=lambda: (*lab.tables(), _kinds_table(lab, labs())),
        charts=lambda: (*lab.bars(), _worth(lab)),
        remarks=lab.remarks,
        verdict=lab.verdict,
        request=as_dict(request),
        find=lab.find,
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
    own = inputs("lab", request, words, shelf)
    words |= {"researchers": "lab.researchers"} | ({"hourly": "rent.price"} if request.rent else {})
    words["years"] = _span(_centre(own.get("lab.years") or shelf["lab.years"]))
    if request.budget:
        own["lab.accelerators"] = _affordable(request, words, own, shelf)
    words["accelerators"] = f"{_centre(own['lab.accelerators']):,.0f}"
    return Sheet("lab", shelf, words, own)


def _span(years: float) -> str:
    return f"{years:g} {'year' if years == 1 else 'years'}"


def _affordable(request: Request, words: dict[str, str], own: Inputs, shelf: Shelf) -> Quantity:
    """How many accelerators the budget builds and runs; words and figures of it are added to what is known."""
    if request.accelerators != read_sheet("lab")["options"]["accelerators"]["default"]:
        raise Conflict("--budget says how many --accelerators there are; drop one of the two")
    words |= {"budget": "lab.budget", "sum": _say(own["lab.budget"])}
    by_number = _centre(own["lab.researchers"]) > 0
    words |= {"payroll": "lab.researchers"} if by_number else {"share": "lab.budget"}
    own |= _each(words, own, shelf)
    lab = Sheet("lab", shelf, words, own)
    return lab["budget.accelerators"]


def _has_some(lab: Sheet) -> bool:
    return _centre(lab["lab.accelerators"]) >= 1.0


def _check_affordable(lab: Sheet) -> None:
    """Refuse a budget that buys no accelerator, or more than a plan counts.

    Raises:
        Impossible: says what the sum rents.
    """
    kept, left = lab.get("budget.kept"), lab.get("budget.lab")
    if kept is not None and left is not None and _centre(left) <= 0:
        raise Impossible(
            lab.fill(
                f"--budget: got {{sum}}, and staff and data take {_say(kept)} of it: nothing is left for a lab; lower "
                "--staff, --data or --researchers, or raise --budget"
            )
        )
    count = _centre(lab["lab.accelerators"])
    if count > ACCELERATORS.most:
        raise Impossible(
            lab.fill(
                f"--budget: {{sum}} buys {count:.3g} accelerators, expected at most {ACCELERATORS.most:g}; give less"
            )
        )
    if _has_some(lab):
        return
    rented = lab.get("budget.rented")
    rents = "" if rented is None else f"; rented, it keeps {_centre(rented):.2g} busy for {{years}}"
    raise Impossible(
        lab.fill(
            f"--budget: got {{sum}}, of which {_say(lab['budget.lab'])} is for the lab; somebody on duty for {{years}} "
            f"costs {_say(lab['budget.duty'])} before the first {{kind}}{rents}"
        )
    )


def _each(words: dict[str, str], own: Inputs, shelf: Shelf) -> Inputs:
    """What one accelerator costs over the years, nobody on duty, under networks of one, two and three tiers."""
    one = given("lab.one", 1.0, "accelerator", "one of them")
    nobody = given("lab.nobody", 0.0, "person", "nobody on duty")
    found = {}
    for tiers, name in enumerate(("one", "two", "three"), 1):
        deep = given(f"network.tiers.{name}", tiers, "1", "a network as deep as that")
        fixed = {"lab.accelerators": one, "network.tiers": deep, "people.operations.duty": nobody}
        alone = Sheet("lab", shelf, words | {"researchers": ""}, own | fixed)
        each = (alone["lab.total"] / one).named("lab.each", "one accelerator, all told")
        found[f"each.{name}"] = scoped([each], name)[0]
    return found


def _centre(of: Quantity) -> float:
    return Draws(count=1).centre(of)


def _say(of: Quantity) -> str:
    return amount_text(float(f"{_centre(of):.3g}"), spell(of.unit))


def _kinds_table(first: Sheet, labs: dict[str, Sheet]) -> Table:
    """The same number of accelerators of each kind, or as many as the same sum pays for."""
    names = [name for name in COMPARED if first.get(name) or not name.startswith("budget.")]
    rows: list[tuple[Cell, ...]] = []
    for kind, lab in labs.items():
        found = [each for each in map(lab.get, names) if each is not None]
        shown = dict(zip(found, found if lab is first else scoped(found, kind), strict=True))
        cells = [each and shown[each] for each in map(lab.get, names)]
        rows.append((kind, *(each or "no price known" for each in cells)))
    alike = "sum in" if "budget.accelerators" in names else "lab of"
    columns = ("kind", *(COMPARED[name] for name in names))
    return Table(f"The same {alike} other generations", columns, tuple(rows))


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
