"""Audits, as everybody reads them: their terms, the statements by which they are drawn and contested, the chance.

Whether an answer is audited follows from a tree head that holds it together with a later signature of the lab's:
who made it cannot know when it answers, and whoever has the ledger can tell afterwards.
"""

import hashlib
from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import Count, Digest, LeftOut, Reason, RunName, Sparing, Wait, WorkId
from archipel.records.measures import NANO, Measures
from archipel.records.statement import Statement

MICRO = 1_000_000
_DOMAIN = b"archipel.audit.v1\x00"
_PART = b"archipel.audit.part.v1\x00"


class AuditTerms(Sparing):
    """How often a run's answers are audited, for what pay, and what a node has to vouch with."""

    floor_micro: Annotated[int, Field(ge=1000, le=MICRO)]
    """Chance that an answer of the best known node is audited, in millionths: never zero."""
    pay_milli: Annotated[int, Field(ge=0, le=1000)]
    """An audit's price in thousandths of what was paid for the answer."""
    deadline_ms: Wait
    """No auditor has less time."""
    window_ms: Wait
    """So long after a verdict whom it falls on may contest it, and so long an audit waits for auditors."""
    stake: Annotated[int | None, Field(ge=0, le=1000), LeftOut] = None
    """A node's pay is kept as its stake until that is the price of so many answers like the one that is paid. None:
    by the rules of version 1, without stakes."""
    deposit_micro: Annotated[Count | None, LeftOut] = None
    """Whoever has a smaller stake is given no work; None: nobody needs one to begin."""
    part_milli: Annotated[int | None, Field(ge=1, le=1000), LeftOut] = None
    """Share of an answer's rollouts that an audit recomputes, in thousandths; None: all."""
    measures: Annotated[Measures | None, LeftOut] = None
    """By what floating-point answers are judged; None: they are recomputed by the exact contract, to the bit."""
    distance_nano: Annotated[int | None, Field(ge=1, le=NANO), LeftOut] = None
    """Of contributions: a payload may lie so far from what an auditor makes, in billionths of that one's length, on
    machines that do not give the same bits; None: only machines of its own class tell, to the bit."""


class AuditsDrawn(Statement):
    """The lab draws audits by the root of its ledger's first `size` entries.

    Drawn are the answers before its previous draw: that draw is a signature of the lab's after them, and under
    this root. So nobody who answers can know the root, and a lab that wants another one has to sign more.
    """

    kind: Literal["audits.drawn"] = "audits.drawn"
    size: Count
    root: Digest
    """Merkle tree hash (RFC 6962) of these entries."""


class VerdictContested(Statement):
    """Whose answer was found wrong says that it is right: the trusted role then has the last word."""

    kind: Literal["verdict.contested"] = "verdict.contested"
    run: RunName
    work: WorkId
    """The audited work."""
    reason: Reason


def is_drawn(root: str, record: str, rate_micro: int) -> bool:
    """Whether the answer whose record has this digest is audited, at a chance of `rate_micro` millionths.

    The first 8 bytes of a SHA-256 over root and record, as a number, against the rate.
    """
    drawn = int.from_bytes(hashlib.sha256(_DOMAIN + _raw(root, record)).digest()[:8], "big")
    return drawn * MICRO < rate_micro << 64


def looked_at(
    root: str, record: str, group: int, num_rollouts: int, part_milli: int
) -> tuple[int, ...]:
    """Which rollouts of a group an audit recomputes, by the root that drew it: its author could not foresee them.

    Of `num_rollouts` so many thousandths, rounded up, and one at least: those with the smallest SHA-256 over root,
    record, group (8 bytes) and number (4 bytes, both big-endian); in order.
    """
    raw = _PART + _raw(root, record) + group.to_bytes(8, "big")

    def place(number: int) -> bytes:
        return hashlib.sha256(raw + number.to_bytes(4, "big")).digest()

    num = max(-(-num_rollouts * part_milli // 1000), 1)
    return tuple(sorted(sorted(range(num_rollouts), key=place)[:num]))


def _raw(root: str, record: str) -> bytes:
    return b"".join(bytes.fromhex(each.removeprefix("sha256:")) for each in (root, record))
