"""How likely an answer is audited: by what is known of its node, by what it was paid unseen, by what vouches for it. Pure."""

from archipel.lab.cases import Committed
from archipel.lab.providers import standing_of
from archipel.lab.reputation import Standing
from archipel.lab.stakes import staked_micro
from archipel.lab.state import LabState, Run
from archipel.records.audits import MICRO
from archipel.records.changed import changed

EXPOSURE = 16
"""Where nobody vouches: paid so many times the price of an answer without having been looked at, a node is audited
twice as often."""


def rate_micro(state: LabState, run: Run, is_audit: bool, answer: Committed) -> int:
    """Chance, in millionths, that this answer is audited: by what its node is known for (`chance`)."""
    known = standing_of(state, answer.party)
    return rate_of(state, run, known, answer.party, answer.price_micro, is_audit=is_audit)


def rate_of(
    state: LabState, run: Run, known: Standing, did: str, price_micro: int, *, is_audit: bool
) -> int:
    """The same for an answer at this price of a node that is known so."""
    terms = run.opened.pace.audit
    if terms is None:
        return MICRO
    staked = None if terms.stake is None else staked_micro(state, did)
    return chance(terms.floor_micro, known, price_micro, staked, is_audit=is_audit)


def chance(
    floor_micro: int,
    known: Standing,
    price_micro: int,
    staked: int | None = None,
    *,
    is_audit: bool,
) -> int:
    """1 / (1 + found right), no less than the floor; in millionths.

    With a stake (`staked` micro-credits): no less than price / (price + what of the stake is not spoken for), either.
    Pay since the last look speaks for as much of it. So whoever forges one more answer gains at most its price with
    the chance of not being drawn, and loses at least what is free of the stake with the other: never more than even.
    Without (None): times 1 + unseen pay / (EXPOSURE x price).

    An audit counts by what others made of its node's audits, whatever it is paid.
    """
    right = known.confirmed if is_audit else known.verified
    rate = max(MICRO // (1 + right), floor_micro)
    if is_audit or not price_micro:
        return min(rate, MICRO)
    if staked is None:
        return min(rate + rate * known.exposed_micro // (EXPOSURE * price_micro), MICRO)
    free = max(staked - known.exposed_micro, 0)
    even = -(-MICRO * price_micro // (price_micro + free))
    return min(max(rate, even), MICRO)


def exposed(known: Standing, price_micro: int) -> Standing:
    """Of a node after one more answer that may be audited."""
    return changed(known, exposed_micro=known.exposed_micro + price_micro)
