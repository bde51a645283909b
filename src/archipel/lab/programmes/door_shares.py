"""Whose question a door's node is given next: tenants share the nodes by weight, whatever each of them asks. Pure.

Start-time fair queueing (Goyal, Vin, Cheng 1996): every tenant has its own clock, which a question moves on by its tokens
over the tenant's weight; the tenant whose clock is furthest behind comes next, and who asked nothing for a while saves
nothing up.
"""

from dataclasses import dataclass, field

from archipel.records.changed import changed
from archipel.records.door import MAX_SHARE
from archipel.records.table import Table

MAX_TENANTS = 65_536
"""That are remembered; beyond, those furthest behind go, which are the nearest to having asked nothing."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How far every tenant has come."""

    clock: int = 0
    """Where the question that was handed out last began."""
    used: Table[str, int] = field(default_factory=Table)
    """Tenant -> its own clock, of those ahead of that."""


def cost(num_tokens: int, share: int) -> int:
    """How far a question moves its tenant's clock on; one step at least."""
    return -(-num_tokens * MAX_SHARE // share)


def turn(shares: Shares, tenant: str) -> int:
    """Where its next question begins: the smallest comes next."""
    return max(int(shares.used.get(tenant, 0)), shares.clock)


def charged(shares: Shares, tenant: str, steps: int) -> Shares:
    """A question of this tenant was handed out."""
    begins = turn(shares, tenant)
    used = shares.used.put(tenant, begins + steps)
    if len(used) > MAX_TENANTS:
        behind = [each for each, at in used.items() if at <= begins and each != tenant]
        used = used.drop(*(behind or [min(used, key=lambda each: (used[each], each))]))
    return changed(shares, clock=begins, used=used)


def given_back(shares: Shares, tenant: str, steps: int) -> Shares:
    """It came back undone."""
    if tenant not in shares.used:
        return shares
    return changed(shares, used=shares.used.put(tenant, max(shares.used[tenant] - steps, 0)))
