"""Good pipelines over many devices, within a bounded effort.

They are taken one after the other, each begun from several sorted lists and improved by single changes until none
helps or the effort is spent; for many streams devices then change places between them. A first pipeline is found
whenever one exists (`fitting.ends`).
"""

from collections.abc import Callable, Iterator, Sequence

from archipel.serve.pool.fitting import MAX_TIMES_SLOWER, Effort, ends, most_layers
from archipel.serve.pool.laying import Aim, Laid, Measures, lay

_ENDS = 3
"""How many first and last devices of every sorted list a pipeline is begun with."""
_CLIMBS = 12
"""How many beginnings are improved."""


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
            effort.spent += len(found) + sum(len(order) for order in changed.values())
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

    orders = dict.fromkeys(map(tuple, _beginnings(measures, free)))
    begun = sorted((laid for order in orders if (laid := looked_at(order))), key=score)
    best = begun[0]
    for at, beginning in enumerate(begun):  # one that begins worse may end better
        climbed = _climbed(beginning, free, score, looked_at, effort)
        best = min(best, climbed, key=score)
        if not effort.left or at >= _CLIMBS:
            break
    return best


def _climbed(
    laid: Laid,
    free: Sequence[int],
    score: Score,
    looked_at: Callable[[Sequence[int]], Laid | None],
    effort: Effort,
) -> Laid:
    """Changed as long as a change helps."""
    better = True
    while better:
        better = False
        for order in _changes(laid.order, free):
            if not effort.left:
                break
            other = looked_at(order)
            if other and score(other) < score(laid):
                laid, better = other, True
                break
    return laid


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
        firsts = [each for each in listed if measures.first[each] > 0][:_ENDS]
        lasts = [each for each in listed if measures.last[each] > 0][:_ENDS]
        pairs = [(first, last) for first in firsts for last in lasts]
        for first, last in dict.fromkeys((*pairs, most)):
            if first == last:
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
    """One device less; another in its place; one more; the same in another order."""
    unused = [each for each in free if each not in order]
    for at in range(len(order)):
        if len(order) > 1:
            yield order[:at] + order[at + 1 :]
    for at in range(len(order)):
        for each in unused:
            yield (*order[:at], each, *order[at + 1 :])
    for at in range(len(order) + 1):
        for each in unused:
            yield (*order[:at], each, *order[at:])
    yield from _reordered(order)


def _reordered(order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Two that change places; all the other way round; one elsewhere."""
    for at in range(len(order)):
        for to in range(at + 1, len(order)):
            changed = list(order)
            changed[at], changed[to] = changed[to], changed[at]
            yield tuple(changed)
    yield order[::-1]
    for at in range(len(order)):
        rest = order[:at] + order[at + 1 :]
        for to in range(len(order)):
            yield (*rest[:to], order[at], *rest[to:])
