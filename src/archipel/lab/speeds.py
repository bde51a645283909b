"""What a lease says of its node's speed: per kind over all runs, and per kind and run. Pure.

Law: what one run measured buys nothing on another, where the same kind of work may be a hundred times as long.
"""

from archipel.lab.rules import Effort
from archipel.lab.state import Lease, Node
from archipel.lab.tallies import MAX_SETBACKS, MAX_SPEEDS_REMEMBERED, Speed, Tally
from archipel.records.changed import changed

RATE_SMOOTHING = 4
"""A node's rate moves a quarter of the way to each new measurement."""


def measured(node: Node, lease: Lease, effort: Effort, at_ms: int) -> Node:
    """The node whose answer to this lease was accepted at `at_ms`."""
    kind = lease.spec.kind
    rate = effort.units * 1_000_000_000 // max(at_ms - lease.granted_at_ms, 1)
    known, before = node.speed(kind, lease.spec.run), node.tallies.get(kind, Tally())
    speed = changed(
        known,
        rate_micro=_smoothed(known.rate_micro, rate),
        setbacks=max(known.setbacks - 1, 0),
    )
    tally = Tally(
        works=before.works + 1,
        units=before.units + effort.units,
        tokens=before.tokens + effort.tokens,
        bytes_in=before.bytes_in + effort.bytes_in,
        rate_micro=_smoothed(before.rate_micro, rate),
    )
    return changed(node, tallies={**node.tallies, kind: tally}, speeds=_with_speed(node, speed))


def is_used_up(lease: Lease, at_ms: int) -> bool:
    """Whether nearly all of its time is gone. A node that gives work back for want of time at once only
    wants a longer lease.
    """
    return (at_ms - lease.granted_at_ms) * 10 >= (lease.deadline_ms - lease.granted_at_ms) * 9


def set_back(node: Node, lease: Lease) -> Node:
    """The node that let this lease run out."""
    known = node.speed(lease.spec.kind, lease.spec.run)
    speed = changed(known, setbacks=min(known.setbacks + 1, MAX_SETBACKS))
    return changed(node, speeds=_with_speed(node, speed))


def _smoothed(before: int, rate: int) -> int:
    return before + (rate - before) // RATE_SMOOTHING if before else rate


def _with_speed(node: Node, speed: Speed) -> tuple[Speed, ...]:
    others = (each for each in node.speeds if (each.kind, each.run) != (speed.kind, speed.run))
    return (*others, speed)[-MAX_SPEEDS_REMEMBERED:]
