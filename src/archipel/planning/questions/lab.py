"""`plan lab`: what a lab of N accelerators costs to build, to run and per useful FLOP.

Steps: computers -> building (`lab_building`) -> a year of running (`lab_running`) -> cost over its life.
"""

from dataclasses import dataclass, replace

import numpy as np

from archipel.planning.mistakes import CannotPlan, Impossible
from archipel.planning.plan import Bars, Cell, Lines, Plan, Series, Table
from archipel.planning.quantity import Quantity, given, scoped
from archipel.planning.questions.lab_building import Building, Computers, building
from archipel.planning.questions.lab_published import mtbf_table, otherwise_counted, worth_table
from archipel.planning.questions.lab_running import (
    Grid,
    Reliability,
    Running,
    reliability,
    running,
)
from archipel.planning.requests.lab import LabRequest
from archipel.planning.requests.option import as_dict
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import amount, positive

MOST_KINDS = 12


@dataclass(frozen=True)
class Lab:
    """One lab, computed."""

    computers: Computers
    built: Building
    running: Running
    reliability: Reliability
    purchase: Quantity
    ownership: Quantity
    """USD/year: purchase written off, and running."""
    per_hour: Quantity
    per_flop: Quantity
    rent: Quantity | None
    """USD/year for the same accelerators; None where nobody offers them at a known price."""


def plan(request: LabRequest, shelf: Shelf) -> Plan:
    """A lab of the first kind, and the same number of the other kinds beside it."""
    kinds = _kinds(request, shelf)
    labs = [_lab(kind, request, shelf) for kind in kinds]
    lab = labs[0]
    title = shelf.fact(f"accelerator.{kinds[0]}.title", kinds[0])
    code = shelf.choose("energy.price", request.country, "country")
    country = shelf.fact(f"energy.country.{code}.title", code)
    share = (lab.built.parts[0][1] / lab.purchase).named(
        "lab.accelerators_share", "accelerators, share of the purchase", "percent"
    )
    return Plan(
        question="lab",
        title=f"A lab of {amount(request.accelerators, 'accelerator', ''):,.0f} × {title}, {country}",
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
        tables=(_purchase_table(lab), *_tables(lab, shelf), _kinds_table(labs, kinds)),
        charts=(
            Bars("Purchase", lab.built.parts, "MUSD"),
            Bars("A year of running", lab.running.parts, "MUSD/year"),
            _worth(shelf),
        ),
        remarks=_remarks(kinds[0]),
        request=as_dict(request),
    )


def _kinds(request: LabRequest, shelf: Shelf) -> list[str]:
    words = [word.strip() for word in request.kind.split(",") if word.strip()]
    if not 1 <= len(words) <= MOST_KINDS:
        raise CannotPlan(f"--kind: got {len(words)} kinds, expected 1 to {MOST_KINDS}")
    kinds = list(dict.fromkeys(shelf.choose("accelerator", word, "accelerator") for word in words))
    priced = [kind for kind in shelf.members("accelerator") if f"purchase.{kind}" in shelf]
    for kind in kinds:
        if kind not in priced:
            raise CannotPlan(
                f"--kind: no purchase price of {kind} is known; give one as purchase.{kind} in a "
                f"table (--table), or choose one of {', '.join(priced)}"
            )
    return kinds


def _lab(kind: str, request: LabRequest, shelf: Shelf) -> Lab:
    count = amount(request.accelerators, "accelerator", "--accelerators")
    if not 1 <= count <= 1e8:
        raise Impossible(f"--accelerators: got {count:g}, expected 1 to 100 million")
    computers = Computers(
        kind,
        given("lab.accelerators", count, "accelerator", "--accelerators", "accelerators"),
        shelf[f"accelerator.{kind}.bf16"],
        shelf[f"accelerator.{kind}.server_power"],
    )
    built = building(computers, shelf)
    year = running(computers, built, _grid(request, shelf), shelf, _researchers(request))
    failures = reliability(computers, shelf)
    return _over_its_life(
        Lab(computers, built, year, failures, *[built.purchase] * 5), request, shelf
    )


def _researchers(request: LabRequest) -> Quantity:
    """Research staff on the payroll, none unless asked for."""
    people = amount(request.researchers, "person", "--researchers")
    if not 0 <= people <= 1e5:
        raise Impossible(f"--researchers: got {request.researchers!r}, expected 0 to 100,000")
    return given("lab.researchers", people, "person", "--researchers", "research staff")


def _over_its_life(lab: Lab, request: LabRequest, shelf: Shelf) -> Lab:
    """Costs spread over the lives of servers and buildings, and over the hours in use."""
    life = _stated_or(request.life, "lab.server_life", "year", "--life", shelf)
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
    mfu = _stated_or(request.mfu, "mfu.default", "1", "--mfu", shelf)
    useful = (lab.computers.peak * mfu * lab.reliability.goodput).named(
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
    unit = "USD/(accelerator*h)"
    if request.rent:
        value = positive(request.rent, unit, "--rent")
        hourly = given("rent.price", value, unit, "--rent", "rental price")
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
        request.electricity, f"energy.price.{country}", "USD/kWh", "--electricity", shelf
    )
    pue = _stated_or(request.pue, "power.pue.colocation", "1", "--pue", shelf)
    if request.pue and amount(request.pue, "1", "--pue") < 1:
        raise Impossible(f"--pue: got {request.pue}, expected 1 or more: total over IT power")
    return Grid(price, shelf[f"energy.carbon.{country}"], pue)


