"""The same lab as others count it: published rates of failure, bills of materials, costs per megawatt.

Each row implements one publication as it stands, so that a reader sees how far the ways of counting differ.
"""

import numpy as np

from archipel.planning.plan import Cell, Table
from archipel.planning.quantity import Quantity, derive
from archipel.planning.questions.lab_building import Building, Computers
from archipel.planning.tables import Shelf

RATES = ("llama3", "rsc1", "rsc2", "opt", "bloom", "h200-1600", "b200-504")


def mtbf_table(of: Computers, shelf: Shelf) -> Table:
    """The time between failures that each published rate gives for this lab."""
    rows = []
    for group in RATES:
        title = shelf.fact(f"reliability.{group}.title", group)
        here = (published_mtbf(group, shelf) / of.count).named(f"failures.mtbf.{group}", title, "h")
        rows.append((title, here))
    return Table("Time between failures here, by published rate", ("measured on", ""), tuple(rows))


def published_mtbf(group: str, shelf: Shelf) -> Quantity:
    """Accelerator-hours between two failures, as one publication gives them."""
    one = shelf["reliability.one_failure"]
    if group == "llama3":
        seen = shelf["reliability.llama3.days"] * shelf["reliability.llama3.accelerators"]
        return seen / shelf["reliability.llama3.unexpected"] * one
    if f"reliability.{group}.rate" in shelf:
        return shelf["accelerator.a100-80.server_size"] / shelf[f"reliability.{group}.rate"] * one
    return shelf[f"reliability.{group}.mtbf"] * one


def otherwise_counted(of: Computers, built: Building, shelf: Shelf) -> Table:
    """What other ways of counting say such a lab costs."""
    epoch = (of.count * built.price / (1.0 - shelf["facility.interconnect_share"])).named(
        "published.epoch_acquisition", "servers and network: price / (1 − 0.19) (Epoch)", "USD"
    )
    gigawatt = (built.critical * shelf["facility.gigawatt.epoch.capex"]).named(
        "published.epoch_gigawatt", "all capital cost per MW of a gigawatt campus (Epoch)", "USD"
    )
    bernstein = (built.critical * shelf["facility.gigawatt.bernstein.capex"]).named(
        "published.bernstein_gigawatt", "the same (Bernstein)", "USD"
    )
    ours = (built.computing + built.hall).named("lab.purchase_again", "all parts above", "USD")
    rows = [(each.about, each) for each in (ours, epoch, gigawatt, bernstein)]
    if of.kind == "h100":
        sheet = bill_of_materials(of, built, shelf)
        rows.append((sheet.about, sheet))
    return Table("The purchase as others count it", ("way of counting", ""), tuple(rows))


def bill_of_materials(of: Computers, built: Building, shelf: Shelf) -> Quantity:
    """The public sheet of August 2024: servers of 8 H100, their network, building and operation."""
    servers = of.count / shelf["accelerator.h100.server_size"]
    each = shelf["facility.bom.node_price"] + shelf["facility.bom.facility_and_ops"]
    return (servers * each + dict(built.parts)["optical network"]).named(
        "published.bom", "servers of 8 H100, network, building, operation (2024 sheet)", "USD"
    )


def worth_table(shelf: Shelf) -> Table:
    """What servers still bring after one, two and three years, by trend and by resale."""
    rows: list[tuple[Cell, ...]] = []
    for years in (1, 2, 3):
        trend = derive(
            f"worth.trend.{years}y",
            "percent",
            [(shelf["hardware.price_performance.orders"], "1/year")],
            lambda orders, t=years: 100.0 * 10.0 ** (-orders * t),
            f"10^(−hardware.price_performance.orders × {years} years)",
            f"worth after {years} years, by the trend of price for speed",
        )
        line = derive(
            f"worth.line.{years}y",
            "percent",
            [(shelf["lab.server_life"], "year")],
            lambda life, t=years: 100.0 * np.maximum(0.0, 1.0 - t / life),
            f"1 − {years} years / lab.server_life",
            f"book value after {years} years",
        )
        resale = shelf[f"hardware.residual.after_{12 * years}_months"].to("percent")
        rows.append((f"after {years} years", trend, line, resale))
    columns = ("", "price of the same speed new", "written off in a line", "resale, H100")
    return Table("What the computers are still worth", columns, tuple(rows))
