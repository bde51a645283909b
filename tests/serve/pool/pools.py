"""Random pools, and slow second writings of what a planner says of them: every order, every cut."""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, permutations
from random import Random

from archipel.serve.pool.fitting import MAX_TIMES_SLOWER
from archipel.serve.pool.laying import Aim
from archipel.serve.pool.plan import GATEWAY, Device, Links, Plan, Shape


def pool(random: Random, num_devices: int, num_layers: int) -> tuple[Shape, list[Device], Links]:
    """One whose memory is now too little, now enough for several copies."""
    each = random.randint(1, 5)
    shape = Shape(
        num_layers,
        random.randint(1, 20),
        random.choice((0, random.randint(0, 60))),
        random.choice((0, random.randint(0, 60))),
        random.randint(0, 10),
        tied=random.random() < 0.3,
    )
    total = shape.num_layers * (shape.bytes_per_layer + shape.cache_bytes_per_layer)
    devices = [
        Device(
            f"d{at}",
            int(total * random.random() * each / num_devices) + random.randint(0, 60),
            random.choice((0.25, 0.5, 1.0, random.uniform(0.1, 2))),
            random.choice((0.0, random.random())),
            random.choice((0.0, random.random() / 4)),
        )
        for at in range(num_devices)
    ]
    names = [*(each.name for each in devices), GATEWAY]
    trips = {
        pair: random.choice((0.0, 1.0, random.uniform(0, 4)))
        for pair in combinations(names, 2)
        if random.random() < 0.8
    }
    return shape, devices, Links(trips, unknown_s=random.random())


def bytes_of(shape: Shape, count: int, *, first: bool, last: bool) -> int:
    """What so many layers and these ends take, added up one by one."""
    held = [shape.bytes_per_layer + shape.cache_bytes_per_layer] * count
    if first:
        held.append(shape.embed_bytes)
    if last:
        held.append(shape.head_bytes)
    if first and last and shape.tied:
        held.append(-min(shape.embed_bytes, shape.head_bytes))
    return sum(held)


def cuts(num_layers: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every way to give so many parts one layer or more."""
    for at in combinations(range(1, num_layers), parts - 1):
        ends = (0, *at, num_layers)
        yield tuple(b - a for a, b in pairwise(ends))


def fits(shape: Shape, order: Sequence[Device], counts: Sequence[int]) -> bool:
    return all(
        bytes_of(shape, n, first=at == 0, last=at == len(order) - 1) <= device.memory_bytes
        for at, (device, n) in enumerate(zip(order, counts, strict=True))
    )


def times(
    shape: Shape, order: Sequence[Device], counts: Sequence[int], links: Links
) -> tuple[float, float]:
    """(seconds of a stream's token, of the slowest stage)."""
    stages = [n * device.seconds_per_layer for device, n in zip(order, counts, strict=True)]
    stages[0] += order[0].seconds_embed
    stages[-1] += order[-1].seconds_head
    way = [GATEWAY, *(each.name for each in order), GATEWAY]
    return sum(stages) + sum(map(links.one_way_s, way, way[1:])), max(stages)


def best_of_all(
    shape: Shape, devices: Sequence[Device], links: Links, aim: Aim
) -> dict[frozenset[str], tuple[float, float]]:
    """Set of devices -> the least of the aim's seconds over all orders and cuts, with the other's."""
    best: dict[frozenset[str], tuple[float, float]] = {}
    for parts in range(1, min(len(devices), shape.num_layers) + 1):
        for order in permutations(devices, parts):
            for counts in cuts(shape.num_layers, parts):
                if fits(shape, order, counts):
                    token_s, pace_s = times(shape, order, counts, links)
                    told = (token_s, pace_s) if aim == "one" else (pace_s, token_s)
                    members = frozenset(each.name for each in order)
                    best[members] = min(told, best.get(members, told))
    return best


def most_rate(
    best: dict[frozenset[str], tuple[float, float]], within: frozenset[str], limit_s: float
) -> float:
    """The most that disjoint pipelines give, by trying all."""
    return max(
        (
            1 / told[0] + most_rate(best, within - members, limit_s)
            for members, told in best.items()
            if members <= within and told[0] <= limit_s
        ),
        default=0.0,
    )


def feasible(shape: Shape, memory: Sequence[int]) -> bool:
    """Whether some pipeline fits, by filling each pair of ends and everybody between them."""
    if any(bytes_of(shape, shape.num_layers, first=True, last=True) <= held for held in memory):
        return True
    if shape.num_layers < 2:
        return False

    def most(held: int, *, first: bool = False, last: bool = False) -> int:
        count = 0
        while (
            count < shape.num_layers and bytes_of(shape, count + 1, first=first, last=last) <= held
        ):
            count += 1
        return count

    for one, other in permutations(range(len(memory)), 2):
        begin, end = most(memory[one], first=True), most(memory[other], last=True)
        rest = sum(most(m) for at, m in enumerate(memory) if at not in (one, other))
        if begin and end and begin + end + rest >= shape.num_layers:
            return True
    return False


def check(plan: Plan, shape: Shape, devices: Sequence[Device], links: Links) -> None:
    """That a plan is one: ranges in order, all layers, devices once, within memory, and the times it says."""
    by_name = {each.name: each for each in devices}
    used = [each.device for pipeline in plan.pipelines for each in pipeline]
    assert sorted([*used, *plan.spare]) == sorted(by_name)
    for pipeline, token_s, pace_s in zip(
        plan.pipelines, plan.seconds_per_token, plan.pace_s, strict=True
    ):
        ends = [0, *(each.last for each in pipeline)]
        assert [each.first for each in pipeline] == ends[:-1]
        assert ends[-1] == shape.num_layers
        counts, order = [len(each) for each in pipeline], [by_name[r.device] for r in pipeline]
        assert min(counts) >= 1
        assert fits(shape, order, counts)
        told = times(shape, order, counts, links)
        assert abs(told[0] - token_s) < 1e-9
        assert abs(told[1] - pace_s) < 1e-9


def within(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-9 * max(1.0, abs(one))


SLOWEST = MAX_TIMES_SLOWER
