"""How the layers of a model are laid over a given order of devices, and what a token then takes.

Two aims:
    one    one stream: a token passes all stages, so its seconds are the sum; the fastest devices are filled first.
    many   many streams: all stages work at once, so the slowest sets the pace; layers are poured like water, each
           where the stage comes out shortest, and among equal paces the shortest sum is taken.
Both are exact for a given order: what a layer costs a device does not depend on which layer it is.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Aim = Literal["one", "many"]


@dataclass(frozen=True)
class Measures:
    """What was measured of N devices, by number; the gateway is number N."""

    num_layers: int
    layer_s: tuple[float, ...]
    """Seconds for a token through one layer."""
    embed_s: tuple[float, ...]
    head_s: tuple[float, ...]
    first: tuple[int, ...]
    """How many layers fit besides the embedding."""
    middle: tuple[int, ...]
    last: tuple[int, ...]
    """How many layers fit besides the head."""
    only: tuple[int, ...]
    """How many layers fit besides both."""
    hop_s: tuple[tuple[float, ...], ...]
    """Seconds one way, (N + 1, N + 1)."""

    def rooms(self, order: Sequence[int]) -> list[int]:
        """How many layers each device of this order can hold."""
        if len(order) == 1:
            return [self.only[order[0]]]
        rooms = [self.middle[each] for each in order]
        rooms[0], rooms[-1] = self.first[order[0]], self.last[order[-1]]
        return rooms

    def hops_s(self, order: Sequence[int]) -> float:
        """Seconds on the way from the gateway through this order and back."""
        gateway = len(self.layer_s)
        way = (gateway, *order, gateway)
        return sum(self.hop_s[one][other] for one, other in pairwise(way))

    def ends_s(self, order: Sequence[int]) -> list[float]:
        """Seconds of each stage besides its layers."""
        spent = [0.0] * len(order)
        spent[0] += self.embed_s[order[0]]
        spent[-1] += self.head_s[order[-1]]
        return spent


@dataclass(frozen=True)
class Laid:
    """A pipeline: so many layers on each device, in this order."""

    order: tuple[int, ...]
    counts: tuple[int, ...]
    token_s: float
    """From one token of a stream to its next."""
    pace_s: float
    """Of the slowest stage."""

    def key(self, aim: Aim) -> tuple[float, float, int]:
        """Less is better."""
        told = (self.token_s, self.pace_s) if aim == "one" else (self.pace_s, self.token_s)
        return (*told, len(self.order))


def lay(measures: Measures, order: Sequence[int], aim: Aim) -> Laid | None:
    """The best pipeline over these devices in this order, each with one layer at least; None: it does not fit."""
    rooms, num_layers = measures.rooms(order), measures.num_layers
    if min(rooms) < 1 or sum(rooms) < num_layers or len(order) > num_layers:
        return None
    layer_s = [measures.layer_s[each] for each in order]
    ends_s = measures.ends_s(order)
    if aim == "many":
        pace_s = _pace(num_layers, rooms, layer_s, ends_s)
        rooms = [
            max(1, min(room, _within(pace_s - end_s, each_s)))
            for room, each_s, end_s in zip(rooms, layer_s, ends_s, strict=True)
        ]
    counts = _cheapest_first(num_layers, rooms, layer_s)
    stages_s = [n * each + end for n, each, end in zip(counts, layer_s, ends_s, strict=True)]
    return Laid(tuple(order), tuple(counts), sum(stages_s) + measures.hops_s(order), max(stages_s))


def _cheapest_first(num_layers: int, rooms: Sequence[int], layer_s: Sequence[float]) -> list[int]:
    """One layer each, and the rest where a layer takes least."""
    counts = [1] * len(rooms)
    left = num_layers - len(rooms)
    for place in sorted(range(len(rooms)), key=layer_s.__getitem__):
        more = min(left, rooms[place] - 1)
        counts[place] += more
        left -= more
    return counts


def _pace(
    num_layers: int, rooms: Sequence[int], layer_s: Sequence[float], ends_s: Sequence[float]
) -> float:
    """The least that the slowest stage can take: every layer goes where its stage comes out shortest."""
    counts = [1] * len(rooms)
    pace_s = max(each + end for each, end in zip(layer_s, ends_s, strict=True))
    waiting = [
        (2 * layer_s[place] + ends_s[place], place) for place, room in enumerate(rooms) if room > 1
    ]
    heapq.heapify(waiting)
    for _ in range(num_layers - len(rooms)):
        stage_s, place = waiting[0]
        pace_s = max(pace_s, stage_s)
        counts[place] += 1
        if counts[place] < rooms[place]:
            longer_s = (counts[place] + 1) * layer_s[place] + ends_s[place]
            heapq.heapreplace(waiting, (longer_s, place))
        else:
            heapq.heappop(waiting)
    return pace_s


def _within(left_s: float, layer_s: float) -> int:
    """How many layers fit into these seconds; a rounding error takes none away."""
    return int(left_s / layer_s * (1 + 1e-12) + 1e-9)
