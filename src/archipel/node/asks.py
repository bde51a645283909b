"""What this node asks for its work, and what an hour of work brings and costs: from its speed, its draw and its energy's price.

Pure: speeds and watts are measured elsewhere (`introduction`, `power`, `totals`). Law: where nobody says
what to ask, the ask is the cost (`market.asks`), since no other earns more.
"""

from dataclasses import dataclass, replace

from archipel.market.asks import (
    HOUSEHOLD_USD_PER_KWH,
    WEAR_MICRO_PER_KWH,
    Hour,
    assumed_watts,
    cost_of,
    hour_of,
    lots_of,
)
from archipel.market.health import Machine, cost_floor

MICRO = 10**6
MIN_MEASURED_S = 5.0
"""Of work on a run, after which its own rate counts more than the benchmark at joining."""
BENCHMARK_BYTES = 800_000
"""Weights, in bf16, of the model that the benchmark samples from (`work.benchmark`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a node asks to be paid where work is traded. Amounts in micro-credits."""

    bids: bool = True
    """False: it takes what comes without a bid."""
    micro: int | None = None
    """Per million verified units; None: what they cost."""
    lots: int | None = None
    """None: what its rate can deliver."""
    region: str = "unknown"
    """Where the machine stands, as its operator says."""
    watts: int | None = None
    """At the meter, at work; None: as measured at joining, else assumed."""
    micro_per_kwh: int = round(HOUSEHOLD_USD_PER_KWH * MICRO)
    """Where a credit is a dollar."""
    wear_micro_per_kwh: int = WEAR_MICRO_PER_KWH
    says_energy: bool = False
    """Whether somebody said what energy costs here."""


@dataclass(slots=True)
class Pace:
    """A node's own work on one run, as far as it was accepted; but for the first, in which libraries load and compile."""

    works: int = 0
    tokens: int = 0
    busy_s: float = 0.0

    def add(self, tokens: int, busy_s: float) -> None:
        """One more answer."""
        self.works += 1
        if self.works > 1:
            self.tokens += tokens
            self.busy_s += busy_s

    @property
    def rate_milli(self) -> int:
        """Tokens per second of work, times 1000; 0: too little to tell."""
        return int(self.tokens * 1000 / self.busy_s) if self.busy_s >= MIN_MEASURED_S else 0


@dataclass(frozen=True, slots=True)
class Means:
    """What this machine is, for one run's work."""

    machine: Machine
    is_own_rate: bool
    """Measured in this very run; else by the benchmark, and what that says of a model of this size."""
    watts_from: str
    """Said, measured, or assumed."""


def means_of(
    asking: Asking, measured_watts: int | None, threads: int, rates_milli: tuple[int, int]
) -> Means | None:
    """The machine for one run; None: nobody knows how fast it is.

    measured_watts: at joining. threads: at work. rates_milli: as measured in the run (0: not yet), and by the benchmark
    (0: not measured).
    """
    own, benchmark = rates_milli
    rate_milli = own or benchmark
    if rate_milli <= 0:
        return None
    known = asking.watts or measured_watts
    source = "said" if asking.watts else "measured" if measured_watts else "assumed"
    machine = Machine(known or assumed_watts(threads), 1000, asking.micro_per_kwh, rate_milli)
    return Means(machine, own > 0, source)


def energy_of(asking: Asking, measured_watts: int | None, threads: int) -> int:
    """What the energy of an hour of work costs, in micro-credits."""
    watts = asking.watts or measured_watts or assumed_watts(threads)
    return watts * asking.micro_per_kwh // 1000


def scaled(rate_milli: int, weights_bytes: int) -> int:
    """What the benchmark's rate says of a model with so many bytes of weights: no more than in inverse proportion."""
    return (
        max(rate_milli * BENCHMARK_BYTES // max(weights_bytes, BENCHMARK_BYTES), 1)
        if rate_milli
        else 0
    )


def ask_of(asking: Asking, machine: Machine) -> int:
    """Micro-credits per million units."""
    return asking.micro or cost_of(machine, asking.wear_micro_per_kwh).ask


def offer_of(asking: Asking, machine: Machine, lot_milli: int, duty: float) -> int:
    """Lots to offer. lot_milli: units per second of one, times 1000. duty: share of the time that it works."""
    return asking.lots or lots_of(int(machine.rate_milli * duty), lot_milli)


def hour_at(machine: Machine, price_micro: int, duty: float) -> Hour:
    """What an hour of the clock brings, and what its energy costs, where it works `duty` of the time."""
    hour = hour_of(machine, price_micro)
    return replace(hour, brings=int(hour.brings * duty), energy=int(hour.energy * duty))


def hour_words(hour: Hour, which: str = "an hour") -> str:
    """For the line of a node that bids."""
    return (
        f"{which} brings about {in_credits(hour.brings)} credits, "
        f"its energy costs {in_credits(hour.energy)}"
    )


def brought_words(credit_micro: int, busy_s: float, energy_micro: int | None) -> str:
    """For the line of a node that is paid what a run posts; empty while that says little."""
    if energy_micro is None or busy_s < MIN_MEASURED_S:
        return ""
    return hour_words(Hour(int(credit_micro * 3600 / busy_s), energy_micro), "an hour of work")


def ask_words(asking: Asking, means: Means, micro: int) -> str:
    """Why it asks what it asks."""
    asked = f"asks {in_credits(micro)} credits per million tokens"
    if asking.micro is not None:
        energy = cost_floor(means.machine)
        below = f", below its energy of {in_credits(energy)}: published as such"
        return f"{asked}, as told (--ask){below if micro < energy else ''}"
    kwh = in_credits(asking.micro_per_kwh)
    price = "" if asking.says_energy else ", an average of households: say yours by --energy-price"
    rate = "in this run" if means.is_own_rate else "by the benchmark"
    return (
        f"{asked}, what they cost it: {means.machine.watts} W ({means.watts_from}) at {kwh} credits per kWh{price}; "
        f"{means.machine.rate_milli / 1000:.0f} tokens/s {rate}"
    )


def in_credits(micro: int) -> str:
    """Three digits that count, whatever the size."""
    return f"{micro / MICRO:.3g}" if abs(micro) < MICRO else f"{micro / MICRO:.3f}"
