"""Which device holds which layers.

Parts: `Room` (of one device), `spread` (all layers over some devices), `patch` (layers that nobody holds any more).
Pure. Law: where any assignment of contiguous ranges fits, one is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Held = tuple[int, int, int]
"""(number of the device, first layer, end)."""


@dataclass(frozen=True)
class Room:
    """Of one device."""

    layers: int
    """That fit into its memory, with their cache."""
    layer_ns: int
    """Of one step."""


def spread(num_layers: int, rooms: Sequence[Room]) -> tuple[Held, ...] | None:
    """All layers over the devices; None: they have no room for them."""
    return _shared(0, num_layers, dict(enumerate(rooms)))


def patch(
    hole: tuple[int, int], before: int | None, after: int | None, rooms: Sequence[Room]
) -> tuple[Held, ...] | None:
    """Layers [first, end) that were lost; `rooms`: what each device has left.

    before, after: the devices that hold the layers on either side; where they have room for all, no further one is
    made part of the line. None: nobody has room.
    """
    first, end = hole
    count = end - first
    near = {each for each in (before, after) if each is not None and rooms[each].layers > 0}
    spare = [each for each, room in enumerate(rooms) if each not in near and room.layers >= count]
    if spare:
        best = min(spare, key=lambda each: rooms[each].layer_ns)
        return ((best, first, end),)
    if sum(rooms[each].layers for each in near) >= count:
        chosen = [each for each in (before, after) if each in near]
        chosen = list(dict.fromkeys(chosen))
        return _shared(first, end, {each: rooms[each] for each in chosen})
    return _shared(first, end, dict(enumerate(rooms)))


def _shared(first: int, end: int, rooms: dict[int, Room]) -> tuple[Held, ...] | None:
    """Layers by speed, none beyond its room, in the devices' order."""
    count = end - first
    if sum(room.layers for room in rooms.values()) < count:
        return None
    given = dict.fromkeys(rooms, 0)
    for _ in range(count):
        free = [each for each in rooms if given[each] < rooms[each].layers]
        next_one = min(free, key=lambda each: (given[each] + 1) * rooms[each].layer_ns)
        given[next_one] += 1
    found, at = [], first
    for each, layers in given.items():
        if layers:
            found.append((each, at, at + layers))
            at += layers
    return tuple(found)
