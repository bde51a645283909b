"""How long a new version takes to reach a node, and what leaves the lab meanwhile: `market.dissemination`'s plan.

Star: n nodes share the lab's uplink, so all wait for n copies. Mirrors and trees: chunks are handed on as they come.
What a plan reckons is for the last node; a node whose own downlink is slower waits for that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from archipel.market.dissemination import MAX_NODES, Plan, Shape, Way, plan
from archipel.simulation.scenario import CannotSimulate, Spreading

BITS = 8
GIGA = 1_000_000_000
SHAPES = {"star": Shape.STAR, "mirrors": Shape.MIRRORS, "tree": Shape.TREE}


@dataclass(frozen=True)
class Row:
    """What each shape takes for so many nodes."""

    nodes: int
    tail_s: dict[str, float]
    egress_gb: dict[str, float]
    chosen: str


def way_of(spreading: Spreading, gigabytes: float, uplinks: tuple[int, ...], nodes: int) -> Way:
    """The shape that is asked for, or the one that the lab would choose; star where the shape is not possible.

    Args:
        spreading: how versions travel.
        gigabytes: of a version.
        uplinks: bytes a second of nodes as they are drawn, a sample of all; taken in turn for `nodes` of them.
        nodes: that want it.
    """
    found = _planned(
        max(round(gigabytes * GIGA), 1),
        round(spreading.chunk_mb * 1_000_000),
        round(spreading.lab_gbit_s * GIGA / BITS),
        uplinks,
        min(max(nodes, 1), MAX_NODES),
    )
    if spreading.way == "best":
        return found.chosen
    shape = SHAPES[spreading.way]
    return next((way for way in found.ways if way.shape is shape), found.ways[0])


def fetch_s(way: Way, gigabytes: float, down_gbit_s: float) -> float:
    """From publication until a node with this downlink has it."""
    return max(way.tail_ms / 1000, gigabytes * BITS / down_gbit_s)


def rows(
    spreading: Spreading, gigabytes: float, uplinks: Sequence[int], counts: Sequence[int]
) -> list[Row]:
    """Every shape, as the nodes grow in number.

    Raises:
        CannotSimulate: more nodes than a plan is made for.
    """
    made = list[Row]()
    for nodes in counts:
        if not 1 <= nodes <= MAX_NODES:
            raise CannotSimulate(f"{nodes} nodes; expected 1 to {MAX_NODES}")
        found = _planned(
            max(round(gigabytes * GIGA), 1),
            round(spreading.chunk_mb * 1_000_000),
            round(spreading.lab_gbit_s * GIGA / BITS),
            tuple(uplinks),
            nodes,
        )
        made.append(
            Row(
                nodes=nodes,
                tail_s={way.shape.value: way.tail_ms / 1000 for way in found.ways},
                egress_gb={way.shape.value: way.first_rank * gigabytes for way in found.ways},
                chosen=found.chosen.shape.value,
            )
        )
    return made


@lru_cache(maxsize=4096)
def _planned(size: int, chunk: int, lab: int, uplinks: tuple[int, ...], nodes: int) -> Plan:
    serving = [uplinks[number % len(uplinks)] for number in range(nodes)]
    return plan(size, min(chunk, size), lab, [each for each in serving if each > 0], nodes)
