"""What a lab draws and costs while it runs: power, energy, CO2, water, staff, upkeep.

Average draw = nameplate of the IT load times a measured share, times the hall's PUE. Upkeep, staff and
electricity make the yearly bill.
"""

from dataclasses import dataclass

from archipel.planning.quantity import Quantity, total
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
