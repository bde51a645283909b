"""What a lab draws, costs and loses while it runs: power, energy, CO2, water, staff, upkeep, failures.

Average draw = nameplate of the IT load times a measured share, times the hall's PUE. Upkeep, staff and
electricity make the yearly bill. Failures follow `laws/reliability`: one Poisson process over all
accelerators, checkpoints at Young's interval.
"""

from dataclasses import dataclass

from archipel.planning.laws.reliability import goodput, mtbf_hours, young_interval_h
from archipel.planning.quantity import Quantity, derive, total
from archipel.planning.questions.lab_building import Building, Computers
from archipel.planning.tables import Shelf


@dataclass(frozen=True)
class Grid:
    """The electricity a lab buys."""

    price: Quantity
    """USD/kWh."""
    carbon: Quantity
    """g/kWh of CO2-equivalent."""
    pue: Quantity


@dataclass(frozen=True)
class Running:
    """A year of running."""

    power: tuple[tuple[str, Quantity], ...]
    parts: tuple[tuple[str, Quantity], ...]
    energy: Quantity
    co2: Quantity
    water: Quantity
    yearly: Quantity


@dataclass(frozen=True)
class Reliability:
    """How often the whole lab stops as one job, and what share of its time counts."""

    between: Quantity
    interval: Quantity
    goodput: Quantity


def running(
    of: Computers, built: Building, grid: Grid, shelf: Shelf, researchers: Quantity | None = None
) -> Running:
    """Power and yearly costs."""
    share = shelf["power.draw_share.tpu" if of.kind.startswith("tpu") else "power.draw_share.gpu"]
    drawn = (built.critical * share).named("power.it_average", "IT load, average", "MW")
    average = (drawn * grid.pue).named("power.average", "facility, average", "MW")
    peak = (built.critical * shelf["power.pue.peak"]).named(
        "power.connection", "grid connection: nameplate on the hottest hour", "MW"
    )
    epoch = (of.count * of.server_power * share * grid.pue).named(
        "power.average_servers_only", "the same without switches and storage (Epoch)", "MW"
    )
    shown = (built.critical, drawn, average, peak, epoch)
    energy = (average * shelf["lab.year"]).named("energy.year", "electricity of a year", "GWh/year")
    co2 = (energy * grid.carbon).named("co2.year", "CO2-equivalent of a year", "tonne/year")
    water = (drawn * shelf["lab.year"] * shelf["power.wue.industry"]).named(
        "water.year", "water used on site in a year", "m3/year"
    )
    parts = _yearly(of, built, grid.price, energy, shelf)
    if researchers is not None:
        research = (researchers * shelf["people.cost.researcher.usa"]).named(
            "lab.research_cost", "research staff", "USD/year"
        )
        parts.append((research.about, research))
    yearly = total([part for _, part in parts]).named(
        "lab.running", "to run the lab for a year", "USD/year"
    )
    return Running(
        tuple((each.about, each) for each in shown), tuple(parts), energy, co2, water, yearly
    )


def _yearly(
    of: Computers, built: Building, price: Quantity, energy: Quantity, shelf: Shelf
) -> list[tuple[str, Quantity]]:
    electricity = (energy * price).named("energy.cost", "electricity", "USD/year")
    upkeep = (built.critical * shelf["facility.maintenance"]).named(
        "lab.maintenance_cost", "building upkeep, security, insurance", "USD/year"
    )
    support = (built.computing * shelf["facility.support_share"]).named(
        "lab.support_cost", "vendor support and repair", "USD/year"
    )
    software = (of.count * shelf["facility.software.open"]).named(
        "lab.software_cost", "software licences", "USD/year"
    )
    people = (
        built.critical * shelf["people.operations.building"]
        + of.count * shelf["people.operations.cluster"]
        + shelf["people.operations.duty"]
    ).named("lab.operators", "operating staff", "person")
    staff = (people * shelf["people.cost.operator.usa"]).named(
        "lab.staff_cost", "operating staff", "USD/year"
    )
    return [(part.about, part) for part in (electricity, upkeep, support, software, staff)]


def reliability(of: Computers, shelf: Shelf) -> Reliability:
    """Failures of a job over all accelerators."""
    between = derive(
        "failures.mtbf",
        "h",
        [(shelf["reliability.mtbf"], "accelerator*h/failure"), (of.count, "accelerator")],
        mtbf_hours,
        "reliability.mtbf / accelerators",
        "between two failures of a job on all accelerators",
    )
    saving, restart = shelf["reliability.checkpoint.blocking"], shelf["reliability.restart"]
    interval = derive(
        "failures.checkpoint_interval",
        "min",
        [(saving, "h"), (between, "h")],
        lambda save, mtbf: 60.0 * young_interval_h(save, mtbf),
        "√(2 × reliability.checkpoint.blocking × failures.mtbf)",
        "best interval between checkpoints (Young)",
    )
    useful = derive(
        "failures.goodput",
        "1",
        [(between, "h"), (saving, "h"), (restart, "h"), (interval, "h")],
        goodput,
        "(1 − saving) × (1 − (restart + half an interval) / failures.mtbf)",
        "share of time that counts",
    )
    return Reliability(between, interval, useful)
