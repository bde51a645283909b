"""What is granted out of the pool, and what of it was charged: integers alone. Pure.

Law: nothing is given that the pool does not hold, nothing charged that was not given; what ends before it is charged
goes back whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

MONTHS = 12


@dataclass(frozen=True, slots=True)
class Grant:
    """Credits of one grantee that a door can charge."""

    entry: int
    """Position in the ledger of the statement that gave it."""
    micro: int
    left_micro: int
    until_ms: int
    """From then on it is over."""


@dataclass(frozen=True, slots=True)
class Given:
    """What was given in a month so far."""

    all_micro: int = 0
    by_verifier_micro: int = 0
    """For attestations of the verifier that is asked about."""


@dataclass(frozen=True, slots=True)
class Caps:
    """No more than these: a grant, a month, a verifier's month."""

    grant_micro: int
    month_micro: int
    verifier_micro: int


def month_of(at_ms: int) -> int:
    """The calendar's month in UTC of a Unix time in milliseconds, counted from year 0."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return at.year * MONTHS + at.month - 1


def givable(wanted: int, pool: int, given: Given, caps: Caps) -> int:
    """How much of `wanted` can be given now, 0 or more."""
    left = (
        wanted,
        pool,
        caps.grant_micro,
        caps.month_micro - given.all_micro,
        caps.verifier_micro - given.by_verifier_micro,
    )
    return max(min(left), 0)


def left_of(grants: Iterable[Grant]) -> int:
    """Of all of them, micro-credits."""
    return sum(each.left_micro for each in grants)


def charged(grants: tuple[Grant, ...], micro: int) -> tuple[Grant, ...]:
    """Without `micro`, taken of what ends soonest; what is used up goes.

    Raises:
        ValueError: they hold less.
    """
    left, after = micro, []
    for each in sorted(grants, key=lambda grant: (grant.until_ms, grant.entry)):
        taken = min(left, each.left_micro)
        left -= taken
        if taken < each.left_micro:
            after.append(replace(each, left_micro=each.left_micro - taken))
    if left:
        raise ValueError(f"a charge of {micro} micro-credits, and {micro - left} were granted")
    return tuple(after)


def running(grants: tuple[Grant, ...], now_ms: int) -> tuple[tuple[Grant, ...], int]:
    """(those that are not over, what those that are had left)"""
    over = [each for each in grants if each.until_ms <= now_ms]
    return tuple(each for each in grants if each.until_ms > now_ms), left_of(over)
