"""How a blob comes to many nodes soonest: from the lab alone, over one rank of mirrors, or down a tree. Pure, in integers.

A source that serves c nodes at once gives each of them its uplink over c. Chunks are passed on as they come, so the
last node, d hops below the lab, has B bytes after (B + (d - 1) x chunk) / r, where r is the rate of the slowest hop:
a pipelined broadcast down a tree. For a rate r a source has floor(uplink / r) slots; the plan is the rate at which
everybody finds a slot and the last one is served soonest. Downlinks are taken as wider than their share.
Law: the star is taken unless another shape is clearly faster: each hop is somebody else who may fail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

BETTER_PERMILLE = 900
"""A shape of more hops must end within this share of a simpler one's time."""
MAX_FAN_OUT_TRIED = 64
"""Of the lab; a node's rates are tried up to an eighth of it."""
MAX_UPLINKS_TRIED = 16
"""Different uplinks whose fractions are tried as rates, evenly over their order."""
MAX_NODES = 65_536
MAX_HOPS = 8
"""From the lab to the last node: whoever goes holds up all below."""


class CannotSpread(ValueError):
    """Figures that no plan answers."""


class Shape(Enum):
    """Who sends to whom."""

    STAR = "star"
    """The lab to everybody."""
    MIRRORS = "mirrors"
    """The lab to a few, and they to all others."""
    TREE = "tree"
    """Ranks below ranks."""


@dataclass(frozen=True, slots=True)
class Way:
    """One shape at its best rate."""

    shape: Shape
    rate: int
    """Bytes a second on every hop, at least."""
    depth: int
    """Hops to the last node."""
    first_rank: int
    """Nodes that the lab itself serves: its egress is so many times the blob."""
    tail_ms: int
    """Until the last node has it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The shape chosen, and what each would take."""

    chosen: Way
    ways: tuple[Way, ...]
    """Of the shapes that are possible, simplest first."""

    @property
    def reckoned(self) -> str:
        """In words."""
        told = ", ".join(f"{way.shape.value} {way.tail_ms / 1000:.1f} s" for way in self.ways)
        return f"{self.chosen.shape.value} ({told})"


def plan(size: int, chunk: int, lab_uplink: int, uplinks: Sequence[int], num_nodes: int) -> Plan:
    """The shape in which `num_nodes` nodes have a blob soonest.

    Args:
        size: bytes of the blob.
        chunk: bytes that are verified, and passed on, at a time.
        lab_uplink: bytes a second.
        uplinks: of the nodes that serve others, in any order.
        num_nodes: that want it, those that serve included.

    Raises:
        CannotSpread: a figure that is not positive, more that serve than there are, or too many.
    """
    _require(size, chunk, lab_uplink, uplinks, num_nodes)
    serving = sorted(uplinks, reverse=True)
    rates = sorted(_rates(lab_uplink, serving, num_nodes))
    ways = [_star(size, lab_uplink, num_nodes)]
    ranks = {rate: _ranks(rate, lab_uplink, serving, num_nodes) for rate in rates}
    for shape, hops in ((Shape.MIRRORS, 2), (Shape.TREE, MAX_HOPS)):
        found = [
            _way(shape, size, chunk, rate, each)
            for rate, each in ranks.items()
            if 0 < len(each) <= hops
        ]
        if found:
            ways.append(min(found, key=lambda way: (way.tail_ms, way.first_rank)))
    chosen = ways[0]
    for way in ways[1:]:
        if way.tail_ms * 1000 <= chosen.tail_ms * BETTER_PERMILLE:
            chosen = way
    return Plan(chosen, tuple(ways))


def slots(uplink: int, rate: int) -> int:
    """How many nodes a source can feed at this rate; one that is slower feeds none."""
    return uplink // rate


def _require(size: int, chunk: int, lab_uplink: int, uplinks: Sequence[int], num: int) -> None:
    if min(size, chunk, lab_uplink, *uplinks) < 1:
        raise CannotSpread(
            f"a blob of {size}, chunks of {chunk} bytes, uplinks {lab_uplink} and {list(uplinks)[:4]}; "
            "expected each to be 1 or more"
        )
    if not max(len(uplinks), 1) <= num <= MAX_NODES:
        raise CannotSpread(
            f"{num} nodes, of which {len(uplinks)} serve; expected 1 to {MAX_NODES}, and no more that serve"
        )


def _rates(lab_uplink: int, serving: Sequence[int], num_nodes: int) -> set[int]:
    """Rates at which somebody's slots change: the best one is among these, or close to one."""
    rates = {lab_uplink // fan for fan in range(1, min(num_nodes, MAX_FAN_OUT_TRIED) + 1)}
    different = sorted(set(serving))
    step = max(len(different) // MAX_UPLINKS_TRIED, 1)
    for uplink in different[::step]:
        rates |= {uplink // fan for fan in range(1, MAX_FAN_OUT_TRIED // 8 + 1)}
    return {rate for rate in rates if 1 <= rate <= lab_uplink}


def _star(size: int, lab_uplink: int, num_nodes: int) -> Way:
    tail_ms = -(-size * num_nodes * 1000 // lab_uplink)
    return Way(Shape.STAR, max(lab_uplink // num_nodes, 1), 1, num_nodes, tail_ms)


def _way(shape: Shape, size: int, chunk: int, rate: int, ranks: Sequence[int]) -> Way:
    on_the_way = (len(ranks) - 1) * min(chunk, size)
    return Way(shape, rate, len(ranks), ranks[0], -(-(size + on_the_way) * 1000 // rate))


def _ranks(rate: int, lab_uplink: int, serving: Sequence[int], num_nodes: int) -> list[int]:
    """How many nodes stand in each rank, whoever serves best in the first; none if not everybody finds a slot."""
    ranks: list[int] = []
    placed, free = 0, slots(lab_uplink, rate)
    while placed < num_nodes:
        taken = min(free, num_nodes - placed)
        if taken == 0 or len(ranks) == MAX_HOPS:
            return []
        ranks.append(taken)
        free = sum(slots(uplink, rate) for uplink in serving[placed : placed + taken])
        placed += taken
    return ranks
