"""Who could work: providers drawn by a seed from the tables' distributions, each with its machine, line, price and habits."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from archipel.market.health import Machine, cost_floor
from archipel.records.fields import MAX_PRICE_MICRO
from archipel.simulation.inputs import Inputs
from archipel.simulation.machines import Kind
from archipel.simulation.scenario import CannotSimulate, Crowd

MICRO = 1_000_000
DAY_S = 86_400.0
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Provider:
    """One machine and whoever owns it. A credit is a dollar."""

    did: str
    operator: str
    kind: Kind
    region: str
    tokens_per_s: float
    ask_micro: int
    """Micro-credits per million tokens: what an hour is worth to its owner, over what the hour brings."""
    floor_micro: int
    """The same of electricity alone."""
    down_mbit_s: float
    up_mbit_s: float
    on_s: float
    """Mean time that it is there without a break."""
    off_s: float
    """Mean time between."""
    forges: float
    """Share of its answers that it makes up."""


@dataclass(frozen=True)
class Habits:
    """What the tables say of lines, presence and prices, taken once."""

    ask_spread: float
    line_spread: float
    speed_spread: float
    home_up: float
    home_down: float
    datacentre: float
    home: tuple[float, float]
    """(availability, departures a day)."""
    rented: tuple[float, float]
    operator: float
    regions: Mapping[str, float]
    energy: Mapping[str, float]
    """Region -> USD per kWh."""


def habits_of(inputs: Inputs) -> Habits:
    """From the tables."""
    home_up = inputs.value("decentral.upload.home", "Mbit/s")
    regions = inputs.shares("simulate.region")
    leaving = inputs.value("decentral.interruption.spot_h100", "1/month") / 30.44
    return Habits(
        ask_spread=inputs.value("decentralise.ask_spread"),
        line_spread=inputs.value("simulate.line_spread"),
        speed_spread=inputs.value("simulate.speed_spread"),
        home_up=home_up,
        home_down=home_up * inputs.value("simulate.download_over_upload"),
        datacentre=inputs.value("decentral.upload.datacentre", "Mbit/s"),
        home=(
            inputs.value("decentral.availability.volunteer"),
            inputs.value("decentral.interruption.home", "1/day"),
        ),
        rented=(inputs.value("decentral.availability.rented"), leaving),
        operator=inputs.value("simulate.site.operator"),
        regions=regions,
        energy={each: inputs.value(f"energy.price.{each}", "USD/kWh") for each in regions},
    )


def drawn(
    crowd: Crowd, kinds: Mapping[str, Kind], shares: Mapping[str, float], habits: Habits, seed: int
) -> list[Provider]:
    """As many providers as the crowd has, those whose machine cannot hold the policy included.

    Raises:
        CannotSimulate: no kind of machine can take part.
    """
    if not any(kind.takes_part for kind in kinds.values()):
        lacks = "; ".join(f"{kind.name}: {kind.why_not}" for kind in kinds.values())
        raise CannotSimulate(
            f"no kind of machine holds the policy ({lacks}); expected one at least"
        )
    chance = random.Random(f"providers {seed}")  # noqa: S311  a simulation
    found = list[Provider]()
    operator = did_of("operator", 0)
    for number in range(crowd.providers):
        if chance.random() * habits.operator < 1:
            operator = did_of("operator", number)
        (name,) = chance.choices(list(shares), list(shares.values()))
        found.append(_drawn(number, operator, kinds[name], crowd, habits, chance))
    return found


def _drawn(
    number: int, operator: str, kind: Kind, crowd: Crowd, habits: Habits, chance: random.Random
) -> Provider:
    (region,) = chance.choices(list(habits.regions), list(habits.regions.values()))
    rate = kind.tokens_per_s * _around(chance, habits.speed_spread)
    hourly = kind.hourly_usd * _around(chance, habits.ask_spread)
    watts_usd = kind.watts / 1000 * habits.energy[region]
    hourly = max(hourly, watts_usd if kind.is_home else 0.0)
    line = _around(chance, habits.line_spread)
    available, leaving = habits.home if kind.is_home else habits.rented
    up = (habits.home_up if kind.is_home else habits.datacentre) * line
    down = (habits.home_down if kind.is_home else habits.datacentre) * line
    return Provider(
        did=did_of("provider", number),
        operator=operator,
        kind=kind,
        region=region,
        tokens_per_s=rate,
        ask_micro=_per_million(hourly, rate),
        floor_micro=floor_of(kind, rate, habits.energy[region]),
        down_mbit_s=down,
        up_mbit_s=up,
        on_s=available / leaving * DAY_S,
        off_s=(1 - available) / leaving * DAY_S,
        forges=crowd.forges if chance.random() < crowd.cheats else 0.0,
    )


def floor_of(kind: Kind, rate: float, usd_per_kwh: float) -> int:
    """Micro-credits of electricity per million tokens, by the market's own rule; 0: it samples nothing."""
    if rate <= 0:
        return 0
    machine = Machine(
        watts=round(kind.watts),
        pue_permille=1000,
        micro_per_kwh=round(usd_per_kwh * MICRO),
        rate_milli=max(round(rate * 1000), 1),
    )
    return cost_floor(machine)


def _per_million(hourly_usd: float, rate: float) -> int:
    if rate <= 0:
        return MAX_PRICE_MICRO
    return min(max(round(hourly_usd / (rate * 3600) * MICRO * MICRO), 1), MAX_PRICE_MICRO)


def _around(chance: random.Random, spread: float) -> float:
    """A factor with median 1."""
    return math.exp(chance.gauss(0.0, spread))


def did_of(what: str, number: int) -> str:
    """A name of the form of a key's; there is no key."""
    digits, left = "", int.from_bytes(f"{what}{number}".encode(), "big")
    while left:
        left, digit = divmod(left, 58)
        digits = _BASE58[digit] + digits
    return f"did:key:z6Mk{digits[-44:].rjust(44, '1')}"
