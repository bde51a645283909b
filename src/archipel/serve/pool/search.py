"""Which devices, in which order, make which pipelines.

Up to EXACT_DEVICES devices: all of them. What a pipeline can hold depends on its set of devices and on its two ends,
and the time on the wires on the order between them, so both are found apart (the order by Held and Karp's recursion,
1962) and the pipelines are then the best disjoint sets.
More devices: pipelines are taken one after the other, each begun from several sorted lists and improved by single
changes until none helps or the effort is spent. A first pipeline is found whenever one exists (`ends`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from archipel.serve.pool.laying import Aim, Laid, Measures, lay

EXACT_DEVICES = 8
MAX_EFFORT = 60_000
"""Places of pipelines looked at in one search: what a processor does in some tenths of a second."""
MAX_TIMES_SLOWER = 4.0
"""For one stream a further pipeline is of use up to here; a request had better wait for the first."""
_SAME = 1 + 1e-12


@dataclass
class Effort:
    """What a search has cost."""

    limit: int = MAX_EFFORT
    spent: int = field(default=0)

    @property
    def left(self) -> bool:
        return self.spent < self.limit


def pipelines(measures: Measures, aim: Aim, effort: Effort) -> list[Laid]:
    """The pipelines to make, best first; none: it does not fit."""
    if len(measures.layer_s) <= EXACT_DEVICES:
        return exact_pipelines(measures, aim, effort)
    return wide_pipelines(measures, aim, effort)


def ends(measures: Measures, free: Sequence[int]) -> tuple[int, int] | None:
    """The two ends by which these devices hold the most layers as one pipeline; None: nobody can be an end.

    With E and H as its ends a pipeline of all holds the sum of `middle`, and first[E] - middle[E] + last[H] - middle[H]
    more: so it is enough to look at the two best of each.
    """
    firsts, lasts = (
        sorted(
            (each for each in free if room[each] > 0),
            key=lambda each, room=room: (measures.middle[each] - room[each], each),  # type: ignore[misc]
        )[:2]
        for room in (measures.first, measures.last)
    )
    pairs = [(one, other) for one in firsts for other in lasts if one != other]
    lost = [
        measures.middle[one] - measures.first[one] + measures.middle[other] - measures.last[other]
        for one, other in pairs
    ]
    return pairs[lost.index(min(lost))] if pairs else None


def most_layers(measures: Measures, free: Sequence[int]) -> int:
    """How many layers the best pipeline over some of these devices can hold."""
    alone = max((measures.only[each] for each in free), default=0)
    pair = ends(measures, free)
    if pair is None or measures.num_layers < 2:  # every device of a pipeline holds a layer
        return alone
    between = sum(measures.middle[each] for each in free if each not in pair)
    return max(alone, measures.first[pair[0]] + measures.last[pair[1]] + between)


def exact_pipelines(measures: Measures, aim: Aim, effort: Effort) -> list[Laid]:
    """The best pipelines there are.

    one: the fastest; then the most tokens per second of one stream in each. many: the most tokens per second.
    """
    best = _best_of_sets(measures, aim, effort)
    if not best:
        return []
    num_sets = 1 << len(measures.layer_s)
    if aim == "one":
        fastest_s = min(each.token_s for each in best.values())
        best = {s: it for s, it in best.items() if it.token_s <= MAX_TIMES_SLOWER * fastest_s}
    rate = {members: 1 / each.key(aim)[0] for members, each in best.items()}
    most, chosen = _most_of_sets(rate, num_sets)
    everyone, taken = num_sets - 1, []
    if aim == "one":
        heads = [s for s in best if best[s].token_s <= fastest_s * _SAME]
        head = max(heads, key=lambda s: (most[everyone ^ s] + rate[s], -s))
        taken.append(head)
        everyone ^= head
    while everyone:
        members = chosen[everyone]
        if members in rate:
            taken.append(members)
        everyone ^= members
    return sorted((best[s] for s in taken), key=lambda each: each.key(aim))


def _best_of_sets(measures: Measures, aim: Aim, effort: Effort) -> dict[int, Laid]:
    """The best pipeline over exactly the devices of each set (bits); sets that do not fit are left out."""
    num = len(measures.layer_s)
    best: dict[int, Laid] = {}
    for start in range(num):
        for (members, _), order in _shortest_ways(measures, start, effort).items():
            laid = lay(measures, order, aim)
            effort.spent += len(order)
            if laid and (members not in best or laid.key(aim) < best[members].key(aim)):
                best[members] = laid
    return best


def _shortest_ways(
    measures: Measures, start: int, effort: Effort
) -> dict[tuple[int, int], tuple[int, ...]]:
    """(set, end) -> the order of least time from `start` through the set to `end`."""
    num = len(measures.layer_s)
    way: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {
        (1 << start, start): (0.0, (start,))
    }
    layer = dict(way)
    while layer:
        longer: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        for (members, at), (spent_s, order) in layer.items():
            for other in range(num):
                if members >> other & 1:
                    continue
                effort.spent += 1
                key = (members | 1 << other, other)
                found = (spent_s + measures.hop_s[at][other], (*order, other))
                if key not in longer or found < longer[key]:
                    longer[key] = found
        way.update(longer)
        layer = longer
    return {key: order for key, (_, order) in way.items()}


def _most_of_sets(rate: dict[int, float], num_sets: int) -> tuple[list[float], list[int]]:
    """For every set: the most that disjoint sets within it add up to, and which to take first (or which to drop)."""
    most, chosen = [0.0] * num_sets, [0] * num_sets
    for members in range(1, num_sets):
        lowest = members & -members
        most[members], chosen[members] = most[members ^ lowest], lowest
        part = members
        while part:
            if part & lowest and part in rate:
                whole = rate[part] + most[members ^ part]
                if whole > most[members] * _SAME:
                    most[members], chosen[members] = whole, part
            part = (part - 1) & members
    return most, chosen


def wide_pipelines(measures: Measures, aim: Aim, effort: Effort) -> list[Laid]:
    """Good pipelines over many devices, within the effort."""
    if aim == "one":
        return _one_by_one(measures, aim, lambda laid: laid.key("one"), effort)
    tried = []
    for number, score in enumerate((_fastest, _wasting_least(measures))):
        share = Effort((effort.limit - effort.spent) // (2 * (2 - number)))
        tried.append(_one_by_one(measures, aim, score, share))
        effort.spent += share.spent
    most = max(tried, key=rate)
    return _with_spares(measures, most, effort)


Score = Callable[[Laid], tuple[float, ...]]
"""What is to be least of the next pipeline."""


def rate(found: Sequence[Laid]) -> float:
    """Tokens per second when every stage is at work."""
    return sum(1 / each.pace_s for each in found)


def _fastest(laid: Laid) -> tuple[float, ...]:
    return laid.key("many")


def _wasting_least(measures: Measures) -> Score:
    """What its devices could do and do not: 1 / the share of their time that passes on layers."""
    return lambda laid: (
        round(laid.pace_s * sum(1 / measures.layer_s[each] for each in laid.order), 9),
        laid.token_s,
    )


def _one_by_one(measures: Measures, aim: Aim, score: Score, effort: Effort) -> list[Laid]:
    """The best pipeline over all devices, the best over those left, and so on."""
    free = list(range(len(measures.layer_s)))
    found: list[Laid] = []
    while most_layers(measures, free) >= measures.num_layers:
        share = Effort(max((effort.limit - effort.spent) // 2, 1))
        laid = _improved(measures, aim, free, score, share)
        effort.spent += share.spent
        if found and aim == "one" and laid.token_s > MAX_TIMES_SLOWER * found[0].token_s:
            break
        found.append(laid)
        free = [each for each in free if each not in laid.order]
    return sorted(found, key=lambda each: each.key(aim))


def _with_spares(measures: Measures, found: list[Laid], effort: Effort) -> list[Laid]:
    """Every spare put where it quickens the pool most; and devices moved from one pipeline to another."""
    better = True
    while better and effort.left:
        better, before = False, rate(found)
        for changed in _shared_otherwise(found, range(len(measures.layer_s))):
            effort.spent += sum(len(order) for order in changed.values())
            laid = {at: lay(measures, order, "many") for at, order in changed.items() if order}
            kept = [each for at, each in enumerate(found) if at not in changed]
            new = [*kept, *(each for each in laid.values() if each)]
            if None not in laid.values() and rate(new) > before * (1 + 1e-9):
                found, better = new, True
                break
            if not effort.left:
                break
    return sorted(found, key=lambda each: each.key("many"))


def _shared_otherwise(
    found: Sequence[Laid], everyone: Sequence[int]
) -> Iterator[dict[int, tuple[int, ...]]]:
    """Number of a pipeline -> its other order (none: it is dissolved), for every single move of a device."""
    used = {each: at for at, laid in enumerate(found) for each in laid.order}
    for each in everyone:
        home = used.get(each)
        less = {} if home is None else {home: tuple(e for e in found[home].order if e != each)}
        for at, laid in enumerate(found):
            if at == home:
                continue
            for place in range(len(laid.order) + 1):
                more = (*laid.order[:place], each, *laid.order[place:])
                yield less | {at: more}
                if home is not None and place < len(laid.order):
                    swapped = (*laid.order[:place], each, *laid.order[place + 1 :])
                    back = tuple(laid.order[place] if e == each else e for e in found[home].order)
                    yield {at: swapped, home: back}


def _improved(
    measures: Measures, aim: Aim, free: Sequence[int], score: Score, effort: Effort
) -> Laid:
    """The best of the beginnings, changed one device at a time as long as that helps."""

    def looked_at(order: Sequence[int]) -> Laid | None:
        effort.spent += len(order)
        return lay(measures, order, aim)

    begun = [laid for order in _beginnings(measures, free) if (laid := looked_at(order))]
    best = min(begun, key=score)
    better = True
    while better and effort.left:
        better = False
        for order in _changes(best.order, free):
            if not effort.left:
                break
            laid = looked_at(order)
            if laid and score(laid) < score(best):
                best, better = laid, True
                break
    return best


def _beginnings(measures: Measures, free: Sequence[int]) -> Iterator[list[int]]:
    """Every device alone; and between the ends that hold most the shortest part of some sorted lists that fits."""
    yield from ([each] for each in free if measures.only[each] >= measures.num_layers)
    gateway, most = len(measures.layer_s), ends(measures, free)
    if most is None or measures.num_layers < 2:
        return

    def with_way(each: int) -> float:
        return measures.layer_s[each] + measures.hop_s[gateway][each] / max(
            measures.middle[each], 1
        )

    def room(each: int) -> float:
        return -measures.middle[each]

    for key in (with_way, measures.layer_s.__getitem__, room):
        listed = sorted((each for each in free if measures.middle[each] > 0), key=key)
        pairs = [
            (next((e for e in listed if measures.first[e] > 0), -1), last)
            for last in [e for e in listed if measures.last[e] > 0][:2]
        ]
        for first, last in (*pairs, most):
            if first in (-1, last):
                continue
            held = measures.first[first] + measures.last[last]
            between: list[int] = []
            for each in listed:
                if held >= measures.num_layers:
                    break
                if each not in (first, last):
                    between.append(each)
                    held += measures.middle[each]
            yield [first, *between, last]


def _changes(order: tuple[int, ...], free: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """One device less; another in its place; two that change places; one more."""
    unused = [each for each in free if each not in order]
    for at in range(len(order)):
        if len(order) > 1:
            yield order[:at] + order[at + 1 :]
    for at in range(len(order)):
        for each in unused:
            yield (*order[:at], each, *order[at + 1 :])
    for at in range(len(order)):
        for to in range(at + 1, len(order)):
            changed = list(order)
            changed[at], changed[to] = changed[to], changed[at]
            yield tuple(changed)
    for at in range(len(order) + 1):
        for each in unused:
            yield (*order[:at], each, *order[at:])
