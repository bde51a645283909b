"""How likely an answer is audited: by what is known of its node, and by what it was paid unseen. Pure."""

from archipel.lab.cases import Committed
from archipel.lab.providers import standing_of
from archipel.lab.reputation import Standing
from archipel.lab.state import LabState, Run
from archipel.records.audits import MICRO
from archipel.records.changed import changed

EXPOSURE = 16
"""Paid so many times the price of an answer without having been looked at, a node is audited twice as often."""


def rate_micro(state: LabState, run: Run, is_audit: bool, answer: Committed) -> int:
    """Chance, in millionths, that this answer is audited: by what its node is known for (`chance`)."""
    known = standing_of(state, answer.party)
    return rate_of(run, known, answer.price_micro, is_audit=is_audit)


def rate_of(run: Run, known: Standing, price_micro: int, *, is_audit: bool) -> int:
    """The same for an answer at this price of a node that is known so."""
    terms = run.opened.pace.audit
    floor = MICRO if terms is None else terms.floor_micro
    return chance(floor, known, price_micro, is_audit=is_audit)


def chance(floor_micro: int, known: Standing, price_micro: int, *, is_audit: bool) -> int:
    """1 / (1 + found right), no less than the floor, times 1 + unseen pay / (EXPOSURE x price); in millionths.

    An audit counts by what others made of its node's audits, whatever it is paid.
    """
    right = known.confirmed if is_audit else known.verified
    rate = max(MICRO // (1 + right), floor_micro)
    unit = 0 if is_audit else EXPOSURE * price_micro
    if unit:
        rate += rate * known.exposed_micro // unit
    return min(rate, MICRO)


def exposed(known: Standing, price_micro: int) -> Standing:
    """Of a node after one more answer that may be audited."""
    return changed(known, exposed_micro=known.exposed_micro + price_micro)
