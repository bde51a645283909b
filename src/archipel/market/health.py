"""Whether a market is healthy: quality as it was measured, asks below cost, power in few hands. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from archipel.market.clearing import FULL_QUALITY

ENERGY_BY_AGE = (
    1000, 1380, 1905, 2630, 3631, 5012, 6918, 9550, 13183, 18197, 25119,
)  # fmt: skip
"""Per-mille of the newest generation's energy for the same work, by age in years: 10^0.14 more each year."""
MONOPOLY = 10_000
"""The Herfindahl-Hirschman index of a market with one seller."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the ledger says of an operator's answers in one kind of work."""

    answered: int
    """Answers that were looked at."""
    verified: int
    """Of these, found right."""
    leased: int
    """Leases that ended."""
    in_time: int
    """Of these, answered before their deadline."""
    fresh_permille: int = FULL_QUALITY
    """Of its work, what was young enough to be used at once."""
    link_permille: int = FULL_QUALITY
    """Of a publication period, what its link leaves for work."""


def quality(measured: Measured) -> int | None:
    """Per-mille of what it promises that arrives, verified, in time and fresh; None for a newcomer.

    The product of four shares, at least 1: an operator that never delivers ranks last, it is not divided by zero.
    """
    if measured.answered == 0 or measured.leased == 0:
        return None
    verified, in_time = (
        min(measured.verified, measured.answered),
        min(measured.in_time, measured.leased),
    )
    product = verified * in_time * measured.fresh_permille * measured.link_permille
    whole = measured.answered * measured.leased * FULL_QUALITY
    return max(1, min(FULL_QUALITY, product // whole))


@dataclass(frozen=True, slots=True)
class Machine:
    """What a million units of work cost a provider in energy alone."""

    watts: int
    """At the wall, at work; of the newest generation where `age_years` is given."""
    pue_permille: int
    """Power usage effectiveness: the building's energy over the machine's."""
    micro_per_kwh: int
    rate_milli: int
    """Verified units per second, times 1000."""
    age_years: int = 0
    """Where nobody measured this machine's own power: years behind the newest generation."""

    def __post_init__(self) -> None:
        if min(self.watts, self.micro_per_kwh, self.age_years) < 0 or self.pue_permille < 1000:
            raise ValueError(
                f"got {self}; expected no amount below 0 and a PUE of 1000 per-mille or more"
            )
        if self.rate_milli <= 0:
            raise ValueError(f"got a rate of {self.rate_milli}; expected a measured one above 0")


def cost_floor(machine: Machine) -> int:
    """Micro-credits of energy per million units, rounded down."""
    age_permille = ENERGY_BY_AGE[min(machine.age_years, len(ENERGY_BY_AGE) - 1)]
    watts_millionths = machine.watts * machine.pue_permille * age_permille
    return watts_millionths * machine.micro_per_kwh // (machine.rate_milli * 3600)


def is_dumping(ask_micro: int, machine: Machine) -> bool:
    """Whether a million units are asked below their energy: marked, not forbidden."""
    return ask_micro < cost_floor(machine)


def herfindahl(amounts: Mapping[str, int]) -> int:
    """The Herfindahl-Hirschman index: the sum of squared shares, 10,000 for one seller, 0 for no sale, rounded down."""
    total = sum(amounts.values())
    return (
        sum(each * each for each in amounts.values()) * MONOPOLY // (total * total) if total else 0
    )


def shares_permille(amounts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Per-mille by name, largest first; rounded so that they add up to 1000 (largest remainders)."""
    sums: dict[str, int] = {}
    for name, amount in amounts:
        sums[name] = sums.get(name, 0) + amount
    total = sum(sums.values())
    if total == 0:
        return {}
    shares = {name: amount * 1000 // total for name, amount in sums.items()}
    by_remainder = sorted(sums, key=lambda name: (-(sums[name] * 1000 % total), name))
    for name in by_remainder[: 1000 - sum(shares.values())]:
        shares[name] += 1
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