def _stated_or(text: str, name: str, unit: str, option: str, shelf: Shelf) -> Quantity:
    """What the person gave for a constant, or the constant."""
    if not text:
        return shelf[name]
    value = positive(text, unit, option)
    if option == "--mfu" and value > 1:
        raise Impossible(f"--mfu: got {text!r}, expected a share of at most 1")
    return given(name, value, unit, option, shelf.entry(name).about)


def _break_even(lab: Lab) -> tuple[Quantity, ...]:
    """The share of hours above which owning is cheaper than renting only the hours used."""
    if lab.rent is None:
        return ()
    used = lab.ownership / lab.rent
    text = "hours in use above which owning beats renting"
    return (used.named("lab.break_even_use", text, "percent"),)


def _purchase_table(lab: Lab) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            label,
            part,
            (part / lab.purchase).named(f"share.{part.name}", f"share of {label}", "percent"),
        )
        for label, part in lab.built.parts
    ]
    return Table("Purchase", ("part", "cost", "share"), (*rows, ("all", lab.purchase, "")))


def _tables(lab: Lab, shelf: Shelf) -> tuple[Table, ...]:
    year, failures = lab.running, lab.reliability
    power = Table("Power", ("", "MW"), tuple((label, part) for label, part in year.power))
    bill = Table(
        "A year",
        ("", ""),
        (
            *((label, part) for label, part in year.parts),
            ("all running costs", year.yearly),
            ("purchase written off, and running", lab.ownership),
            ("renting as many accelerators", lab.rent or "no price known"),
            ("colocation instead of a hall of its own", _colocation(lab, shelf)),
            ("vendor's software at list price instead of open software", _vendor(lab, shelf)),
            ("CO2-equivalent", year.co2),
            ("water on site", year.water),
        ),
    )
    stops = Table(
        "Failures of one job on all of them",
        ("", ""),
        tuple(
            (each.about, each) for each in (failures.between, failures.interval, failures.goodput)
        ),
    )
    return (
        power,
        bill,
        stops,
        mtbf_table(lab.computers, shelf),
        otherwise_counted(lab.computers, lab.built, shelf),
        worth_table(shelf),
    )


def _colocation(lab: Lab, shelf: Shelf) -> Quantity:
    """Renting the hall: a price per kW and month that leaves out electricity."""
    return (lab.built.critical * shelf["facility.colocation"]).named(
        "colocation.year", "colocation without electricity", "USD/year"
    )


def _vendor(lab: Lab, shelf: Shelf) -> Quantity:
    """Licences of NVIDIA AI Enterprise for every accelerator."""
    return (lab.computers.count * shelf["facility.software.nvidia_ai_enterprise"]).named(
        "lab.vendor_software_cost", "vendor's software at list price", "USD/year"
    )


def _kinds_table(labs: list[Lab], kinds: list[str]) -> Table:
    """The same number of accelerators of each kind."""
    rows: list[tuple[Cell, ...]] = []
    for lab, kind in zip(labs, kinds, strict=True):
        shown = [lab.purchase, lab.built.critical, lab.per_hour, lab.per_flop]
        shown += [lab.rent] if lab.rent else []
        cells = shown if lab is labs[0] else scoped(shown, kind)
        rows.append((kind, *cells, *(() if lab.rent else ("no price known",))))
    columns = (
        "kind",
        "purchase",
        "critical IT",
        "accelerator-hour",
        "useful EFLOP",
        "rent, a year",
    )
    return Table("The same lab of other generations", columns, tuple(rows))


def _worth(shelf: Shelf) -> Lines:
    """What the computers are still worth, by two ways of writing off."""
    years = np.linspace(0.0, 6.0, 25)
    one = Draws(count=1)
    orders = one.estimate(shelf["hardware.price_performance.orders"])
    straight = np.maximum(0.0, 1.0 - years / one.centre(shelf["lab.server_life"]))
    value, low, high = (10.0 ** (-each * years) for each in (orders.value, orders.high, orders.low))
    series = (
        Series("market: price of the same speed when new", years, value, low, high),
        Series("written off in a straight line", years, straight, style="dashed"),
    )
    return Lines("What the computers are still worth", "years", "share of the price", series)


def _remarks(kind: str) -> tuple[str, ...]:
    return (
        "The network is a fat tree of 400 Gbit/s ports at prices of 2024; faster ports cost more.",
        "Below about a megawatt nobody builds: rent space (colocation) and share the people on duty.",
        "Research staff counts only with --researchers: 29 to 49% of developing a frontier model.",
        "Land, permits and a grid connection take years that no price here shows.",
        f"Utilisation (MFU) is that of published runs, not of {kind} in your hands: measure yours.",
    )
