"""The same run as others count it: electricity as model cards report it, cost as a written-off purchase.

Each row implements one publication as it stands, so that its figures can be compared with ours.
"""

import numpy as np

from archipel.planning.plan import Cell, Table
from archipel.planning.quantity import Quantity, derive
from archipel.planning.questions.computers import inside_server
from archipel.planning.questions.train_stages import Run
from archipel.planning.requests.train import TrainRequest
from archipel.planning.tables import Shelf


def otherwise_counted(run: Run, request: TrainRequest, shelf: Shelf) -> Table:
    """Electricity, CO2 and cost by published ways of counting."""
    rows = _as_model_cards(run, request, shelf)
    if f"purchase.{run.fleet.kind}" in shelf:
        rows += _as_purchase(run, shelf)
    cells: tuple[tuple[Cell, ...], ...] = tuple((each.about, each) for each in rows)
    return Table("The same run as others count it", ("way of counting", ""), cells)


def _as_model_cards(run: Run, request: TrainRequest, shelf: Shelf) -> list[Quantity]:
    """Accelerator-hours × thermal design power × PUE of a large operator, as in the Llama papers."""
    country = shelf.choose("energy.carbon", request.country, "country")
    power = shelf[f"accelerator.{run.fleet.kind}.tdp"] * shelf["power.pue.hyperscale"]
    energy = (run.bill.hours * power).named(
        "published.card_energy", "electricity of the accelerators alone × PUE (model cards)", "MWh"
    )
    co2 = (energy * shelf[f"energy.carbon.{country}"]).named(
        "published.card_co2", "CO2-equivalent of that", "tonne"
    )
    return [energy, co2]


def _as_purchase(run: Run, shelf: Shelf) -> list[Quantity]:
    """Epoch's model: servers and network lose 0.14 orders of magnitude of value a year while in use."""
    server = inside_server(run.fleet.kind, shelf) / (1.0 - shelf["facility.interconnect_share"])
    hourly = derive(
        "published.chip_hour",
        "USD/(accelerator*h)",
        [(server, "USD/accelerator"), (shelf["hardware.price_performance.orders"], "1/h")],
        lambda price, orders: price * orders * np.log(10.0),
        "price / (1 − facility.interconnect_share) × hardware.price_performance.orders × ln 10",
        "an accelerator-hour written off from new",
    )
    return [
        (run.fleet.count * server).named(
            "published.cluster", "buying the cluster: servers and network (Epoch)", "USD"
        ),
        hourly,
        (run.bill.hours * hourly).named(
            "published.amortised", "hardware written off during the run (Epoch)", "USD"
        ),
    ]
