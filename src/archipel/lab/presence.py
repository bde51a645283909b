"""Which nodes are here, and which are gone: what a lab shows, and whose place it gives away first. Pure.

A node is gone that left, or was not heard of for GONE_MS, and holds no work. Heard of is every statement of its own
in the ledger, and every request for work, also one that got nothing: those are in no ledger, so after a
start the lab knows of them only what came since.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from archipel.lab.state import LabState, Node

GONE_MS = 3_600_000
"""Of silence."""
NOBODY_ASKED: Mapping[str, int] = MappingProxyType({})


def last_heard_ms(node: Node, asked_ms: Mapping[str, int]) -> int:
    """`asked_ms`: when each asked for work last, as far as that is known."""
    return max(node.last_seen_ms, asked_ms.get(node.did, 0))


def is_gone(node: Node, heard_ms: int, now_ms: int) -> bool:
    """Holding work is being here: the lease's deadline says for how long."""
    return not node.leases and (not node.present or now_ms - heard_ms > GONE_MS)


def here(
    state: LabState, dids: Iterable[str], asked_ms: Mapping[str, int], now_ms: int
) -> Iterator[str]:
    """Those of these nodes that are not gone, in their order; who was forgotten meanwhile is none."""
    for did in dids:
        node = state.nodes.get(did)
        if node is not None and not is_gone(node, last_heard_ms(node, asked_ms), now_ms):
            yield did
