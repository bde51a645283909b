"""Who is called to an audit: parties by lot, each by how many answers of its own were found right. Pure.

Whoever asks first would get every audit: keys that do nothing else ask always, and cost nothing. The chance to be called
is a party's share of the work that was found right, however many keys it has and however often it asks. Who is called
may be busy: after a turn the next one is called too, and in the end whoever comes. Law: a party's lot for a case follows
from the root that drew the answer and from its own name, so nobody draws again by leaving, joining or waiting.
"""

import hashlib
import heapq
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial

from archipel.lab.cases import Case
from archipel.lab.providers import account_of
from archipel.lab.state import LabState, Node

KIND = "audit"
LEAST_PARTIES = 5
"""Among fewer whose work is known there is nothing to draw: whoever asks first may look."""
MOST_PARTIES = 512
"""With the most work; others come when these do not."""
MOST_WEIGHT = 10_000
"""Answers found right beyond these count no more."""
TURNS = 4
"""Then whoever asks may look: the called ones did not come."""
SPARE = 16
"""Lots beyond the turns that are looked at, where some fall on parties that may not look."""
_LOT = b"archipel.audit.call.v1\x00"


@dataclass(frozen=True, eq=False)
class Electorate:
    """Those who audit now, and what is known of their work."""

    nodes: Mapping[str, str] = field(default_factory=dict)
    """Node -> its party."""
    parties: Mapping[str, int] = field(default_factory=dict)
    """Party -> its weight."""
    others: Callable[[str], str | None] = lambda did: None
    """Of which party a node is that is not among these; None: that is not known."""

    def whose(self, did: str) -> str | None:
        """The party of a node, if it is known."""
        party = self.nodes.get(did)
        return self.others(did) if party is None else party


EVERYBODY = Electorate()
"""Nobody is called, so whoever asks first may look."""


def electorate(state: LabState, kind: str, nodes: Collection[Node]) -> Electorate:
    """Of the nodes that audit now; `standing` of each is its party's."""
    if kind != KIND:
        return EVERYBODY
    found = {each.did: account_of(state, each.did) for each in nodes if each.standing.verified > 0}
    weights = {
        found[each.did]: min(each.standing.verified, MOST_WEIGHT)
        for each in nodes
        if each.did in found
    }
    if len(weights) < LEAST_PARTIES:
        return EVERYBODY
    most = heapq.nlargest(MOST_PARTIES, weights.items(), key=lambda each: (each[1], each[0]))
    return Electorate(found, dict(most), partial(_known_as, state))


def _known_as(state: LabState, did: str) -> str | None:
    return account_of(state, did) if did in state.nodes else None


def may_come(
    voters: Electorate, case: Case, turn: int, did: str, involved: Collection[str]
) -> bool:
    """Whether a node may look at a case in this turn, the first of which is 0.

    involved: nodes that may not look, whatever they are called to.
    """
    if not voters.parties or turn >= TURNS:
        return True
    barred = {voters.nodes[each] for each in involved if each in voters.nodes}
    ranked = _ranked(voters, case.root, case.answer.record, len(case.tried))
    called = [party for party in ranked if party not in barred][: turn + 1]
    return not called or voters.nodes.get(did) in called


def may_be_called(voters: Electorate, case: Case, turn: int) -> frozenset[str] | None:
    """Parties one of which a node must be of, lest `may_come` says no; None: any.

    Told without looking at who of the parties involved is here. Where it is not known whose a node is, it is of one party,
    so the lot of one more is enough.
    """
    if not voters.parties or turn >= TURNS:
        return None
    ranked = _ranked(voters, case.root, case.answer.record, len(case.tried))
    involved = [voters.whose(each) for each in (case.answer.party, *case.tried)]
    if len(ranked) <= len(involved):
        return None
    free = [party for party in ranked if party not in involved]
    return frozenset(free[: turn + 1 + involved.count(None)])


def turn_of(case: Case, least_ms: int, now_ms: int) -> int:
    """How often who was called to look next has been waited for: as long as the answer took, and `least_ms` at least.

    Each who looked before had two turns of the time.
    """
    waited_ms = now_ms - case.opened_at_ms
    return max(waited_ms // _turn_ms(case, least_ms) - 2 * len(case.tried), 0)


def next_turn_ms(case: Case, least_ms: int, now_ms: int) -> int:
    """Unix milliseconds until which `turn_of` says the same, if the case stays as it is."""
    turn_ms = _turn_ms(case, least_ms)
    return now_ms + turn_ms - (now_ms - case.opened_at_ms) % turn_ms


def _turn_ms(case: Case, least_ms: int) -> int:
    return max(least_ms, case.answer.took_ms, 1)


@lru_cache(maxsize=512)
def _ranked(voters: Electorate, root: str, record: str, looked: int) -> list[str]:
    """Parties in the order in which they are called.

    Waiting times of rates that are their weights: the first is each one with the chance of its share (Efraimidis and
    Spirakis, 2006).
    """
    times = (
        (_waiting_time(root, record, looked, party) / weight, party)
        for party, weight in voters.parties.items()
    )
    return [party for _, party in heapq.nsmallest(TURNS + SPARE, times)]


@lru_cache(maxsize=1 << 14)
def _waiting_time(root: str, record: str, looked: int, party: str) -> float:
    words = f"{root} {record} {looked} {party}".encode()
    lot = int.from_bytes(hashlib.sha256(_LOT + words).digest()[:6], "big")
    return -math.log((lot + 1) / (1 << 48))
