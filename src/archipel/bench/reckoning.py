"""How long a cheat goes on by the lab's own rules, and what it earns by it: no model, no lab, only draws.

Parts: `lives` (nodes simulated draw by draw with `lab.risk.chance` and `records.audits.is_drawn`) and
`gain` (what cheating in a share of the work brings, until it is caught). Law: whoever looks is honest and finds
what there is to find, twice the same, so the first audit that differs becomes a hard verdict; and it comes before the
node's next answer. What it does not show: audits that are under way while the node answers more.
"""

import hashlib
import random
from dataclasses import dataclass, replace

from archipel.lab.reputation import Standing
from archipel.lab.risk import chance
from archipel.records.audits import is_drawn

KNOWN = 1000
"""Answers found right of a node that is known."""
MAX_UNITS = 1_000_000
"""No simulated node works longer."""


@dataclass(frozen=True)
class Rules:
    """By what rates are drawn."""

    floor_micro: int
    price_micro: int = 1000


@dataclass(frozen=True)
class Life:
    """One node until its first hard verdict."""

    units: int
    """The unit that was found wrong is the last of them."""
    forged: int
    audited: int


def live(share: float, detected: float, rules: Rules, verified: int, seed: int) -> Life:
    """Answers one after another, forged with chance `share`; an audit of a forged one sees it with chance `detected`."""
    draw = random.Random(seed)  # noqa: S311  a simulation
    known = Standing(verified=verified)
    forged = audited = 0
    for unit in range(1, MAX_UNITS + 1):
        is_forged = draw.random() < share
        forged += is_forged
        known = replace(known, exposed_micro=known.exposed_micro + rules.price_micro)
        rate = chance(rules.floor_micro, known, rules.price_micro, is_audit=False)
        if not is_drawn(_digest("root", seed, unit), _digest("record", seed, unit), rate):
            continue
        audited += 1
        if is_forged and draw.random() < detected:
            return Life(unit, forged, audited)
        known = replace(known, verified=known.verified + 1, exposed_micro=0)
    return Life(MAX_UNITS, forged, audited)


def lives(
    share: float, detected: float, rules: Rules, verified: int, trials: int, seed: int
) -> list[Life]:
    """Of so many nodes."""
    first = seed * trials
    return [live(share, detected, rules, verified, first + number) for number in range(trials)]


def mean_units(found: list[Life]) -> float:
    """Units of work until the first hard verdict, that one included."""
    return sum(life.units for life in found) / len(found)


@dataclass(frozen=True)
class Terms:
    """What a cheat reckons with; money in prices of one unit."""

    saved: float
    """Share of a unit's honest cost that forging saves."""
    cost: float
    """Of an honest unit."""
    stake: float = 0.0
    """What a hard verdict slashes."""
    rejoining: float = 0.0
    """Cost of a new key that may work: nothing unless the lab asks for something."""
    withdrawn: float = 0.0
    """Units whose pay goes with the caught one's, as nobody has learned from them yet."""


def gain(forged: float, terms: Terms) -> float:
    """What one life of cheating brings beyond honest work: costs saved, less what the verdict takes."""
    lost = 1.0 + terms.withdrawn + terms.stake + terms.rejoining
    return forged * terms.saved * terms.cost - lost


def _digest(what: str, seed: int, unit: int) -> str:
    return hashlib.sha256(f"{what} {seed} {unit}".encode()).hexdigest()
