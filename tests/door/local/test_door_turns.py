"""Which operations make up a cycle: in order, by shares, within the tokens that it may have."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, cast

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.door.hands import Turn
from archipel.door.local.turns import Turns, Waiting, cost_of
from archipel.training.tenants.operations import Datum, ForwardBackward, Operation, OptimStep


def of_tokens(num: int) -> Operation:
    """A step for 0."""
    if not num:
        return OptimStep(1e-3)
    return ForwardBackward((Datum(np.zeros(num, dtype=np.int32), {}),), "cross_entropy")


def waiting(model: str, tenant: str, tokens: Sequence[int], share: int = 1) -> Waiting:
    turn = Turn(model, tenant, share, tuple(of_tokens(each) for each in tokens))
    return Waiting(turn, cast(Any, None), Future())


sizes = st.lists(st.integers(0, 40), min_size=1, max_size=8)
asked = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 4), sizes), min_size=1, max_size=8
)


@settings(max_examples=60)
@given(asked, st.integers(1, 60))
def test_every_operation_is_given_once_in_its_order_and_no_cycle_is_too_long(
    all_of: list[tuple[str, int, list[int]]], most: int
) -> None:
    turns, held = Turns(), []
    for number, (tenant, share, tokens) in enumerate(all_of):
        held.append(waiting(str(number), tenant, tokens, share))
        turns.put(held[-1])
    got: dict[Waiting, list[Operation]] = {each: [] for each in held}
    while len(turns):
        cycle = turns.next(most)
        assert cycle, "whoever waits is given something"
        costs = [cost_of(each) for one in cycle for each in one.operations]
        assert sum(costs) <= most or len(costs) == 1
        assert len({one.waiting for one in cycle}) == len(cycle)
        for one in cycle:
            got[one.waiting] += one.operations
    for each, operations in got.items():
        assert tuple(operations) == each.turn.operations


def test_a_light_tenant_is_in_the_next_cycle_however_much_a_heavy_one_waits_with() -> None:
    turns = Turns()
    for number in range(50):
        turns.put(waiting(f"heavy{number}", "heavy", [100] * 10))
    turns.next(400)
    light = waiting("light", "light", [100])
    turns.put(light)
    assert light in [each.waiting for each in turns.next(400)]


def test_tokens_go_by_shares() -> None:
    turns, got = Turns(), {"a": 0, "b": 0}
    turns.put(waiting("1", "a", [10] * 400, share=3))
    turns.put(waiting("2", "b", [10] * 400, share=1))
    for _ in range(20):
        for each in turns.next(40):
            got[each.waiting.turn.tenant] += 10 * len(each.operations)
    assert got["a"] == 600
    assert got["b"] == 200


def test_who_made_a_cycle_fail_and_who_was_beside_it_are_alone_in_their_next_ones() -> None:
    turns = Turns()
    turns.alone = {"1", "2"}
    held = [waiting(str(number), f"t{number}", [5, 5]) for number in range(4)]
    for each in held:
        turns.put(each)
    while len(turns):
        models = [each.waiting.turn.model for each in turns.next(100)]
        assert len(models) == 1 or not set(models) & turns.alone


def test_who_left_is_given_nothing_more() -> None:
    turns = Turns()
    one, other = waiting("1", "a", [5] * 3), waiting("2", "a", [5])
    turns.put(one)
    turns.put(other)
    turns.next(5)
    one.has_left = True
    assert [each.waiting for each in turns.next(100)] == [other]
    assert not len(turns)
