"""One blob on its way to many nodes: who stands below whom, in the order in which they ask.

Law: whoever asks gets a place at once. A place is below the shallowest source with a free slot (`market.dissemination`),
else below the least loaded one; the lab is a source like any other, and the last resort of all.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from archipel.market.dissemination import MAX_HOPS, Plan, Shape, slots
from archipel.records.sources import MAX_LIMIT_MS, MAX_PEERS_TOLD, Fetched

LAB = ""
"""As a source."""
GRACE_MS = 2000
"""Of a chunk, beyond what it should take."""
SLACK = 4
"""A chunk may take so many times as long as the plan has it, for each hop that it comes down."""
FORGIVEN_MS = 600_000
"""A source that others dropped is told of to nobody for so long."""
ACCUSERS = 2
"""Different nodes that must have dropped it: one alone may have lied."""
LOOKED_AT = 64
"""Nodes that are looked at for a second and third source."""


@dataclass(slots=True)
class Member:
    """A node, as a source."""

    address: str = ""
    heard_ms: int = 0
    offered: int = 0
    """Bytes a second that it says it gives; 0: it only fetches."""
    measured: int | None = None
    """What those below it got, where it held them back."""
    accusers: dict[str, int] = field(default_factory=dict)
    """Who dropped it -> when, Unix milliseconds."""

    @property
    def uplink(self) -> int:
        """Bytes a second."""
        return self.offered if self.measured is None else min(self.offered, self.measured)

    def serves(self, now_ms: int) -> bool:
        """Whether others are sent to it."""
        late = [who for who, at_ms in self.accusers.items() if now_ms - at_ms > FORGIVEN_MS]
        for who in late:
            del self.accusers[who]
        return self.offered > 0 and len(self.accusers) < ACCUSERS


@dataclass(slots=True)
class Place:
    """Of one node."""

    parent: str
    depth: int
    until_ms: int
    """It holds a slot of its parent's until then at the latest."""
    told: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    """Sources that it dropped."""
    is_whole: bool = False
    rate: int | None = None
    """Bytes a second at which it got the blob; None: it has not said."""


