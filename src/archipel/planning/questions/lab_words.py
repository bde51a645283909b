"""`plan lab`: its tables, what its computers stay worth, its caveats, and the sentence that answers."""

from dataclasses import dataclass

import numpy as np

from archipel.planning.plan import Cell, Lines, Series, Table
from archipel.planning.quantity import Quantity, scoped
from archipel.planning.questions.bounds import LIFE
from archipel.planning.questions.deciding import decided, share_of_worlds
from archipel.planning.questions.failures import Failures
from archipel.planning.questions.lab_building import Building, Computers
from archipel.planning.questions.lab_published import mtbf_table, otherwise_counted, worth_table
from archipel.planning.questions.lab_running import Running
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import spell
from archipel.planning.wording import amount_text

MOSTLY = 0.5
"""A cost above this share of the whole decides it."""
STANDS_STILL = 0.05
"""A job that keeps less of its time than this does not run."""


@dataclass(frozen=True)
class Lab:
    """One lab, computed."""

    computers: Computers
    built: Building
    running: Running
    failures: Failures
    purchase: Quantity
    ownership: Quantity
    """USD/year: purchase written off, and running."""
    per_hour: Quantity
    per_flop: Quantity
    rent: Quantity | None
    """USD/year for the same accelerators; None where nobody offers them at a known price."""


def centre(of: Quantity) -> float:
    """The central value of a quantity."""
    return Draws(count=1).centre(of)


def verdict(lab: Lab, shelf: Shelf) -> str:
    """What it costs to build and by the hour, and whether renting is cheaper."""
    costs = f"Building costs {_say(lab.purchase)}; an accelerator-hour costs {_say(lab.per_hour)} all in"
    (staff,) = (part for part in lab.running.parts if part[1].name == "lab.staff_cost")
    share = centre(staff[1] / lab.ownership)
    if share > MOSTLY:
        return f"{costs}, {share:.0%} of it staff,{_rented(lab, shelf)}: too small to own, rent instead."
    return f"{costs}{_against(lab, shelf)}.{_one_job(lab)}"


def _against(lab: Lab, shelf: Shelf) -> str:
    """Beside renting, with the share of worlds in which owning is cheaper."""
    if lab.rent is None:
        return f"; no rental price of {lab.computers.kind} is known to hold it against"
    over = lab.ownership / (lab.rent * shelf["lab.hours_in_use"])
    share = share_of_worlds(over, lambda ratio: ratio < 1.0)
    owning = f"owning is cheaper in {share:.0%}"
    word = decided(share, owning, f"renting is cheaper in {1 - share:.0%}", f"undecided, {owning}")
    return f"{_rented(lab, shelf)}: {word} of sampled worlds"


def _rented(lab: Lab, shelf: Shelf) -> str:
    if lab.rent is None:
        return ""
    hourly = (lab.rent / (lab.computers.count * shelf["lab.year"])).to("USD/(accelerator*h)")
    return f" and {_say(hourly)} rented"


def _one_job(lab: Lab) -> str:
    """Whether one job can run on everything."""
    if centre(lab.failures.goodput) > STANDS_STILL:
        return ""
    between = lab.failures.between.to("min")
    return f" One job cannot run on all of them: one fails every {centre(between):.2g} minutes."


def _say(of: Quantity) -> str:
    """Money, per whatever it is."""
    return amount_text(float(f"{centre(of):.3g}"), spell(of.unit).partition("/")[0])


def purchase_table(lab: Lab) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            label,
            part,
            (part / lab.purchase).named(f"share.{part.name}", f"share of {label}", "percent"),
        )
        for label, part in lab.built.parts
    ]
    return Table("Purchase", ("part", "cost", "share"), (*rows, ("all", lab.purchase, "")))


def tables(lab: Lab, shelf: Shelf) -> tuple[Table, ...]:
    year, failures = lab.running, lab.failures
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
            (each.about, each)
            for each in (failures.between, failures.interval, failures.refined, failures.goodput)
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


def kinds_table(labs: list[Lab], kinds: list[str]) -> Table:
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


def worth(shelf: Shelf) -> Lines:
    """What the computers are still worth, by two ways of writing off."""
    years = np.linspace(0.0, 6.0, 25)
    one = Draws(count=1)
    orders = one.estimate(shelf["hardware.price_performance.orders"])
    life = max(one.centre(shelf["lab.server_life"]), LIFE.least)
    straight = np.maximum(0.0, 1.0 - years / life)
    value, low, high = (10.0 ** (-each * years) for each in (orders.value, orders.high, orders.low))
    series = (
        Series("market: price of the same speed when new", years, value, low, high),
        Series("written off in a straight line", years, straight, style="dashed"),
    )
    return Lines("What the computers are still worth", "years", "share of the price", series)


def remarks(kind: str) -> tuple[str, ...]:
    return (
        "The network is a fat tree of 400 Gbit/s ports at prices of 2024; faster ports cost more.",
        "Below about a megawatt nobody builds: rent space (colocation) and share the people on duty.",
        "Research staff counts only with --researchers: 29 to 49% of developing a frontier model.",
        "Land, permits and a grid connection take years that no price here shows.",
        f"Utilisation (MFU) is that of published runs, not of {kind} in your hands: measure yours.",
    )
