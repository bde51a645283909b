"""How long a cheat goes on by the lab's own rules, and what it earns by it: no model, no lab, only draws.

Parts: `lives` (nodes simulated draw by draw with `lab.risk.chance` and `records.audits.is_drawn`), `gain` (what
cheating in a share of the work brings, until it is caught) and `best_gain` (what the best of all ways to choose when
to cheat brings). Law: whoever looks is honest and finds what there is to find, twice the same, so the first audit that
differs becomes a hard verdict; and it comes before the node's next answer. What it does not show: audits that are
under way while the node answers more.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from archipel.lab.reputation import Standing
from archipel.lab.risk import chance
from archipel.records.audits import MICRO, is_drawn

KNOWN = 1000
"""Answers found right of a node that is known."""
MAX_UNITS = 1_000_000
"""No simulated node works longer."""
SECOND_LOOKS = 1.15
"""Audits of an answer that is drawn, with those of auditors' own (decision 0042)."""


@dataclass(frozen=True)
class Rules:
    """By what rates are drawn. A unit is an answer; all have the same price."""

    floor_micro: int
    price_micro: int = 1000
    stake: int | None = None
    """Prices that a node's pay is kept up to; None: nobody vouches."""

    def staked(self, paid_units: int, at_first: int = 0) -> int | None:
        """The stake, in micro-credits, of a node that began with one of `at_first` prices and was paid so often."""
        if self.stake is None:
            return None
        return max(min(at_first + paid_units, self.stake), at_first) * self.price_micro


@dataclass(frozen=True)
class Life:
    """One node until its first hard verdict."""

    units: int
    """The unit that was found wrong is the last of them."""
    forged: int
    audited: int
    staked: float = 0.0
    """What it vouched with at the end, in prices; the pay for the last unit may be part of that."""


def live(share: float, detected: float, rules: Rules, verified: int, seed: int) -> Life:
    """Answers one after another, forged with chance `share`; an audit of a forged one sees it with chance `detected`.

    verified: answers found right before; a node that has some has its whole stake, too.
    """
    draw = random.Random(seed)  # noqa: S311  a simulation
    known = Standing(verified=verified)
    at_first = rules.stake or 0 if verified else 0
    forged = audited = 0
    for unit in range(1, MAX_UNITS + 1):
        is_forged = draw.random() < share
        forged += is_forged
        known = replace(known, exposed_micro=known.exposed_micro + rules.price_micro)
        staked = rules.staked(unit, at_first)
        rate = chance(rules.floor_micro, known, rules.price_micro, staked, is_audit=False)
        if not is_drawn(_digest("root", seed, unit), _digest("record", seed, unit), rate):
            continue
        audited += 1
        if is_forged and draw.random() < detected:
            return Life(unit, forged, audited, (staked or 0) / rules.price_micro)
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
    rejoining: float = 0.0
    """Cost of a new key that may work: nothing unless the lab asks for something."""
    withdrawn: float = 0.0
    """Units whose pay goes with the caught one's, as nobody has learned from them yet."""


def gain(life: Life, terms: Terms) -> float:
    """What one life of cheating brings beyond honest work: costs saved, less what the verdict takes.

    That is the pay for the unit, out of the stake if the balance was spent, and the stake: of a node that spends what
    it has as soon as it can, the larger of both.
    """
    lost = max(1.0, life.staked) + terms.withdrawn + terms.rejoining
    return life.forged * terms.saved * terms.cost - lost


def best_gain(rules: Rules, sweeps: int = 60) -> float:
    """The most that a node can expect to gain beyond honest work, whatever it chooses unit after unit, in prices.

    It knows what it vouches with, how much of its pay is unseen, and each audit as soon as it came; it spends its
    balance at once, forging costs nothing, honest work as much as it is paid, a new key nothing. By value iteration
    from 0 (to stop is always possible) over these three: 0 means that no way of cheating pays.
    """
    most = rules.stake or 0
    known = MICRO // rules.floor_micro

    @cache
    def rate(verified: int, staked: int, unseen: int) -> float:
        standing = Standing(verified=verified, exposed_micro=unseen * rules.price_micro)
        vouched = None if rules.stake is None else staked * rules.price_micro
        micro = chance(rules.floor_micro, standing, rules.price_micro, vouched, is_audit=False)
        return micro / MICRO

    horizon = max(most, known) + 1
    states = [
        (verified, staked, unseen)
        for verified in range(known + 1)
        for staked in range(most + 1)
        for unseen in range(horizon)
    ]
    value = dict.fromkeys(states, 0.0)
    for _ in range(sweeps):
        before, moved = value, 0.0
        value = {}
        for verified, staked, unseen in states:
            after, exposed = min(staked + 1, most), unseen + 1
            drawn = rate(verified, after, exposed)
            passed = before[verified, after, min(exposed, horizon - 1)]
            right = before[min(verified + 1, known), after, 0]
            honest = drawn * right + (1 - drawn) * passed
            forged = 1 - drawn * max(1, after) + (1 - drawn) * passed
            value[verified, staked, unseen] = max(0.0, honest, forged)
            moved = max(moved, value[verified, staked, unseen] - before[verified, staked, unseen])
        if moved < 1e-12:
            break
    return value[0, 0, 0]


def found_where(lengths: Sequence[float], places: Sequence[float]) -> list[float]:
    """How likely an audit that reads a beginning of each rollout finds a token that was edited there.

    Whoever recomputes a token reads all before it, so what an audit looks at is a beginning, all or nothing among them;
    `lengths` are equally likely ones, as shares of a rollout, `places` those of the edited token. What the cheat leaves
    after the token was sampled without it, so a beginning that ends before it shows nothing. By Markov's inequality the
    last token is found with no more than the mean length, which is the audit's cost: no draw of beginnings finds it more
    often than whole rollouts do that are drawn with that chance.
    """
    return [sum(length >= place for length in lengths) / len(lengths) for place in places]


def units_at_cost(whole: float, share: float, looks: float = SECOND_LOOKS) -> float:
    """Units until the last token of one rollout of each is found out, on average, at the least.

    whole: an audit of all of an answer, of the time that sampling it takes; share: what all audits together may take of
    that time; looks: how often what is drawn is looked at.
    """
    return whole * looks / share


def _digest(what: str, seed: int, unit: int) -> str:
    return hashlib.sha256(f"{what} {seed} {unit}".encode()).hexdigest()
