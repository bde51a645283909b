"""What a lab remembers of who takes part: operators of nodes, their keys, the rule for joining. Frozen; part of the state."""

from dataclasses import dataclass, field

from archipel.lab.reputation import Standing
from archipel.records.membership import MAX_KEYS_PER_OPERATOR, Policy


@dataclass(frozen=True, slots=True)
class Provider:
    """Whose nodes work under keys that it delegated to: balance, stake and reputation are its own."""

    did: str
    keys: tuple[str, ...] = ()
    """Every key of its nodes that is known here, revoked ones among them, in the order of their coming; also those that
    it revoked before they came, to which nothing is delegated."""
    standing: Standing = field(default_factory=Standing)


@dataclass(frozen=True, slots=True)
class Delegated:
    """A key that speaks for an operator, or did."""

    operator: str
    issued_ms: int
    """Of its newest delegation."""
    until_ms: int | None = None
    revoked: str | None = None
    """Why it speaks for nobody any more; its answers from before stay the operator's."""


@dataclass(frozen=True, slots=True)
class Joining:
    """Who may join that is new here."""

    policy: Policy = "open"
    allowed: tuple[str, ...] = ()
    effort_bits: int = 0
    places: int = MAX_KEYS_PER_OPERATOR


@dataclass(frozen=True, slots=True)
class Used:
    """An invitation that somebody came with."""

    uses: int
    until_ms: int
