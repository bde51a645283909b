"""What a lab shows of its pool: what it holds, by which rule it gives, whose grants are running, who pledges."""

from archipel.records.document import Document
from archipel.records.grants import PoolRuled


class GrantView(Document):
    """One grant that is running."""

    entry: int
    """Position in the ledger of the statement that gave it."""
    micro: int
    left_micro: int
    until_ms: int


class PermitView(Document):
    """A permit that a door has charged by, until it is over."""

    name: str
    door: str
    micro: int
    """Charged by it so far."""
    heard_ms: int
    """End of the time that its last receipt is for."""


class GranteeView(Document):
    """Of one key."""

    grantee: str
    left_micro: int
    """Of all its grants."""
    grants: tuple[GrantView, ...]
    permits: tuple[PermitView, ...]


class GrantsView(Document):
    """The pool and its grants."""

    lab: str
    size: int
    now_ms: int
    pool_micro: int
    rule: PoolRuled | None
    """The newest; None: an operator gives what the pool holds, and nobody is given anything for asking."""
    month: str
    """Such as 2027-01, in UTC."""
    given_micro: int
    """In this month."""
    by_verifier: dict[str, int]
    """Of that, for attestations of each."""
    num_persons: int
    """Who asked and were given this month's grant."""
    num_grantees: int
    granted_micro: int
    """Left of all grants."""
    grantees: tuple[GranteeView, ...]
    """Some, or the one that was asked about."""
    num_pledges: int
    pledges: dict[str, int]
    """Provider -> millionths of its pay, of some."""
