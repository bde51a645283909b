"""The best pipelines over few devices: all of them are looked at.

What a pipeline can hold depends on its set of devices and on its two ends, and the time on the wires on the order
between them, so both are found apart (the order by Held and Karp's recursion, 1962); the pipelines are then the best
disjoint sets.
"""

from archipel.serve.pool.fitting import MAX_TIMES_SLOWER, Effort
from archipel.serve.pool.laying import Aim, Laid, Measures, lay

_SAME = 1 + 1e-12


def narrow_pipelines(measures: Measures, aim: Aim, effort: Effort) -> list[Laid]:
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
    frontier = dict(way)
    while frontier:
        longer: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        for (members, at), (spent_s, order) in frontier.items():
            for other in range(num):
                if members >> other & 1:
                    continue
                effort.spent += 1
                key = (members | 1 << other, other)
                found = (spent_s + measures.hop_s[at][other], (*order, other))
                if key not in longer or found < longer[key]:
                    longer[key] = found
        way.update(longer)
        frontier = longer
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
