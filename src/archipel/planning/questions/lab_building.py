"""What it takes to build a lab: computers, network, storage, hall, power, cooling, land.

The hall is sized by critical IT load: the nameplate of the servers plus switches and storage. The network
follows a public bill of materials: L tiers of switches need (2L - 1)/64 switches and one priced set of
optics per link and tier. Everything else is a price per accelerator, per megawatt or a share of those.
"""

from dataclasses import dataclass

import numpy as np

from archipel.planning.quantity import Quantity, derive, total
from archipel.planning.tables import Shelf


@dataclass(frozen=True)
class Computers:
    """The accelerators of a lab and what one of them is."""

    kind: str
    count: Quantity
    peak: Quantity
    """TFLOP/(s*accelerator), dense."""
    server_power: Quantity
    """W/accelerator, nameplate of the whole server."""
    bought: Quantity | None = None
    """The price of one as given; None for the tables'."""


@dataclass(frozen=True)
class Building:
    """The parts of the purchase, in the order in which people ask for them."""

    parts: tuple[tuple[str, Quantity], ...]
    computing: Quantity
    """USD written off over the life of servers."""
    hall: Quantity
    """USD written off over the life of buildings."""
    critical: Quantity
    """MW of IT load the hall is built for."""
    price: Quantity
    """USD/accelerator, with its part of a server."""

    @property
    def purchase(self) -> Quantity:
        """Everything bought."""
        return total([part for _, part in self.parts]).named(
            "lab.purchase", "to build the lab", "USD"
        )


def building(of: Computers, shelf: Shelf) -> Building:
    """The purchase of a lab, part by part."""
    critical = critical_load(of, shelf)
    price = inside_server(of.kind, shelf, of.bought)
    computing = _computing(of, price, shelf)
    hall = _hall(critical, shelf)
    bought = total([part for _, part in computing]).named(
        "lab.computing", "accelerators, servers, network, storage", "USD"
    )
    built = total([part for _, part in hall]).named("lab.hall", "hall, power, cooling, land", "USD")
    return Building((*computing, *hall), bought, built, critical, price)


def critical_load(of: Computers, shelf: Shelf) -> Quantity:
    """Nameplate power of servers, switches and storage, in MW."""
    servers = (of.count * of.server_power).named("power.servers", "nameplate of all servers", "MW")
    return (servers * (1.0 + shelf["power.other_it"])).named(
        "power.critical", "critical IT load, nameplate", "MW"
    )


def inside_server(kind: str, shelf: Shelf, bought: Quantity | None = None) -> Quantity:
    """The price of one accelerator with its share of a server, USD/accelerator.

    `bought` stands in place of the tables' price and is taken as that is: in its server, or bare.
    """
    price = bought or shelf[f"purchase.{kind}"]
    if shelf.fact(f"purchase_form.{kind}") == "bare":
        price = price * shelf["facility.server_overhead.other"]
    return price.named("lab.price", "one accelerator with its part of a server")


def _computing(of: Computers, inside: Quantity, shelf: Shelf) -> list[tuple[str, Quantity]]:
    share = shelf["lab.accelerator_share"]
    servers_price = of.count * inside
    accelerators = (servers_price * share).named("lab.accelerators_cost", "accelerators", "USD")
    chassis = (servers_price * (1.0 - share)).named(
        "lab.servers_cost", "servers around them", "USD"
    )
    connected = _network(of, shelf)
    storage = (
        of.count * shelf["facility.storage.capacity"] * shelf["facility.storage.flash"]
    ).named("lab.storage_cost", "storage", "USD")
    equipment = accelerators + chassis + connected + storage
    spares = (equipment * shelf["facility.spares_share"]).named("lab.spares_cost", "spares", "USD")
    installing = (equipment * shelf["facility.installation_share"]).named(
        "lab.installation_cost", "installation", "USD"
    )
    named = (accelerators, chassis, connected, storage, spares, installing)
    return [(part.about, part) for part in named]


def _network(of: Computers, shelf: Shelf) -> Quantity:
    """Switches and optics between servers, by the bill of materials."""
    links = (of.count * shelf["lab.links_per_accelerator"]).named(
        "network.links", "links into the network"
    )
    servers = links / shelf["facility.bom.links_per_server"]
    tiers = derive(
        "network.tiers",
        "1",
        [
            (servers, "server"),
            (shelf["facility.bom.tier1_servers"], "server"),
            (shelf["facility.bom.tier2_servers"], "server"),
        ],
        lambda n, one, two: 1.0 + (np.asarray(n) > one) + (np.asarray(n) > two),
        "1 up to 64 servers of 8 links, 2 up to 2,048, 3 beyond",
        "tiers of switches",
    )
    ports = (2.0 * tiers - 1.0) / shelf["facility.bom.ports_per_switch"]
    switches = (links * ports).named("network.switches", "switches")
    cables = shelf["facility.bom.cable_base"] + shelf["facility.bom.cable_per_tier"] * tiers
    optics = (servers * cables).named("network.optics_cost", "optics and cables", "USD")
    bought = switches * shelf["facility.bom.switch_price"] + optics
    return bought.named("lab.network_cost", "optical network", "USD")


def _hall(critical: Quantity, shelf: Shelf) -> list[tuple[str, Quantity]]:
    named = [
        ("power supply", "power_supply_cost", "facility.capex.power"),
        ("utility connection", "substation_cost", "facility.capex.substation"),
        ("cooling", "cooling_cost", "facility.capex.cooling"),
        ("buildings", "building_cost", "facility.capex.building"),
        ("hall and fit-out", "fitout_cost", "facility.capex.fitout"),
    ]
    hard = [
        (label, (critical * shelf[price]).named(f"lab.{name}", label, "USD"))
        for label, name, price in named
    ]
    shares = shelf["facility.capex.soft_share"] + shelf["facility.capex.contingency_share"]
    soft = (total([part for _, part in hard]) * shares).named(
        "lab.design_cost", "design, permits, contingency", "USD"
    )
    land = (critical * shelf["facility.land.area"] * shelf["facility.land.price"]).named(
        "lab.land_cost", "land", "USD"
    )
    return [*hard, (soft.about, soft), (land.about, land)]
