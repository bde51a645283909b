"""Whose pieces make up a pass: in order, by shares, within the rows that it may have."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.door.hands import Turn
from archipel.door.local.turns import Turns, Waiting
from archipel.training.tenants.operations import Outcome


class Pieces:
    """A turn of which nothing but the sizes of its pieces is known."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.left = list(sizes)
        self.outcomes: list[Outcome] = []


def waiting(model: str, tenant: str, sizes: Sequence[int], share: int = 1) -> Waiting:
    return Waiting(Turn(model, tenant, share, ()), Pieces(sizes), Future())


def ready(one: Waiting) -> int:
    left = cast(Any, one.going).left
    return left[0] if left else 0


def passes(turns: Turns, most: int, told: Callable[[list[Waiting]], None] = lambda _: None) -> int:
    """Until nothing waits; how many there were."""
    for number in range(10_000):
        if not len(turns):
            return number
        chosen = turns.next(ready, most)
        told(chosen)
        for each in chosen:
            cast(Any, each.going).left.pop(0)
            each.rows = None
    raise AssertionError("somebody waits forever")


sizes = st.lists(st.integers(1, 40), min_size=0, max_size=6)
asked = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 4), sizes), min_size=1, max_size=8
)


@settings(max_examples=60)
@given(asked, st.integers(1, 60))
def test_every_piece_passes_once_and_no_pass_is_too_long(
    all_of: list[tuple[str, int, list[int]]], most: int
) -> None:
    turns = Turns()
    held = [waiting(str(n), *each[::2], share=each[1]) for n, each in enumerate(all_of)]
    for each in held:
        turns.put(each)

    def look(chosen: list[Waiting]) -> None:
        assert len(set(chosen)) == len(chosen)
        assert sum(each.rows or 0 for each in chosen) <= most or len(chosen) == 1

    passes(turns, most, look)
    assert all(not cast(Any, each.going).left for each in held)


def test_a_light_tenant_is_in_the_next_pass_however_much_a_heavy_one_waits_with() -> None:
    turns = Turns()
    for number in range(50):
        turns.put(waiting(f"heavy{number}", "heavy", [100] * 10))
    for each in turns.next(ready, 400):
        each.rows = None
    light = waiting("light", "light", [100])
    turns.put(light)
    assert light in turns.next(ready, 400)


def test_rows_go_by_shares() -> None:
    turns, got = Turns(), {"a": 0, "b": 0}
    for number in range(4):
        turns.put(waiting(f"a{number}", "a", [64] * 400, share=3))
        turns.put(waiting(f"b{number}", "b", [64] * 400, share=1))
    for _ in range(30):
        for each in turns.next(ready, 320):
            got[each.turn.tenant] += 64
            each.rows = None
    assert 2.8 < got["a"] / got["b"] < 3.2


def test_who_made_a_pass_fail_and_who_was_beside_it_are_alone_in_their_next_ones() -> None:
    turns = Turns()
    turns.alone = {"1", "2"}
    for number in range(4):
        turns.put(waiting(str(number), f"t{number}", [5, 5]))

    def look(chosen: list[Waiting]) -> None:
        models = {each.turn.model for each in chosen}
        assert len(models) == 1 or not models & turns.alone

    assert passes(turns, 1000, look) >= 4


def test_who_left_is_given_nothing_more() -> None:
    turns = Turns()
    one, other = waiting("1", "a", [5] * 3), waiting("2", "b", [5])
    turns.put(one)
    turns.put(other)
    turns.next(ready, 5)
    one.has_left = True
    assert turns.next(ready, 100) == [other]
    assert len(turns) == 1
