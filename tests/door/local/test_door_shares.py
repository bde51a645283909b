"""Whose turn it is: everybody gets what its share gives, whoever else waits."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.door.local.shares import Shares

weights = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9), min_size=2)
costs = st.lists(st.integers(1, 50), min_size=20, max_size=40)


@settings(max_examples=40)
@given(weights, costs)
def test_of_two_that_always_wait_neither_is_ahead_by_more_than_a_grant_of_each(
    waiting: dict[str, int], asked: list[int]
) -> None:
    shares, got = Shares[str](), dict.fromkeys(waiting, 0)
    for cost in asked:
        party = shares.next(waiting)
        shares.charge(party, waiting[party], cost)
        got[party] += cost
        passed = {each: Fraction(got[each], waiting[each]) for each in waiting}
        bound = {each: Fraction(50, waiting[each]) for each in waiting}
        for one in waiting:
            for other in waiting:
                ahead = passed[one] - passed[other]
                assert ahead <= bound[one] + bound[other] + Fraction(1, 10**6)


@settings(max_examples=40)
@given(weights, costs, st.integers(1, 9))
def test_who_comes_later_is_served_at_once_and_has_nothing_saved_up(
    waiting: dict[str, int], asked: list[int], weight: int
) -> None:
    shares = Shares[str]()
    for cost in asked:
        party = shares.next(waiting)
        shares.charge(party, waiting[party], cost)
    late = {**waiting, "late": weight}
    served = []
    for _ in range(len(waiting) * 10 + 1):
        party = shares.next(late)
        served.append(party)
        shares.charge(party, late[party], 1)
    # Others may have been granted 50 tokens just before; beyond that nobody waits for the newcomer either.
    assert "late" in served[: len(waiting) + 1]
    own = served.count("late") / weight
    for each in waiting:
        assert own <= served.count(each) / waiting[each] + 51


def test_a_heavy_party_does_not_keep_a_light_one_waiting() -> None:
    shares, waiting = Shares[str](), {"heavy": 1, "light": 1}
    order = []
    for _ in range(20):
        party = shares.next(waiting)
        order.append(party)
        shares.charge(party, 1, 1000 if party == "heavy" else 1)
    assert order.count("light") >= 18
