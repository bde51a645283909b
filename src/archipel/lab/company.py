"""How fast the nodes that ask for work are together, by what they can. Pure; looks at every node, so asked now and then."""

from collections.abc import Mapping

from archipel.lab.calling import electorate
from archipel.lab.providers import seen
from archipel.lab.rules import Crowd
from archipel.lab.state import LabState, Node, abilities
from archipel.lab.waits import ACTIVE_MS

NOBODY = Crowd()
Crowds = Mapping[str, Crowd]
"""`ability` -> the nodes that have it."""


def crowds(state: LabState, now_ms: int) -> dict[str, Crowd]:
    """How fast the active nodes are together, by what they can. Looks at every node."""
    wanted, active = _needs(state), dict[str, list[Node]]()
    for did in state.nodes:
        node = seen(state, did)
        if node is not None and did not in state.paused and is_active(node, now_ms):
            met = wanted.intersection(node.meets)
            for word in abilities(set(node.capabilities.kinds), met):
                active.setdefault(word, []).append(node)
    return {word: _crowd(state, nodes, word.partition(" ")[0]) for word, nodes in active.items()}


def _needs(state: LabState) -> set[str]:
    """What the runs that are not over ask for."""
    paces = [state.runs[name].opened.pace for name in state.live]
    found = [need for pace in paces for need in (pace.needs, pace.sampled_by)]
    return {need for need in found if need is not None}


def is_active(node: Node, now_ms: int) -> bool:
    """Whether it is believed, and was heard of lately or holds work."""
    is_here = node.present and node.standing.quarantine is None
    return is_here and (bool(node.leases) or now_ms - node.last_seen_ms < ACTIVE_MS)


def _crowd(state: LabState, nodes: list[Node], kind: str) -> Crowd:
    rates, claims, unknown = [], [], 0
    for node in nodes:
        tally = node.tallies.get(kind)
        if tally is not None and tally.rate_micro:
            rates.append(tally.rate_micro)
        elif node.capabilities.speed_milli and not node.expired:
            claims.append(node.capabilities.speed_milli)
        else:
            unknown += 1
    return Crowd(
        count=len(nodes),
        measured=sum(rates),
        slowest=min(rates, default=0),
        claimed_milli=sum(claims),
        slowest_claim_milli=min(claims, default=0),
        unknown=unknown,
        voters=electorate(state, kind, nodes),
    )
