"""What can be asked about a lab."""

from dataclasses import dataclass

from archipel.planning.requests.option import option


@dataclass(frozen=True)
class LabRequest:
    """A lab of N accelerators: what it costs to build, to run and per useful FLOP."""

    accelerators: str = option("10000", "how many accelerators")
    kind: str = option(
        "h100,a100-80,h200,b200,gb300", "their kind; further ones, after commas, beside it"
    )
    country: str = option("usa", "country of the grid: price and carbon of electricity")
    life: str = option("", "years over which servers are written off; default: published")
    mfu: str = option("", "model FLOP utilisation while training; default: published runs")
    pue: str = option("", "power usage effectiveness of the hall; default: new build")
    electricity: str = option("", "price of electricity; default: industry in the country")
    purchase: str = option("", "price of one accelerator of the first kind; default: the tables'")
    rent: str = option("", "rental price per accelerator-hour; default: the market's")
    researchers: str = option("0", "research staff on the payroll")
