"""What a provider asks when nobody tells it: what a million units cost it, for the truth is the best ask. Pure.

Energy as the machine draws it at work, and the wear of an hour at work; no margin, since a lot that is bought is
paid by the lot it pushed out, not by its own ask (`clearing`).
"""

from dataclasses import dataclass

from archipel.market.health import ENERGY_BY_AGE, Machine
from archipel.records.bids import MAX_BID_LOTS
from archipel.records.fields import MAX_PRICE_MICRO

HOUSEHOLD_USD_PER_KWH = 0.313
"""Where nobody says what energy costs: households of the European Union in the first half of 2025, with taxes
(`energy.household.eu27` in the planner's tables, from Eurostat)."""
WEAR_MICRO_PER_KWH = 100_000
"""What a machine loses by working, per kWh drawn: a card of 3,400 USD in a machine of 740 W (`purchase.rtx5090`,
`server_power`) that is written off in five years of work alone loses 0.10 USD. An assumption, at the low end: what
is owned grows old without work, too."""
BASE_WATTS, WATTS_PER_THREAD = 20, 10
"""A machine at work whose draw nobody measured: an assumption, between 4 W for a server's core (360 W for 96) and
15 W for a desktop's, and what the rest of it takes."""
_MILLION_UNITS_MILLI = 10**9


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a million units of work, in micro-credits, rounded up."""

    energy: int
    wear: int

    @property
    def ask(self) -> int:
        """The truth, within what a bid may say."""
        return min(max(self.energy + self.wear, 1), MAX_PRICE_MICRO)


@dataclass(frozen=True, slots=True)
class Hour:
    """Of work at a price, in micro-credits."""

    brings: int
    energy: int
    """What its energy costs."""


def cost_of(machine: Machine, wear_micro_per_kwh: int = WEAR_MICRO_PER_KWH) -> Cost:
    """What a million units cost on this machine at its rate."""
    energy, wear = (
        _rounded_up(_drawn(machine) * each, machine.rate_milli * 3600)
        for each in (machine.micro_per_kwh, wear_micro_per_kwh)
    )
    return Cost(energy, wear)


def hour_of(machine: Machine, price_micro: int) -> Hour:
    """What an hour of uninterrupted work brings at a price per million units, and what its energy costs."""
    brings = price_micro * machine.rate_milli * 3600 // _MILLION_UNITS_MILLI
    return Hour(brings, _rounded_up(_drawn(machine) * machine.micro_per_kwh, 10**9))


def lots_of(rate_milli: int, lot_milli: int) -> int:
    """Whole lots that a rate can deliver, at least one. lot_milli: units per second that a lot stands for, times 1000."""
    return min(max(rate_milli // max(lot_milli, 1), 1), MAX_BID_LOTS)


def assumed_watts(threads: int) -> int:
    """What a machine draws that has so many threads at work, where nobody measured it."""
    return BASE_WATTS + WATTS_PER_THREAD * threads


def _drawn(machine: Machine) -> int:
    """At the meter, in microwatts: watts x per-mille x per-mille."""
    age = ENERGY_BY_AGE[min(machine.age_years, len(ENERGY_BY_AGE) - 1)]
    return machine.watts * machine.pue_permille * age


def _rounded_up(part: int, whole: int) -> int:
    return -(-part // whole)
