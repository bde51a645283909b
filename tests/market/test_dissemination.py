"""How a blob is spread: the plan is what a simulated spread takes, and never slower than the lab alone."""

import random

import pytest

from archipel.market.dissemination import (
    BETTER_PERMILLE,
    MAX_HOPS,
    CannotSpread,
    Plan,
    Shape,
    plan,
    slots,
)

MB = 2**20
CHUNK = 256 * 1024


def drawn(seed: int) -> tuple[int, int, int, list[int], int]:
    """(size, chunk, lab's uplink, nodes' uplinks, number of nodes)."""
    chance = random.Random(seed)
    num = chance.randint(1, 60)
    uplinks = [int(10 ** chance.uniform(4, 7.5)) for _ in range(chance.randint(0, num))]
    return chance.randint(MB, 64 * MB), CHUNK, int(10 ** chance.uniform(5, 8)), uplinks, num


def spread(made: Plan, size: int, chunk: int, lab: int, uplinks: list[int], num: int) -> float:
    """Seconds of a spread by this plan, event by event: each source gives each child its uplink over its children."""
    rate = made.chosen.rate
    waiting = [*sorted(uplinks, reverse=True), *[0] * (num - len(uplinks))]
    num_chunks = -(-size // chunk)
    first = [(index + 1) * 0.0 for index in range(num_chunks)]
    rank = [(lab, first)]
    last = 0.0
    while waiting:
        below: list[tuple[int, list[float]]] = []
        for uplink, has in rank:
            free = slots(uplink, rate) if made.chosen.shape is not Shape.STAR else num
            taken, waiting = waiting[:free], waiting[free:]
            for child in taken:
                at, came = 0.0, []
                for index, ready in enumerate(has):
                    part = min(chunk, size - index * chunk)
                    at = max(at, ready) + part * len(taken) / uplink
                    came.append(at)
                last = max(last, at)
                below.append((child, came))
        assert below or not waiting, "somebody found no slot"
        rank = sorted(below, key=lambda each: -each[0])
    return last


@pytest.mark.parametrize("seed", range(12))
def test_a_spread_by_the_plan_ends_when_it_says(seed: int) -> None:
    given = drawn(seed)
    made = plan(*given)
    took_s = spread(made, *given)
    assert took_s * 1000 <= made.chosen.tail_ms * 1.001 + 1
    assert made.chosen.depth <= MAX_HOPS


@pytest.mark.parametrize("seed", range(12))
def test_the_simplest_shape_that_is_nearly_the_fastest_is_taken(seed: int) -> None:
    made = plan(*drawn(seed))
    assert made.ways[0].shape is Shape.STAR
    assert made.chosen.tail_ms <= made.ways[0].tail_ms
    place = made.ways.index(made.chosen)
    for simpler in made.ways[:place]:
        assert made.chosen.tail_ms * 1000 <= simpler.tail_ms * BETTER_PERMILLE


def test_shapes_follow_uplinks() -> None:
    def shape(lab: int, uplinks: list[int], num: int) -> Shape:
        return plan(16 * MB, CHUNK, lab, uplinks, num).chosen.shape

    assert shape(2 * MB, [], 16) is Shape.STAR
    assert shape(2 * MB, [2 * MB] * 16, 16) is Shape.TREE
    assert shape(2 * MB, [64 * MB], 16) is Shape.MIRRORS
    assert shape(200 * MB, [MB] * 16, 16) is Shape.STAR
    assert shape(2 * MB, [2 * MB], 1) is Shape.STAR


def test_the_labs_egress_falls_with_a_tree() -> None:
    made = plan(16 * MB, CHUNK, 2 * MB, [2 * MB] * 16, 16)
    assert made.chosen.first_rank <= 2 < made.ways[0].first_rank == 16
    assert made.chosen.tail_ms * 5 < made.ways[0].tail_ms


def test_ten_thousand_nodes_are_planned_at_once() -> None:
    made = plan(2**30, 4 * MB, 125 * MB, [10**6 + 37 * each for each in range(8000)], 10_000)
    assert made.chosen.tail_ms < made.ways[0].tail_ms


@pytest.mark.parametrize(
    "given",
    [(0, 1, 1, [], 1), (1, 0, 1, [], 1), (1, 1, 0, [], 1), (1, 1, 1, [0], 1), (1, 1, 1, [], 0)],
)
def test_absurd_figures_are_refused(given: tuple[int, int, int, list[int], int]) -> None:
    with pytest.raises(CannotSpread, match="expected"):
        plan(*given)
    with pytest.raises(CannotSpread, match="no more that serve"):
        plan(1, 1, 1, [1, 1], 1)
