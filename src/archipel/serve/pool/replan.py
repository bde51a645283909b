"""What a pool does when devices are lost: as many layers as possible stay where they are, caches and all.

For each broken pipeline, the first that fits:
    hole   the lost layers alone are rebuilt, by the neighbours as far as they have room and by spare devices
    shift  what is left, in its order, and spare devices: cut so that the fewest layers move
    anew   laid anew over what is left of it and the spare devices
    given up, if another pipeline stands; if none does, everything is planned anew
Among equals a token takes least. Pure.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import permutations

from archipel.serve.pool.laying import Laid, Measures, timed
from archipel.serve.pool.plan import (
    Device,
    Infeasible,
    Links,
    Pipeline,
    Plan,
    Range,
    Shape,
    measures_of,
    plan,
    planned,
)

_MOST_SPARES = 6
"""Spare devices that are tried in all pairs for one hole; if these do not do, they are taken by their room."""


@dataclass(frozen=True)
class Replanned:
    """The plan after a loss."""

    plan: Plan
    rebuilt: tuple[Range, ...]
    """Layers that a device has to load, and to compute the caches of, that it had not before."""
    kept: tuple[Range, ...]
    """Layers that stay on the device that had them."""

    @property
    def moved_layers(self) -> int:
        """What the loss costs, in layers."""
        return sum(map(len, self.rebuilt))


def replan(
    before: Plan, lost: Set[str], shape: Shape, devices: Sequence[Device], links: Links
) -> Replanned | Infeasible:
    """A plan over the devices that are left. `devices`: all that are known, joined ones included.

    Raises:
        ValueError: a device of the plan is not among them, or as `plan`.
    """
    names = {each.name for each in devices} | lost
    if unknown := {r.device for p in before.pipelines for r in p} - names:
        raise ValueError(f"every device of the plan has to be told; {sorted(unknown)} are not")
    left = [each for each in devices if each.name not in lost]
    pool = _Pool(shape, left, links)
    whole = [p for p in before.pipelines if not any(r.device in lost for r in p)]
    broken = [p for p in before.pipelines if p not in whole]
    for at, pipeline in enumerate(broken):
        busy = {r.device for p in (*whole, *broken[at + 1 :]) for r in p}
        mended = pool.mended(pipeline, lost, [each for each in left if each.name not in busy])
        if mended:
            whole.append(mended)
    if not whole:
        made = plan(shape, left, links)
        if isinstance(made, Infeasible):
            return made
        whole = list(made.pipelines)
    return pool.told(before, whole)


def moves(before: Sequence[Pipeline], after: Sequence[Pipeline]) -> tuple[list[Range], list[Range]]:
    """(layers that come to a device, layers that stay on theirs)."""
    had = {each.device: each for pipeline in before for each in pipeline}
    come: list[Range] = []
    stay: list[Range] = []
    for each in (each for pipeline in after for each in pipeline):
        old = had.get(each.device, replace(each, last=each.first))
        first, last = max(each.first, old.first), min(each.last, old.last)
        if first >= last:
            come.append(each)
            continue
        stay.append(Range(each.device, first, last))
        ends = (Range(each.device, each.first, first), Range(each.device, last, each.last))
        come.extend(end for end in ends if len(end))
    return come, stay


@dataclass(frozen=True)
class _Part:
    """A device in the mended pipeline, and the layers that it has."""

    number: int
    first: int
    last: int


class _Pool:
    """The devices that are left."""

    def __init__(self, shape: Shape, left: Sequence[Device], links: Links) -> None:
        self._shape, self._left, self._links = shape, left, links
        self._measures = measures_of(shape, left, links)
        self._number = {each.name: at for at, each in enumerate(left)}

    def told(self, before: Plan, after: Sequence[Pipeline]) -> Replanned:
        """The new plan with its times, and what moves."""
        laid = [
            timed(self._measures, [self._number[r.device] for r in p], [len(r) for r in p])
            for p in after
        ]
        laid.sort(key=lambda each: each.key("one"))
        made = planned(laid, self._left)
        come, stay = moves(before.pipelines, made.pipelines)
        return Replanned(made, tuple(come), tuple(stay))

    def mended(self, pipeline: Pipeline, lost: Set[str], free: Sequence[Device]) -> Pipeline | None:
        """A broken pipeline without the lost ones; `free` are its own that are left, and the spare ones."""
        parts = [
            _Part(self._number[r.device], r.first, r.last) for r in pipeline if r.device not in lost
        ]
        own = {part.number for part in parts}
        spare = [self._number[d.name] for d in free if self._number[d.name] not in own]
        for way in (_filled, _shifted):
            found = [
                laid
                for order in _orders(self._measures, parts, spare)
                if (laid := way(self._measures, order))
            ]
            if found:
                best = min(found, key=lambda each: (_moved(parts, each), *each.key("one")))
                return planned([best], self._left).pipelines[0]
        made = plan(self._shape, free, self._links)
        return None if isinstance(made, Infeasible) else made.pipelines[0]


def _moved(parts: Sequence[_Part], laid: Laid) -> int:
    """How many layers are on another device than before."""
    had = {part.number: part for part in parts}
    moved, first = 0, 0
    for number, count in zip(laid.order, laid.counts, strict=True):
        last, part = first + count, had.get(number)
        same = max(0, min(last, part.last) - max(first, part.first)) if part else 0
        moved, first = moved + count - same, last
    return moved


def _orders(
    measures: Measures, parts: Sequence[_Part], spare: Sequence[int]
) -> Iterator[list[_Part]]:
    """What is left in its order, with spare devices in the holes: none, one, two, or many by their room."""
    ends = [0, *(part.last for part in parts)], [*(p.first for p in parts), measures.num_layers]
    holes = [at for at, (end, begin) in enumerate(zip(*ends, strict=True)) if end < begin]
    quick = sorted(spare, key=measures.layer_s.__getitem__)[:_MOST_SPARES]
    roomy = sorted(spare, key=lambda each: -measures.middle[each])
    many = [roomy[:count] for count in range(3, len(roomy) + 1)]
    for taken in ([], *([e] for e in quick), *map(list, permutations(quick, 2)), *many):
        for at in holes:
            new = [_Part(each, ends[0][at], ends[0][at]) for each in taken]
            if len(parts) + len(new):
                yield [*parts[:at], *new, *parts[at:]]
            if not taken:
                break


def _filled(measures: Measures, order: Sequence[_Part]) -> Laid | None:
    """Nothing that is left moves: every hole is filled from its two sides and by those without layers in it."""
    numbers = [part.number for part in order]
    rooms = measures.rooms(numbers)
    counts = [max(part.last - part.first, 1) for part in order]
    if any(count > room for count, room in zip(counts, rooms, strict=True)):
        return None
    at, end = 0, 0
    while at <= len(order):
        # From the last one before the hole to the first one behind it.
        to = at
        while to < len(order) and order[to].first == order[to].last:
            to += 1
        begin = order[to].first if to < len(order) else measures.num_layers
        left = begin - end - (to - at)
        for place in sorted(
            range(max(at - 1, 0), min(to + 1, len(order))),
            key=lambda place: measures.layer_s[numbers[place]],
        ):
            if begin > end:
                more = max(min(left, rooms[place] - counts[place]), 0)
                counts[place] += more
                left -= more
        if left:
            return None
        end = order[to].last if to < len(order) else measures.num_layers
        at = to + 1
    return timed(measures, numbers, counts)


def _shifted(measures: Measures, order: Sequence[_Part]) -> Laid | None:
    """The cuts by which the fewest layers move, then a token takes least: over every end of every range in turn."""
    numbers = [part.number for part in order]
    best: dict[int, tuple[int, float, tuple[int, ...]]] = {0: (0, 0.0, ())}
    for part, room in zip(order, measures.rooms(numbers), strict=True):
        further: dict[int, tuple[int, float, tuple[int, ...]]] = {}
        for first, (moved, spent_s, counts) in best.items():
            for last in range(first + 1, min(first + room, measures.num_layers) + 1):
                same = max(0, min(last, part.last) - max(first, part.first))
                count = last - first
                spent = spent_s + count * measures.layer_s[part.number]
                found = (moved + count - same, spent, (*counts, count))
                if last not in further or found < further[last]:
                    further[last] = found
        best = further
    if measures.num_layers not in best:
        return None
    return timed(measures, numbers, best[measures.num_layers][2])
