"""`plan lab`: what a lab of N accelerators costs to build, to run and per useful FLOP.

Steps: computers -> building (`lab_building`) -> a year of running (`lab_running`) -> cost over its life.
"""

from dataclasses import replace

import numpy as np

from archipel.planning.mistakes import CannotPlan
from archipel.planning.plan import Bars, Plan
from archipel.planning.quantity import Quantity, given
from archipel.planning.questions import bounds
from archipel.planning.questions.bounds import LEAST_SHARE, Bounds, bounded, share_of
from archipel.planning.questions.failures import failures
from archipel.planning.questions.known import complete
from archipel.planning.questions.lab_building import Computers, building
from archipel.planning.questions.lab_running import Grid, running
from archipel.planning.questions.lab_words import (
    Lab,
    centre,
    kinds_table,
    purchase_table,
    remarks,
    tables,
    verdict,
    worth,
)
from archipel.planning.requests.lab import LabRequest
from archipel.planning.requests.option import as_dict
from archipel.planning.tables import Shelf

MOST_KINDS = 12
NEEDED = ("bf16", "server_power")
"""What a lab has to know of an accelerator, its price aside."""


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: LabRequest, shelf: Shelf) -> Plan:
    """A lab of the first kind, and the same number of the other kinds beside it."""
    kinds = _kinds(request, shelf)
    others = replace(request, purchase="")
    labs = [_lab(kind, others if place else request, shelf) for place, kind in enumerate(kinds)]
    lab = labs[0]
    title = shelf.fact(f"accelerator.{kinds[0]}.title", kinds[0])
    code = shelf.choose("energy.price", request.country, "country")
    country = shelf.fact(f"energy.country.{code}.title", code)
    share = (lab.built.parts[0][1] / lab.purchase).named(
        "lab.accelerators_share", "accelerators, share of the purchase", "percent"
    )
    return Plan(
        question="lab",
        title=f"A lab of {centre(lab.computers.count):,.0f} × {title}, {country}",
        answers=(
            lab.purchase,
            lab.running.yearly,
            lab.per_hour,
            lab.per_flop,
            lab.running.energy,
            lab.running.co2,
            share,
            *_break_even(lab),
        ),
        tables=(purchase_table(lab), *tables(lab, shelf), kinds_table(labs, kinds)),
        charts=(
            Bars("Purchase", lab.built.parts, "MUSD"),
            Bars("A year of running", lab.running.parts, "MUSD/year"),
            worth(shelf),
        ),
        remarks=remarks(kinds[0]),
        verdict=verdict(lab, shelf),
        request=as_dict(request),
    )


def _kinds(request: LabRequest, shelf: Shelf) -> list[str]:
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


def _lab(kind: str, request: LabRequest, shelf: Shelf) -> Lab:
    count = bounded(request.accelerators, bounds.ACCELERATORS, "--accelerators")
    computers = Computers(
        kind,
        given("lab.accelerators", count, "accelerator", "--accelerators", "accelerators"),
        shelf[f"accelerator.{kind}.bf16"],
        shelf[f"accelerator.{kind}.server_power"],
        _bought(kind, request),
    )
    built = building(computers, shelf)
    year = running(computers, built, _grid(request, shelf), shelf, _researchers(request))
    stops = failures(computers.count, shelf, "failures")
    return _over_its_life(Lab(computers, built, year, stops, *[built.purchase] * 5), request, shelf)


def _bought(kind: str, request: LabRequest) -> Quantity | None:
    """The price of one accelerator, if it was given."""
    if not request.purchase:
        return None
    price, option = bounds.PRICE, "--purchase"
    value = bounded(request.purchase, price, option)
    return given(f"purchase.{kind}", value, price.unit, option, "price of one accelerator")


def _researchers(request: LabRequest) -> Quantity:
    """Research staff on the payroll, none unless asked for."""
    people = bounded(request.researchers, bounds.PEOPLE, "--researchers")
    return given("lab.researchers", people, "person", "--researchers", "research staff")


def _over_its_life(lab: Lab, request: LabRequest, shelf: Shelf) -> Lab:
    """Costs spread over the lives of servers and buildings, and over the hours in use."""
    life = _stated_or(request.life, "lab.server_life", bounds.LIFE, "--life", shelf)
    written_off = lab.built.computing / life + lab.built.hall / shelf["facility.life.building"]
    ownership = (written_off + lab.running.yearly).named(
        "lab.ownership", "written off and running, a year", "USD/year"
    )
    hours = (lab.computers.count * shelf["lab.year"] * shelf["lab.hours_in_use"]).named(
        "lab.hours", "accelerator-hours in use in a year", "accelerator*h/year"
    )
    per_hour = (ownership / hours).named(
        "lab.cost_per_hour", "an accelerator-hour, all costs", "USD/(accelerator*h)"
    )
    mfu = _mfu(request, shelf)
    useful = (lab.computers.peak * mfu * lab.failures.goodput).named(
        "lab.useful_speed", "useful speed of one accelerator", "TFLOP/(s*accelerator)"
    )
    per_flop = (per_hour / useful).named("lab.cost_per_flop", "10^18 useful FLOP", "USD/EFLOP")
    rent = _rent(lab.computers, request, shelf)
    return replace(
        lab, purchase=lab.built.purchase, ownership=ownership, per_hour=per_hour,
        per_flop=per_flop, rent=rent,
    )  # fmt: skip


def _rent(of: Computers, request: LabRequest, shelf: Shelf) -> Quantity | None:
    """Renting as many accelerators for a year, at the given or the market's price."""
    if request.rent:
        value = bounded(request.rent, bounds.HOURLY, "--rent")
        hourly = given("rent.price", value, bounds.HOURLY.unit, "--rent", "rental price")
    elif f"rental.{of.kind}" in shelf:
        hourly = shelf[f"rental.{of.kind}"]
    else:
        return None
    return (of.count * shelf["lab.year"] * hourly).named(
        "rent.year", "renting as many for a year", "USD/year"
    )


def _grid(request: LabRequest, shelf: Shelf) -> Grid:
    country = shelf.choose("energy.price", request.country, "country")
    if f"energy.carbon.{country}" not in shelf:
        raise CannotPlan(f"--country: the carbon of the grid of {country!r} is not known")
    price = _stated_or(
        request.electricity, f"energy.price.{country}", bounds.ELECTRICITY, "--electricity", shelf
    )
    pue = _stated_or(request.pue, "power.pue.colocation", bounds.PUE, "--pue", shelf)
    return Grid(price, shelf[f"energy.carbon.{country}"], pue)


def _mfu(request: LabRequest, shelf: Shelf) -> Quantity:
    """The utilisation given, or that of published runs."""
    name = "mfu.default"
    if not request.mfu:
        return shelf[name]
    value = share_of(request.mfu, "--mfu", least=LEAST_SHARE)
    return given(name, value, "1", "--mfu", shelf.entry(name).about)


def _stated_or(text: str, name: str, of: Bounds, option: str, shelf: Shelf) -> Quantity:
    """What the person gave for a constant, or the constant."""
    if not text:
        return shelf[name]
    return given(name, bounded(text, of, option), of.unit, option, shelf.entry(name).about)


def _break_even(lab: Lab) -> tuple[Quantity, ...]:
    """The share of hours above which owning is cheaper than renting only the hours used."""
    if lab.rent is None:
        return ()
    used = lab.ownership / lab.rent
    text = "hours in use above which owning beats renting"
    return (used.named("lab.break_even_use", text, "percent"),)
