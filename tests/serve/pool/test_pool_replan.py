"""After a loss as many layers as possible stay where they are, and what can be served is served."""

from itertools import permutations
from random import Random

from archipel.serve.pool.plan import Device, Infeasible, Links, Plan, Range, Shape, plan
from archipel.serve.pool.replan import Replanned, moves, replan
from serve.pool.pools import check, cuts, feasible, fits, pool


def test_a_hole_is_filled_by_whoever_has_room_and_nothing_else_moves() -> None:
    shape = Shape(12, 10, 0, 0, 0)
    devices = [Device(name, 60, 1.0) for name in "abc"]
    ranges = (Range("a", 0, 4), Range("b", 4, 8), Range("c", 8, 12))
    before = Plan((ranges,), (12.0,), (4.0,), ())
    after = replan(before, {"b"}, shape, devices, Links())
    assert isinstance(after, Replanned)
    assert after.plan.pipelines == ((Range("a", 0, 6), Range("c", 6, 12)),)
    assert after.rebuilt == (Range("a", 4, 6), Range("c", 6, 8))
    assert after.kept == (Range("a", 0, 4), Range("c", 8, 12))
    spare = [*devices, Device("quick", 60, 0.1)]
    after = replan(before, {"b"}, shape, spare, Links())
    assert isinstance(after, Replanned)
    assert after.rebuilt == (Range("quick", 4, 8),)


def test_a_lost_end_is_taken_over_with_what_belongs_to_it() -> None:
    shape = Shape(4, 10, 25, 15, 0)
    ranges = (Range("a", 0, 2), Range("b", 2, 4))
    before = Plan((ranges,), (4.0,), (2.0,), ())
    a, b = Device("a", 45, 1.0), Device("b", 35, 1.0)
    too_small = replan(before, {"a"}, shape, [a, b], Links())
    assert isinstance(too_small, Infeasible)
    after = replan(before, {"a"}, shape, [a, b, Device("c", 50, 1.0)], Links())
    assert isinstance(after, Replanned)
    assert after.plan.pipelines == ((Range("c", 0, 2), Range("b", 2, 4)),)


def test_whole_pipelines_are_left_alone_and_a_broken_one_that_nothing_mends_is_given_up() -> None:
    shape = Shape(4, 10, 0, 0, 0)
    one, other = (Range("a", 0, 2), Range("b", 2, 4)), (Range("c", 0, 2), Range("d", 2, 4))
    before = Plan((one, other), (4.0, 4.0), (2.0, 2.0), ())
    devices = [Device(name, 20, 1.0) for name in "abcd"]
    after = replan(before, {"a"}, shape, devices, Links())
    assert isinstance(after, Replanned)
    assert after.plan.pipelines == (other,)
    assert after.plan.spare == ("b",)
    assert after.moved_layers == 0
    after = replan(before, {"a", "c"}, shape, devices, Links())
    assert isinstance(after, Replanned)
    assert after.moved_layers == 2, "two halves make one whole"


def test_every_loss_that_can_be_borne_is_and_nearly_as_little_moves_as_can() -> None:
    random, borne, least, moved = Random(11), 0, 0, 0
    for _ in range(150):
        shape, devices, links = pool(random, random.randint(2, 4), random.randint(2, 7))
        made = plan(shape, devices, links)
        if isinstance(made, Infeasible):
            continue
        lost = {random.choice(made.pipelines[0]).device}
        after = replan(made, lost, shape, devices, links)
        left = [each for each in devices if each.name not in lost]
        assert isinstance(after, Replanned) == feasible(shape, [d.memory_bytes for d in left])
        if isinstance(after, Infeasible):
            continue
        check(after.plan, shape, left, links)
        assert moves(made.pipelines, after.plan.pipelines)[0] == list(after.rebuilt)
        if len(made.pipelines) > 1:
            continue
        fewest = min(
            sum(
                1
                for name, layer in held(order, counts)
                if not any(
                    r.device == name and r.first <= layer < r.last for r in made.pipelines[0]
                )
            )
            for parts in range(1, min(len(left), shape.num_layers) + 1)
            for order in permutations(left, parts)
            for counts in cuts(shape.num_layers, parts)
            if fits(shape, order, counts)
        )
        assert after.moved_layers >= fewest
        borne, least, moved = borne + 1, least + fewest, moved + after.moved_layers
    assert borne > 20
    assert moved <= 1.1 * least


def held(order: tuple[Device, ...], counts: tuple[int, ...]) -> list[tuple[str, int]]:
    """(device, layer) of every layer."""
    names = [each.name for each, n in zip(order, counts, strict=True) for _ in range(n)]
    return list(zip(names, range(len(names)), strict=True))


def test_many_losses_at_once_and_large_pools_are_replanned_too() -> None:
    random = Random(12)
    for _ in range(25):
        shape, devices, links = pool(random, random.randint(6, 16), random.randint(8, 40))
        made = plan(shape, devices, links, max_effort=200)
        if isinstance(made, Infeasible):
            continue
        lost = {each.name for each in devices if random.random() < 0.3}
        after = replan(made, lost, shape, devices, links)
        left = [each for each in devices if each.name not in lost]
        assert isinstance(after, Replanned) == feasible(shape, [d.memory_bytes for d in left])
        if isinstance(after, Replanned):
            check(after.plan, shape, left, links)
            assert not lost & {each.device for each in after.rebuilt}
