"""Published figures of accelerators, clusters, prices and write-offs, recomputed from the planner's tables."""

import re
from collections.abc import Callable

import pytest

from archipel.planning.units import factor, unit
from planning.asked import constant, data, figures, value

FIGURES = figures("hardware")

FIELDS = {
    "dense bf16": "bf16", "bf16": "bf16", "dense fp8": "fp8", "fp8": "fp8", "memory": "memory",
    "bandwidth": "bandwidth", "link": "link", "server_power": "server_power",
}  # fmt: skip


def _cluster(name: str) -> float:
    """`72 gb200 x dense fp8 x 2 (sparsity)` from the table of accelerators."""
    figure = FIGURES[name]
    found = re.match(
        r"([\d,]+) ([a-z0-9-]+) x ([a-z0-9_ ]+?)(?: x 2 \(sparsity\))?$", figure["inputs"]
    )
    assert found is not None, figure["inputs"]
    count = float(found[1].replace(",", "")) * (2.0 if "sparsity" in figure["inputs"] else 1.0)
    return count * constant(
        f"accelerator.{found[2]}.{FIELDS[found[3]]}", f"{figure['unit']}/accelerator"
    )


def _share_of_peak(reached_tflops: float) -> Callable[[str], float]:
    return lambda _: reached_tflops / constant("accelerator.h100.bf16")


def _acquisition(name: str) -> float:
    """Servers and network as `plan lab` counts them the way Epoch does."""
    found = re.match(r"([\d,]+) ([a-z0-9-]+) at ([\d.,]+) USD", FIGURES[name]["inputs"])
    assert found is not None
    kind = found[2]
    lab = data(
        "lab", f"purchase.{kind}={found[3]} USD/accelerator", "facility.interconnect_share=0.19",
        accelerators=found[1], kind=kind,
    )  # fmt: skip
    return value(lab, "published.epoch_acquisition", "USD")


def _amortised(_: str) -> float:
    """Epoch's write-off: price x ln(10) x orders a year, for the hours of the run, at its age by then."""
    orders = constant("hardware.price_performance.orders")
    server = 44_489.88 / (1 - constant("facility.interconnect_share"))
    aged = server * 10 ** (-orders * 0.75)
    written_off = aged * orders * 2.302585 / 8766 * 30.84e6
    kwh = 30.84e6 * constant("accelerator.h100.server_power", "kW/accelerator") * 0.75 * 1.1
    return float(written_off + kwh * 0.0771)


COMPUTED: dict[str, Callable[[str], float]] = {
    "llama3-mfu-8192": _share_of_peak(430),
    "llama3-mfu-16384": _share_of_peak(400),
    "llama3-mfu-16384-long": _share_of_peak(380),
    "rental-aws-p5": lambda _: 98.32 / 8,
    "rental-aws-p4d": lambda _: 32.77 / 8,
    "rental-aws-p4de": lambda _: 40.96 / 8,
    "rental-google-a3": lambda _: 88.49 / 8,
    "rental-aws-p5-three-years": lambda _: 43.16 / 8,
    "rental-discount-aws-three-years": lambda _: 10 * (1 - constant("commitment.aws.three_years")),
    "mpt-30b-cost-a100": lambda _: 512 * 28.3 * 24 * 2.50,
    "mpt-30b-cost-h100": lambda _: 512 * 11.6 * 24 * 5.00,
    "rental-deepseek-v3": lambda _: 2.788e6 * 2,
    "depreciation-one-year": lambda _: (
        10_000 * 10 ** -constant("hardware.price_performance.orders")
    ),
    "amortised-llama31": _amortised,
}


def _computed(name: str) -> float:
    if name in COMPUTED:
        return COMPUTED[name](name)
    return _acquisition(name) if name.startswith("acquisition-") else _cluster(name)


@pytest.mark.parametrize("name", FIGURES)
def test_the_tables_give_what_was_published(name: str) -> None:
    figure = FIGURES[name]
    assert _computed(name) == pytest.approx(figure["published"], rel=figure["tolerance"]), figure[
        "source"
    ]


def test_units_of_the_published_figures_are_units_the_planner_knows() -> None:
    for figure in FIGURES.values():
        assert factor(unit(figure["unit"]), unit(figure["unit"])) == 1.0
