"""Published figures of buildings, power, energy, carbon and failures, recomputed by the planner."""

import re
from collections.abc import Callable

import pytest

from archipel.planning.laws.reliability import daly_interval_h, mtbf_hours
from archipel.planning.quantity import given
from archipel.planning.sampling import Draws
from archipel.planning.units import factor, unit
from planning.asked import constant, data, figures, value

FIGURES = figures("facility")


def _bill(name: str) -> float:
    """The bill of materials of `plan lab`, with the sheet's own price of a node."""
    inputs = FIGURES[name]["inputs"]
    node = re.search(r"at (\d+) kUSD", inputs)
    assert node is not None
    count = name.split("-")[1]
    found = data(
        "lab", f"facility.bom.node_price={node[1]}k USD/server", as_of="2024-09",
        accelerators=count, kind="h100",
    )  # fmt: skip
    return value(found, "published.bom", "USD")


def _reported(name: str) -> float:
    """Accelerator-hours x power x PUE x carbon, as model cards report them."""
    text = FIGURES[name]["inputs"].replace(",", "")
    numbers = re.match(
        r"([\d.]+)( million)? accelerator hours at (\d+) W(?: PUE ([\d.]+))?(?: (\d+) g/kWh)?", text
    )
    assert numbers is not None, text
    hours = float(numbers[1]) * (1e6 if numbers[2] else 1.0)
    used = given("hours", hours, "accelerator*h", "-") * given(
        "power", float(numbers[3]), "W/accelerator", "-"
    )
    energy = used * float(numbers[4] or 1.0)
    if numbers[5]:
        energy = energy * given("carbon", float(numbers[5]), "g/kWh", "-")
    return Draws().centre(energy.to(FIGURES[name]["unit"]))


def _converted(amount: float, units: str) -> Callable[[str], float]:
    return lambda name: amount * factor(unit(units), unit(FIGURES[name]["unit"]))


def _rsc1(accelerators: float) -> Callable[[str], float]:
    per_accelerator_h = 8 * 24 / constant("reliability.rsc1.rate")
    return lambda _: mtbf_hours(per_accelerator_h, accelerators)


def _lab(count: str, quantity: str, *overrides: str) -> Callable[[str], float]:
    def computed(name: str) -> float:
        found = data("lab", *overrides, accelerators=count, kind="h100")
        return value(found, quantity, FIGURES[name]["unit"])

    return computed


def _daly(mtbf_min: float) -> Callable[[str], float]:
    return lambda _: float(daly_interval_h(5.0, mtbf_min))


COMPUTED: dict[str, Callable[[str], float]] = {
    # the nameplate of DGX H100 is 700 W + 575 W each, so the lab's critical load is the same sum
    "100k-h100-it-power": _lab("100000", "power.critical"),
    "100k-h100-energy": _lab(
        "100000", "energy.year", "power.draw_share.gpu=1", "power.pue.colocation=1.21",
        "power.other_it=0.1765",
    ),
    "100k-h100-energy-cost": _lab(
        "100000", "energy.cost", "power.draw_share.gpu=1", "power.pue.colocation=1.21",
        "power.other_it=0.1765", "energy.price.usa=0.078",
    ),
    "dgx-h100-server-factor": lambda _: constant("accelerator.h100.server_power")
    / constant("accelerator.h100.tdp"),
    "dgx-a100-server-factor": lambda _: constant("accelerator.a100-80.server_power")
    / constant("accelerator.a100-80.tdp"),
    "epoch-gpu-power-share": lambda _: 1 / (1.53 * 1.14 * constant("power.pue.peak")),
    "colossus-280-mw": _converted(200e3 * 700 * 1.82 * 1.10, "W"),
    "colossus-150-mw": _converted(100e3 * 700 * 1.82 * constant("power.pue.ai"), "W"),
    "epoch-gigawatt-server-share": lambda _: constant("facility.gigawatt.epoch.servers")
    / constant("facility.gigawatt.epoch.yearly"),
    "epoch-gigawatt-energy": _converted(
        1e6 * constant("power.draw_share.gpu") * constant("power.pue.ai")
        * constant("lab.year") * constant("energy.price.usa"), "USD/year",
    ),
    "land-per-acre": _converted(5.59 * 43_560, "USD"),
    "llama-all-carbon": _converted(2638e3 * 385, "g"),
    "llama2-all-carbon": _converted((73.728 + 147.456 + 363.418 + 688.128) * 1e3 * 1.1 * 385, "g"),
    "llama2-all-hours": lambda _: 184_320 + 368_640 + 1_038_336 + 1_720_320,
    "bloom-carbon": _converted(433_196 * 57, "g"),
    "bloom-idle-carbon": _converted(256_646 * 57, "g"),
    "bloom-total-carbon": lambda _: 24.7 + 14.6 + 11.2,
    "gpt3-energy": _converted(10_000 * 14.8 * 24 * 330 * 1.10, "Wh"),
    "gpt3-carbon": _converted(1287e3 * 429, "g"),
    "gpt3-chip-hours": lambda _: 10_000 * 14.8 * 24,
    "olmo-7b-a100-carbon": _converted(104e3 * 1.1 * 610, "g"),
    "olmo-7b-energy": lambda _: 104 + 135,
    "olmo2-7b-carbon": _converted(131e3 * 1.2 * 332, "g"),
    "olmo2-13b-carbon": _converted(257e3 * 1.2 * 332, "g"),
    "gpt4-server-cost": lambda _: 39.11 * (constant("facility.server_overhead.a100") - 1),
    "gpt4-interconnect-cost": lambda _: (39.11 + 25.81)
    * constant("facility.interconnect_share") / (1 - constant("facility.interconnect_share")),
    "gemini-server-cost": lambda _: 29.05 * (constant("facility.server_overhead.other") - 1),
    "gpt3-server-cost": lambda _: 1_023_345 * (constant("facility.server_overhead.v100") - 1),
    "staff-compensation-median": lambda _: constant("people.salary.usa", "kUSD/(person*year)")
    + constant("people.equity.usa", "kUSD/(person*year)"),
    "llama3-mtbf": _lab("16384", "failures.mtbf.llama3"),
    "llama3-interruptions": lambda _: constant("reliability.llama3.planned")
    + constant("reliability.llama3.unexpected"),
    "rsc1-mttf-16384": _rsc1(16_384),
    "rsc1-mttf-131072": _rsc1(131_072),
    "epoch-mtbf-100k": _converted(mtbf_hours(50_000, 100_000), "h"),
    "epoch-mtbf-1m": _converted(mtbf_hours(50_000, 1_000_000), "h"),
    "epoch-clusters-mtbf-years": _converted(50_000, "h"),
    "daly-24h": _daly(1440),
    "daly-6h": _daly(360),
    "daly-15min": _daly(15),
}  # fmt: skip


def _computed(name: str) -> float:
    if name in COMPUTED:
        return COMPUTED[name](name)
    return _bill(name) if name.startswith("bom-") else _reported(name)


DIRECTLY_WIRED = {"bom-16-h100"}
"""Two servers wired to each other: the planner always counts a switch."""


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in DIRECTLY_WIRED])
def test_the_planner_computes_what_was_published(name: str) -> None:
    figure = FIGURES[name]
    assert _computed(name) == pytest.approx(figure["published"], rel=figure["tolerance"]), figure[
        "source"
    ]
