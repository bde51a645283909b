"""What audits showed of a node. Pure.

Law: it counts for a party, an operator with all of its nodes or a node of its own, and a new one begins with nothing:
then all of its answers are looked at.
"""

from dataclasses import dataclass

MAX_REFUTED = 2
"""Audits found wrong, from which on a node audits no more."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Why a node is given no work."""

    run: str
    work: str
    """The audited work on which two independent parties found it wrong."""
    at_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What audits showed of a node; its reputation is `verified`."""

    verified: int = 0
    """Answers found right since one was found wrong last."""
    exposed_micro: int = 0
    """Pay for answers since one was found right last."""
    soft: int = 0
    hard: int = 0
    """Verdicts against it, ever."""
    failures: int = 0
    """Answers that the trusted role found wrong since one was found right last."""
    confirmed: int = 0
    """Of its own audits: found right by others since one was found wrong last."""
    refuted: int = 0
    """Of its own audits: found wrong, ever; from `MAX_REFUTED` on it audits no more."""
    quarantine: Quarantine | None = None


def merged(one: Standing, other: Standing) -> Standing:
    """Of two that are one party from now on: what both were found right or wrong in."""
    return Standing(
        verified=one.verified + other.verified,
        exposed_micro=one.exposed_micro + other.exposed_micro,
        soft=one.soft + other.soft,
        hard=one.hard + other.hard,
        failures=one.failures + other.failures,
        confirmed=one.confirmed + other.confirmed,
        refuted=one.refuted + other.refuted,
        quarantine=one.quarantine or other.quarantine,
    )
