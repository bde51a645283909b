"""How long a new version takes to reach a node, and what leaves the lab meanwhile. Pure arithmetic; seconds and gigabits.

Star: n nodes share the lab's uplink, so all wait for n copies. Mirrors: each of m has its own uplink and is itself
fetched to once. Peers: chunks are handed on along a tree of the given degree, pipelined: the first chunk passes
depth hops, the others follow at the pace of the slowest hop (each node sends `degree` copies).
"""

import math

from archipel.simulation.scenario import Spreading

BITS = 8.0


def fetch_s(way: Spreading, gigabytes: float, nodes: int, down_gbit_s: float, up: float) -> float:
    """From publication until a node has it, if `nodes` fetch it.

    Args:
        way: how versions travel.
        gigabytes: of the version.
        nodes: that fetch it.
        down_gbit_s: the node's own downlink.
        up: uplink of the peers that hand it on, a typical one, in Gbit/s.
    """
    if gigabytes <= 0 or nodes <= 0:
        return 0.0
    bits = gigabytes * BITS
    own = bits / down_gbit_s
    if way.way == "star":
        return max(own, bits * nodes / way.lab_gbit_s)
    if way.way == "mirrors":
        each = math.ceil(nodes / way.mirrors)
        return bits * way.mirrors / way.lab_gbit_s + max(own, bits * each / way.lab_gbit_s)
    hop = min(up / way.degree, way.lab_gbit_s / way.degree)
    chunk = min(way.chunk_mb / 1000 * BITS, bits)
    depth = math.ceil(math.log(max(nodes, 1) * (way.degree - 1) + 1, way.degree)) if way.degree > 1 else nodes
    return max(own, bits / hop) + (depth - 1) * chunk / hop


def egress_gb(way: Spreading, gigabytes: float, nodes: int) -> float:
    """What leaves the lab itself, if `nodes` fetch it."""
    if way.way == "star":
        return gigabytes * nodes
    return gigabytes * min(way.mirrors if way.way == "mirrors" else way.degree, nodes)
