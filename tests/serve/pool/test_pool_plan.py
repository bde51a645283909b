"""A pool's plan exists whenever one can, is the best one where all can be looked at, and costs little to find."""

from dataclasses import replace
from itertools import permutations
from random import Random

import pytest

from archipel.serve.pool.fitting import MAX_EFFORT, Effort
from archipel.serve.pool.laying import Aim, lay
from archipel.serve.pool.narrow import narrow_pipelines
from archipel.serve.pool.plan import (
    GATEWAY,
    Device,
    Infeasible,
    Links,
    Plan,
    Range,
    Shape,
    measures_of,
    plan,
)
from archipel.serve.pool.wide import wide_pipelines
from serve.pool.pools import (
    SLOWEST,
    best_of_all,
    check,
    cuts,
    feasible,
    fits,
    most_rate,
    pool,
    times,
    within,
)


@pytest.mark.parametrize("aim", ["one", "many"])
@pytest.mark.parametrize(
    ("num_pools", "effort"), [(150, 400), pytest.param(2000, 400, marks=pytest.mark.slow)]
)
def test_no_feasible_pool_is_refused_and_no_infeasible_one_planned(
    aim: Aim, num_pools: int, effort: int
) -> None:
    random, planned = Random(num_pools), 0
    for _ in range(num_pools):
        num_devices = random.choice((1, 2, 3, 4, 5, 9, 10, 12, 20))
        shape, devices, links = pool(random, num_devices, random.randint(1, 40))
        made = plan(shape, devices, links, aim, effort)
        assert isinstance(made, Plan) == feasible(shape, [d.memory_bytes for d in devices])
        if isinstance(made, Plan):
            check(made, shape, devices, links)
            planned += 1
    assert num_pools / 4 < planned < num_pools


def test_the_oracle_of_feasibility_agrees_with_trying_everything() -> None:
    random = Random(2)
    for _ in range(200):
        shape, devices, links = pool(random, random.randint(1, 4), random.randint(1, 7))
        everything = bool(best_of_all(shape, devices, links, "one"))
        assert everything == feasible(shape, [d.memory_bytes for d in devices])


@pytest.mark.parametrize("aim", ["one", "many"])
def test_a_small_pools_plan_is_the_best_of_all(aim: Aim) -> None:
    random = Random(3)
    for _ in range(60):
        shape, devices, links = pool(random, random.randint(1, 4), random.randint(1, 7))
        made, best = plan(shape, devices, links, aim), best_of_all(shape, devices, links, aim)
        if isinstance(made, Infeasible):
            assert not best
            continue
        told = made.seconds_per_token if aim == "one" else made.pace_s
        least_s = min(each[0] for each in best.values())
        limit_s, everyone = float("inf"), frozenset(each.name for each in devices)
        most = most_rate(best, everyone, limit_s)
        if aim == "one":
            assert within(told[0], least_s)
            limit_s = SLOWEST * least_s
            most = max(
                1 / it[0] + most_rate(best, everyone - members, limit_s)
                for members, it in best.items()
                if within(it[0], least_s)
            )
        assert within(sum(1 / each for each in told), most)


@pytest.mark.parametrize("aim", ["one", "many"])
def test_the_search_of_large_pools_loses_little_on_small_ones(aim: Aim) -> None:
    random, worst, lost, num = Random(4), 1.0, 0.0, 0
    for _ in range(40):
        shape, devices, links = pool(random, random.randint(4, 6), random.randint(4, 24))
        measures = measures_of(shape, devices, links)
        best = narrow_pipelines(measures, aim, Effort())
        found = wide_pipelines(measures, aim, Effort(4000))
        assert bool(best) == bool(found)
        if best and aim == "one":
            ratio = found[0].token_s / best[0].token_s
        elif best:
            ratio = sum(1 / it.pace_s for it in best) / sum(1 / it.pace_s for it in found)
        else:
            continue
        worst, lost, num = max(worst, ratio), lost + ratio - 1, num + 1
    assert worst < (1.05 if aim == "one" else 1.3)
    assert lost / num < (0.003 if aim == "one" else 0.03)


@pytest.mark.parametrize("aim", ["one", "many"])
def test_sixty_four_devices_cost_no_more_than_the_effort_allowed(aim: Aim) -> None:
    random = Random(5)
    shape = Shape(96, 1000, 2000, 2000, 100)
    devices = [
        Device(f"d{at}", int(random.uniform(5, 20) * 1100) + 2000, random.uniform(0.1, 1))
        for at in range(64)
    ]
    trips = {(each.name, GATEWAY): random.uniform(0, 2) for each in devices}
    made = plan(shape, devices, Links(trips), aim)
    assert isinstance(made, Plan)
    check(made, shape, devices, Links(trips))
    assert made.effort <= MAX_EFFORT * 1.2


def test_the_published_planners_smallest_failure_is_planned() -> None:
    """Pools of 5, 13, 10, 4 and 10 layers for a model of 24: the notes' smallest example."""
    devices = [Device(f"d{at}", n * 10, 1.0) for at, n in enumerate((5, 13, 10, 4, 10))]
    made = plan(Shape(24, 10, 10, 10, 0), devices)
    assert isinstance(made, Plan)
    check(made, Shape(24, 10, 10, 10, 0), devices, Links())


def test_a_device_that_only_slows_a_stream_is_left_out() -> None:
    shape = Shape(10, 10, 0, 0, 0)
    fast, slow = Device("fast", 100, 1.0), Device("slow", 90, 1.5)
    made = plan(shape, [slow, fast], Links({("fast", GATEWAY): 0.1, ("slow", GATEWAY): 0.1}))
    assert isinstance(made, Plan)
    assert made.pipelines == ((Range("fast", 0, 10),),)
    assert made.spare == ("slow",)


