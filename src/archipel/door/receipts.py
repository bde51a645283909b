"""What a door charges of its tenants' grants, hour by hour, by a lab's own clock and count. Pure.

Parts: `Receipt` (what is to be charged), `receipt`. Law: hours that are over are
charged once, whatever was lost between door and lab; never more than is left.
"""

from collections.abc import Callable
from dataclasses import dataclass

from archipel.door.ties import Tie
from archipel.records.grant_documents import GranteeView

HOUR_MS = 3_600_000
GRACE_MS = 300_000
"""An hour is charged so long after its end: by then all of it is counted, also where the door's clock is behind the lab's."""


@dataclass(frozen=True)
class Receipt:
    """What is to be charged next, and what is left then; nothing is, where `micro` is 0."""

    since_ms: int
    until_ms: int
    num_tokens: int
    micro: int
    left_micro: int
    """Afterwards."""


def receipt(
    tie: Tie, view: GranteeView, tokens_in: Callable[[int, int], int], now_ms: int
) -> Receipt:
    """The next one of a tie.

    view, now_ms: what the lab says of its grantee, and when by its clock. tokens_in: used by the tenant from one Unix time in milliseconds to another.
    """
    permit = tie.permit
    used = next(
        (each for each in view.permits if (each.door, each.name) == (permit.door, permit.name)),
        None,
    )
    before, heard_ms = (0, 0) if used is None else (used.micro, used.heard_ms)
    left = 0 if now_ms >= permit.until_ms else min(view.left_micro, permit.micro - before)
    since_ms = max(tie.charged_to_ms, heard_ms)
    until_ms = (now_ms - GRACE_MS) // HOUR_MS * HOUR_MS
    if until_ms <= since_ms:
        return Receipt(since_ms, since_ms, 0, 0, left)
    num_tokens = tokens_in(since_ms, until_ms)
    micro = min(tie.costs(num_tokens), left)
    return Receipt(since_ms, until_ms, num_tokens, micro, left - micro)
