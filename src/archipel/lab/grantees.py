"""What a lab knows of the pool: its rule, what it gave this month, whose grants are running, who pledges. Frozen; part of the
state.
"""

from dataclasses import dataclass, field

from archipel.market.grants import Grant
from archipel.records.grants import PoolRuled
from archipel.records.table import Table

MAX_GRANTEES = 100_000
"""With a grant that is running, or a permit that was used."""
MAX_GRANTS_OF_ONE = 32
MAX_PERMITS_OF_ONE = 16
MAX_PLEDGES = 10_000


@dataclass(frozen=True, slots=True)
class PermitUsed:
    """A permit that a door has charged by, until it is over."""

    name: str
    door: str
    micro: int
    """Charged by it so far."""
    heard_ms: int
    """End of the time that its last receipt is for."""
    until_ms: int
    """The permit's own end."""


@dataclass(frozen=True, slots=True)
class Granted:
    """Of one grantee."""

    grants: tuple[Grant, ...] = ()
    """Running; what is left of them all is in its account `grant:<did>`."""
    permits: tuple[PermitUsed, ...] = ()


@dataclass(frozen=True, slots=True)
class Pledge:
    """A part of a provider's pay that goes to the pool."""

    parts: int
    """Millionths."""
    due: int = 0
    """Millionths of a micro-credit that have come together and are not collected yet; below zero: pay went back."""


@dataclass(frozen=True, slots=True)
class Ending:
    """When a grant or a permit of somebody is over."""

    until_ms: int
    grantee: str


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool's rule, and its month so far."""

    rule: PoolRuled | None = None
    month: int = 0
    """That the next three are of (`market.grants.month_of`)."""
    given_micro: int = 0
    by_verifier: Table[str, int] = field(default_factory=Table)
    """Verifier -> micro-credits given for its attestations."""
    ending: tuple[Ending, ...] = ()
    """The soonest first."""
    collected_day: int = 0
    """Days since 1970 at the last collection of pledges."""
