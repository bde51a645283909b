"""What of a line that is to be is held already, and what has to be made: in pieces. Pure."""

import itertools
from collections.abc import Sequence, Set

from archipel.serve.pool.placing import Segment


def cut(
    target: Sequence[Segment], held: Sequence[Segment], at: int, known: Set[int] | None
) -> list[Segment]:
    """The target in pieces: what is held already, and what is not, cut where the pass under way stands.

    at: the first layer that it has not been through. known: layers before which it is known what went in; None: nothing
    went in anywhere.
    """
    found: list[Segment] = []
    for each in target:
        first, end = each.layers
        own = [
            old
            for old in held
            if old.device is each.device and first <= old.layers[0] and old.layers[1] <= end
        ]
        edges = sorted({first, end, *(e for old in own for e in old.layers)})
        edges = sorted({*edges, *([at] if first < at < end else [])})
        by_layers = {old.layers: old for old in own}
        for piece in itertools.pairwise(edges):
            found.append(by_layers.get(piece, Segment(each.device, piece)))
    # A piece that is not held begins where it is known what went in: at a device's first layer.
    for place in range(len(found) - 1, 0, -1):
        before, each = found[place - 1], found[place]
        begins = known is None or each.layers[0] in known
        if each not in held and before in held and not begins:
            found[place - 1] = Segment(before.device, before.layers)
    return found


def holes(wanted: Sequence[Segment], held: Sequence[Segment], at: int) -> list[list[Segment]]:
    """What is not held of these, together where it follows on one another; apart where the pass stands."""
    found: list[list[Segment]] = []
    for segment in wanted:
        if segment in held:
            continue
        follows = found and found[-1][-1].layers[1] == segment.layers[0] != at
        if follows:
            found[-1].append(segment)
        else:
            found.append([segment])
    return found