class Spread:
    """Of one blob; `members` are all nodes that the lab knows of."""

    def __init__(
        self, made: Plan, lab_uplink: int, planned_for: int, members: Mapping[str, Member]
    ) -> None:
        self.plan = made
        self.planned_for = planned_for
        """Nodes."""
        self.places: dict[str, Place] = {}
        self._lab_uplink = lab_uplink
        self._members = members
        self._below: dict[str, list[str]] = {LAB: []}
        """Source -> who holds a slot of it, or did."""
        self._free = [(0, 0, LAB)]
        """(depth, less of uplink, source), a heap of those that may have a slot."""
        self._got: dict[str, dict[str, Fetched]] = {}
        self._opened_ms = 0

    @property
    def num_whole(self) -> int:
        """Nodes that have said that they have it."""
        return sum(place.is_whole for place in self.places.values())

    @property
    def is_star(self) -> bool:
        """Everything comes from the lab."""
        return self.plan.chosen.shape is Shape.STAR

    def planned_anew(self, made: Plan, lab_uplink: int, planned_for: int) -> None:
        """More came than were expected."""
        self.plan, self._lab_uplink, self.planned_for = made, lab_uplink, planned_for
        self._open_all()

    def place(self, did: str, now_ms: int) -> list[str]:
        """Where this node fetches from, first to last; the lab, which is always the last, is not named."""
        before = self.places.get(did)
        refused = set() if before is None else before.refused
        told = set() if before is None else before.told
        self._free_slot_of(did)
        parent = LAB if self.is_star else self._parent(did, refused, now_ms)
        depth = 1 if parent == LAB else self.places[parent].depth + 1
        until_ms = now_ms + 2 * self.plan.chosen.tail_ms
        place = Place(parent, depth, until_ms, told=told, refused=refused)
        self.places[did] = place
        self._below.setdefault(parent, []).append(did)
        self._offer(did, now_ms)
        if parent == LAB:
            return []
        peers = [parent, *islice(self._others(did, place, now_ms), MAX_PEERS_TOLD - 1)]
        place.told.update(peers)
        return peers

    def limit_ms(self, did: str, chunk: int) -> int:
        """What a chunk may take, from a peer."""
        usual_ms = chunk * 1000 // self.plan.chosen.rate
        return min(GRACE_MS + SLACK * self.places[did].depth * usual_ms, MAX_LIMIT_MS)

    def heard(self, did: str, said: Fetched, now_ms: int) -> None:
        """What a node says of how it got the blob; only of sources that it was sent to."""
        place = self.places.get(did)
        if place is None or (said.source not in place.told and said.source in self._members):
            return
        if said.is_whole:
            place.is_whole = True
            place.rate = said.bytes * 1000 // max(said.ms, 1)
            self._free_slot_of(did)
        source = self._members.get(said.source)
        if source is None:
            return
        if said.is_bad:
            place.refused.add(said.source)
            source.accusers[did] = now_ms
            return
        got = self._got.setdefault(said.source, {})
        got[did] = said
        self._measure(source, said.source, got)

    def _measure(self, source: Member, did: str, got: Mapping[str, Fetched]) -> None:
        """A source that had the bytes, and did not pass them on as fast as it said, has a narrower line."""
        reached = sum(each.bytes for each in got.values()) * 1000
        reached //= max(max(each.ms for each in got.values()), 1)
        fed, planned = self.places[did].rate, self.plan.chosen.rate
        share = reached // len(got)
        if 2 * share < planned and (fed or planned) >= 2 * share:
            source.measured = max(reached, 1)
        elif source.measured is not None and reached > source.measured:
            source.measured = reached * 5 // 4

    def _parent(self, did: str, refused: set[str], now_ms: int) -> str:
        for is_late in (False, True):
            if is_late and now_ms - self._opened_ms >= GRACE_MS:
                self._opened_ms = now_ms
                self._open_all(now_ms)
            found = self._free_source(did, refused, now_ms)
            if found is not None:
                return found
        loaded = [
            (len(self._below[each]) / max(self._slots(each), 1), each)
            for each in islice(self._below, LOOKED_AT)
            if each == LAB or self._may_feed(each, did, refused, now_ms)
        ]
        return min(loaded)[1]

    def _free_source(self, did: str, refused: set[str], now_ms: int) -> str | None:
        """The shallowest with a slot; the lab's are left to those that serve, as far as there are others."""
        passed: dict[str, tuple[int, int, str]] = {}
        found = None
        while self._free and found is None:
            entry = heapq.heappop(self._free)
            source = entry[2]
            if source in passed or self._slots(source) <= len(self._below[source]):
                continue
            passed[source] = entry
            is_lab_free = source == LAB and (self._members[did].offered or not self._free)
            if is_lab_free or (source != LAB and self._may_feed(source, did, refused, now_ms)):
                found = source
        for entry in passed.values():
            heapq.heappush(self._free, entry)
        return found

    def _may_feed(self, source: str, did: str, refused: set[str], now_ms: int) -> bool:
        is_known = source in self._members and source in self.places
        return (
            is_known
            and source != did
            and source not in refused
            and self.places[source].depth < MAX_HOPS
            and self._members[source].serves(now_ms)
            and not self._is_below(source, did)
        )

    def _is_below(self, one: str, other: str) -> bool:
        """Whether `one` gets the blob through `other`: each would wait for the other."""
        for _ in range(MAX_HOPS + 1):
            if one == other:
                return True
            place = self.places.get(one)
            if place is None or place.is_whole:
                return False
            one = place.parent
        return True

    def _others(self, did: str, place: Place, now_ms: int) -> Iterator[str]:
        """Further sources: nodes above it, or that have the blob; not the same for everybody."""
        known = list(self._below)
        start = len(self.places) % len(known)
        for source in islice((*known[start:], *known[:start]), LOOKED_AT):
            if source in (LAB, place.parent) or source not in self.places:
                continue
            is_above = self.places[source].depth < place.depth or self.places[source].is_whole
            if is_above and self._may_feed(source, did, place.refused, now_ms):
                yield source

    def _slots(self, source: str) -> int:
        uplink = self._lab_uplink if source == LAB else self._members[source].uplink
        return max(slots(uplink, self.plan.chosen.rate), 1 if source == LAB else 0)

    def _offer(self, did: str, now_ms: int) -> None:
        """Others may be placed below it."""
        if self._members[did].serves(now_ms) and self.places[did].depth < MAX_HOPS:
            self._below.setdefault(did, [])
            entry = (self.places[did].depth, -self._members[did].uplink, did)
            heapq.heappush(self._free, entry)

    def _free_slot_of(self, did: str) -> None:
        place = self.places.get(did)
        below = None if place is None else self._below.get(place.parent)
        if place is not None and below is not None and did in below:
            below.remove(did)
            self._reopen(place.parent)

    def _reopen(self, source: str) -> None:
        depth = 0 if source == LAB else self.places[source].depth
        uplink = 0 if source == LAB else self._members[source].uplink
        heapq.heappush(self._free, (depth, -uplink, source))

    def _open_all(self, now_ms: int | None = None) -> None:
        """Slots that nobody can still need are free again; everybody who serves is looked at anew."""
        self._below = {source: b for source, b in self._below.items() if self._is_here(source)}
        self._free = []
        for source, below in self._below.items():
            below[:] = [each for each in below if now_ms is None or self._holds(each, now_ms)]
            self._reopen(source)

    def _holds(self, did: str, now_ms: int) -> bool:
        return not self.places[did].is_whole and self.places[did].until_ms > now_ms

    def _is_here(self, source: str) -> bool:
        return source == LAB or (source in self._members and source in self.places)
