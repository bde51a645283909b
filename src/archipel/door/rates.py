"""How fast a tenant may ask: token buckets. Pure.

A bucket fills at its rate up to what it holds, and whoever asks takes out of it. It may be asked for more than is in it
as long as there is anything, and then owes: so a call that is larger than the bucket passes too, and whoever made it
waits the longer afterwards.
"""

from dataclasses import dataclass

MINUTE_MS = 60_000
REQUEST_BURST_S = 10
"""Calls of so many seconds may come at once: clients send all samples of a batch together."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a bucket fills: `amount` every `per_ms`, and `holds` at most."""

    amount: int
    per_ms: int
    holds: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is in it, in parts of `Rate.per_ms` of one; below zero: what is owed."""

    parts: int
    at_ms: int


def requests(milli: int) -> Rate:
    """Of thousandths of a call per second."""
    return Rate(milli, 1_000_000, max(milli * REQUEST_BURST_S // 1000, 1))


def tokens(per_minute: int) -> Rate:
    """Of tokens per minute: those of one minute may come at once."""
    return Rate(per_minute, MINUTE_MS, per_minute)


def filled(bucket: Bucket | None, rate: Rate, now_ms: int) -> Bucket:
    """As it stands now; None: one that nobody took from. A clock that goes back fills nothing."""
    most = rate.holds * rate.per_ms
    if bucket is None:
        return Bucket(most, now_ms)
    gone_ms = max(now_ms - bucket.at_ms, 0)
    return Bucket(min(bucket.parts + gone_ms * rate.amount, most), max(now_ms, bucket.at_ms))


def taken(bucket: Bucket, rate: Rate, amount: int) -> Bucket:
    """Without `amount` of what it counts."""
    return Bucket(bucket.parts - amount * rate.per_ms, bucket.at_ms)


def wait_ms(bucket: Bucket, rate: Rate, waiting: int = 0, least: int = 0) -> int:
    """How long until it has `least`, or anything at all, beyond what those who wait will take; 0: now.

    waiting: what calls that are not done yet will take.
    """
    left = bucket.parts - waiting * rate.per_ms
    missing = least * rate.per_ms - left if least else 1 - left
    return max(-(-missing // rate.amount), 0)