def test_a_far_device_is_no_use_however_fast() -> None:
    shape = Shape(10, 10, 0, 0, 0)
    devices = [Device("near", 100, 1.0), Device("far", 100, 0.5)]
    near = plan(shape, devices, Links({("far", GATEWAY): 6.0, ("near", GATEWAY): 0.0}))
    assert isinstance(near, Plan)
    assert near.pipelines[0] == (Range("near", 0, 10),)
    nearer = plan(shape, devices, Links({("far", GATEWAY): 4.0, ("near", GATEWAY): 0.0}))
    assert isinstance(nearer, Plan)
    assert nearer.pipelines[0] == (Range("far", 0, 10),)


def test_many_streams_pour_layers_like_water() -> None:
    shape = Shape(12, 10, 0, 0, 0)
    devices = [Device("a", 80, 1.0), Device("b", 80, 2.0), Device("c", 20, 1.0)]
    made = plan(shape, devices, aim="many")
    assert isinstance(made, Plan)
    assert {each.device: len(each) for each in made.pipelines[0]} == {"a": 7, "b": 3, "c": 2}
    assert made.pace_s == (7.0,)


def test_ends_stand_where_they_fit_and_with_their_time() -> None:
    shape = Shape(4, 10, 30, 20, 0)
    devices = [Device("a", 40, 1.0), Device("b", 60, 1.0), Device("c", 20, 1.0)]
    made = plan(shape, devices)
    assert isinstance(made, Plan)
    assert made.pipelines == ((Range("b", 0, 3), Range("a", 3, 4)),) or made.pipelines[0][
        0
    ].device in ("a", "b")
    check(made, shape, devices, Links())
    tied = replace(shape, tied=True, head_bytes=30)
    alone = plan(tied, [Device("one", 70, 1.0)])
    assert isinstance(alone, Plan)
    assert isinstance(plan(replace(tied, tied=False), [Device("one", 70, 1.0)]), Infeasible)


def test_what_does_not_fit_says_how_much_is_missing_and_what_would() -> None:
    random, seen = Random(6), 0
    while seen < 60:
        shape, devices, links = pool(random, random.randint(1, 5), random.randint(1, 12))
        made = plan(shape, devices, links)
        if isinstance(made, Plan):
            continue
        seen += 1
        memory = [each.memory_bytes for each in devices]

        def with_more(short: int, memory: list[int] = memory, shape: Shape = shape) -> bool:
            return any(
                feasible(shape, [held + short * (at == place) for at, held in enumerate(memory)])
                for place in range(len(memory))
            )

        assert with_more(made.missing_bytes)
        assert not with_more(made.missing_bytes - 1)
        cache = made.fits_cache_bytes_per_layer
        if cache is None:
            assert not feasible(replace(shape, cache_bytes_per_layer=0), memory)
        else:
            assert feasible(replace(shape, cache_bytes_per_layer=cache), memory)
            assert not feasible(replace(shape, cache_bytes_per_layer=cache + 1), memory)
        assert str(made.missing_bytes) in made.why


def test_no_device_at_all_is_a_sentence_too() -> None:
    made = plan(Shape(2, 10, 5, 5, 1), [])
    assert isinstance(made, Infeasible)
    assert made.missing_bytes == 32


@pytest.mark.parametrize(
    "devices",
    [
        [Device("a", 1, 1.0), Device("a", 1, 1.0)],
        [Device("", 1, 1.0)],
        [Device("a", 1, 0.0)],
        [Device("a", 1, float("nan"))],
        [Device("a", 1, 1.0, -1.0)],
    ],
)
def test_figures_that_nothing_measured_are_refused(devices: list[Device]) -> None:
    with pytest.raises(ValueError, match="got"):
        plan(Shape(1, 1, 0, 0, 0), devices)


def test_the_order_of_the_devices_given_changes_no_time() -> None:
    random = Random(7)
    shape, devices, links = pool(random, 4, 12)
    told = set()
    for order in permutations(devices):
        made = plan(shape, order, links)
        told.add(round(made.seconds_per_token[0], 9) if isinstance(made, Plan) else None)
    assert len(told) == 1


@pytest.mark.parametrize("aim", ["one", "many"])
def test_layers_are_laid_over_an_order_as_the_best_of_all_cuts(aim: Aim) -> None:
    random, laid_out = Random(9), 0
    for _ in range(300):
        shape, devices, links = pool(random, random.randint(1, 4), random.randint(1, 8))
        made = lay(measures_of(shape, devices, links), range(len(devices)), aim)
        told = [
            times(shape, devices, counts, links)
            for counts in cuts(shape.num_layers, len(devices))
            if fits(shape, devices, counts)
        ]
        assert (made is None) == (not told)
        if made is None:
            continue
        laid_out += 1
        token_s, pace_s = min(told, key=lambda each: each if aim == "one" else each[::-1])
        if aim == "one":
            assert within(made.token_s, token_s)
        else:
            assert within(made.pace_s, pace_s)
            assert made.token_s <= min(t for t, p in told if within(p, pace_s)) + 1e-9
    assert laid_out > 50


def test_a_pipeline_needs_room_for_a_layer_on_each_device() -> None:
    shape, devices, _ = pool(Random(8), 3, 2)
    assert lay(measures_of(shape, devices, Links()), (0, 1, 2), "one") is None
