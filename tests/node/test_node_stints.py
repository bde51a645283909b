"""How a machine's time is divided among labs: the laws of the pure account, over any sequence."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archipel.node.stints import (
    Division,
    Floor,
    Place,
    agreed,
    away_s,
    came,
    next_of,
    passed,
    spent,
)

WEIGHTS = st.lists(st.sampled_from([0.5, 1.0, 2.0, 7.0, 90.0]), min_size=1, max_size=8)
LENGTHS = st.lists(st.sampled_from([0.01, 0.3, 1.0, 4.0]), min_size=1, max_size=40)


def _opened(weights: list[float], floors: dict[str, float] | None = None) -> Division:
    return agreed(Division(), {f"lab{n}": each for n, each in enumerate(weights)}, floors or {})


def _served(
    known: Division,
    lengths: list[float],
    serves: Callable[[str], tuple[str, ...]] = lambda lab: (),
) -> list[Division]:
    """Every account on the way, with all labs always at the door."""
    told = []
    for length in lengths:
        waiting = {lab: serves(lab) for lab in known.places}
        for lab in waiting:
            known = came(known, lab)
        turn = next_of(known, waiting)
        assert turn is not None
        known = spent(known, turn.lab, length, waiting, serves(turn.lab))
        told.append(known)
    return told


@settings(max_examples=50, deadline=None)
@given(WEIGHTS, LENGTHS, st.booleans())
@example(
    [90.0, *[1.0] * 7], [1.0] * 40, True
)  # the heavy one must not run ahead, nor wait for all others
def test_a_lab_that_always_has_work_gets_its_weights_share_within_one_longest_stint(
    weights: list[float], lengths: list[float], is_known: bool
) -> None:
    known = replace(_opened(weights), longest_s=max(lengths) if is_known else 0.0)
    for after in _served(known, lengths):
        total_s = sum(each.spent_s for each in after.places.values())
        for place in after.places.values():
            share = place.weight / sum(weights)
            longest_s = after.longest_s * (1 if is_known else 2)
            assert abs(share * total_s - place.spent_s) <= longest_s + 1e-6


@settings(max_examples=40, deadline=None)
@given(WEIGHTS, LENGTHS, st.lists(st.integers(1, 20), min_size=3, max_size=3))
def test_a_pledge_is_kept_within_one_longest_stint_for_each_whatever_the_weights_say(
    weights: list[float], lengths: list[float], parts: list[int]
) -> None:
    floors = {f"pledge{n}": part / 60 for n, part in enumerate(parts)}
    known = _opened([*weights, 1.0, 1.0, 1.0], floors)
    pledged = dict(zip([*known.places][-3:], floors, strict=True))
    for after in _served(known, lengths, lambda lab: (pledged[lab],) if lab in pledged else ()):
        total_s = sum(each.spent_s for each in after.places.values())
        for floor in after.floors.values():
            assert floor.given_s >= floor.share * total_s - len(floors) * after.longest_s - 1e-6


def test_a_floor_gives_no_more_than_it_says_where_the_weight_asks_for_less() -> None:
    known = _opened([99.0, 1.0], {"p": 0.25})
    after = _served(known, [1.0] * 400, lambda lab: ("p",) if lab == "lab1" else ())[-1]
    assert after.places["lab1"].spent_s == pytest.approx(100, abs=2)


def test_a_lab_without_work_yields_and_catches_up_with_nothing() -> None:
    known = _opened([1.0, 1.0])
    for _ in range(50):
        known = spent(came(known, "lab0"), "lab0", 1.0, {"lab0": ()})
    for after in _served(known, [1.0] * 20)[1::2]:
        assert after.places["lab1"].spent_s == pytest.approx(
            after.places["lab0"].spent_s - 50, abs=1
        )


def test_what_nobody_asks_for_is_not_owed_to_a_pledge() -> None:
    known = _opened([1.0, 1.0], {"p": 0.5})
    for _ in range(50):
        known = spent(came(known, "lab0"), "lab0", 1.0, {"lab0": ()})
    assert known.floors["p"].owed_s == 0.0


def test_an_account_that_is_agreed_again_goes_on_where_it_stood() -> None:
    before = _served(_opened([1.0, 3.0]), [1.0] * 5)[-1]
    assert agreed(before, {"lab0": 1.0, "lab1": 3.0}, {}) == before
    fewer = agreed(before, {"lab1": 3.0, "new": 1.0}, {})
    assert set(fewer.places) == {"lab1", "new"}
    assert fewer.places["new"].start == before.now


def test_a_lab_that_owes_time_still_works_when_nobody_else_asks() -> None:
    known = _served(_opened([1.0, 1.0]), [5.0])[-1]
    owing = next(lab for lab, place in known.places.items() if place.spent_s)
    turn = next_of(known, {owing: ()})
    assert turn is not None
    assert turn.lab == owing
    assert next_of(known, {}) is None


def test_what_a_lab_was_given_ahead_of_its_weight_is_no_longer_debt_than_one_stint() -> None:
    places = {"lab0": Place(4.0, start=100.0), "lab1": Place(1.0)}
    after = spent(Division(places=places), "lab0", 10.0, dict.fromkeys(places, ()))
    assert after.now == 2.0
    assert after.places["lab0"].start == 2.0 + 10.0 / 4.0


WEEK_S, HOUR_S = 7 * 86_400, 3600


def test_hours_a_week_are_owed_as_the_weeks_time_passes_and_never_more_than_one_weeks() -> None:
    known = _opened([1.0], {"hours": 0.0, "share": 0.5})
    known = passed(known, {"hours": 10.0}, 0.0, 1_000_000.0)
    assert (known.floors["hours"].owed_s, known.at_s) == (0.0, 1_000_000.0)
    half = passed(known, {"hours": 10.0}, WEEK_S / 2, 5.0)
    assert half.floors["hours"].owed_s == pytest.approx(5 * HOUR_S)
    assert half.floors["share"] == known.floors["share"]
    assert half.at_s == 5.0
    assert passed(half, {"hours": 10.0}, 0.0, 5.0) == half
    assert passed(half, {}, 5.0, 6.0).floors == half.floors
    for weeks in (0.75, 40):
        full = passed(half, {"hours": 10.0}, weeks * WEEK_S, 7.0)
        assert full.floors["hours"].owed_s == 10 * HOUR_S
    assert passed(half, {"hours": 10.0}, -1000.0, 5.0) == half, "time goes one way"
    ahead = Division(floors={"hours": Floor(0.0, owed_s=-7200.0)})
    assert passed(ahead, {"hours": 1.0}, WEEK_S / 2, 1.0).floors["hours"].owed_s == -1.5 * HOUR_S


def test_of_the_time_that_nobody_kept_the_account_a_day_counts_at_most() -> None:
    known = Division(at_s=1_000_000.0)
    for now_s, told_s in (
        (1_000_000.0, 0.0),
        (1_000_060.0, 60.0),
        (1_000_000.0 + 86_400, 86_400.0),
        (1_000_000.0 + 86_401, 86_400.0),
        (4e9, 86_400.0),
        (999_999.0, 0.0),
        (0.0, 0.0),
    ):
        assert away_s(known, now_s) == told_s
    assert away_s(Division(), 4e9) == 0.0, "nobody ever did"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 2000), st.sampled_from([-1e9, -1e6, 0.0, 3600.0, 1e6, 3e9]), st.booleans()
        ),
        min_size=1,
        max_size=30,
    )
)
def test_a_clock_that_is_set_as_it_likes_moves_no_account_and_a_restart_moves_it_by_a_day_at_most(
    steps: list[tuple[float, float, bool]],
) -> None:
    hours, wall_s, true_s, num_restarts = {"p": 84.0}, 1_800_000_000.0, 0.0, 0
    known = passed(_opened([1.0, 1.0], {"p": 0.0}), hours, 0.0, wall_s)
    for elapsed_s, is_set_by_s, is_restarted in steps:
        wall_s = max(wall_s + elapsed_s + is_set_by_s, 1.0)
        if is_restarted:
            num_restarts += 1
            known = passed(known, hours, away_s(known, wall_s), wall_s)
        else:
            true_s += elapsed_s
            before = known.floors["p"].owed_s
            known = passed(known, hours, elapsed_s, wall_s)
            assert known.floors["p"].owed_s - before <= elapsed_s / 2 + 1e-6
        least_s, most_s = true_s / 2, true_s / 2 + num_restarts * 86_400 / 2
        owed_s = known.floors["p"].owed_s
        assert min(least_s, 84 * HOUR_S) - 1e-3 <= owed_s <= min(most_s, 84 * HOUR_S) + 1e-3
    assert {place.start for place in known.places.values()} == {0.0}, "no lab has a debt of it"


def test_hours_a_week_are_given_before_the_weights_and_then_no_more() -> None:
    known = _opened([99.0, 1.0], {"p": 0.0})
    for hour in range(200):
        known = passed(known, {"p": 2.0}, HOUR_S, 1_000_000.0 + hour * HOUR_S)
        waiting: dict[str, tuple[str, ...]] = {"lab0": (), "lab1": ("p",)}
        for lab in waiting:
            known = came(known, lab)
        turn = next_of(known, waiting)
        assert turn is not None
        known = spent(known, turn.lab, HOUR_S, waiting, waiting[turn.lab])
    assert known.floors["p"].given_s == pytest.approx(2 * HOUR_S * 200 / 168, abs=HOUR_S)


def test_what_a_lab_says_of_an_account_is_by_place_and_name_where_two_are_alike() -> None:
    known = _opened([1.0, 1.0, 2.0], {"p": 0.1, "q": 0.1})
    waiting = dict.fromkeys(known.places, ())
    assert next_of(known, waiting) is not None
    heavy = replace(known, longest_s=3.0)
    turn = next_of(heavy, waiting)
    assert turn is not None
    assert (turn.lab, turn.floor) == ("lab2", None), "it would end first"
    late = replace(heavy, places={**heavy.places, "lab2": Place(2.0, start=1.0)})
    turn = next_of(late, waiting)
    assert turn is not None
    assert turn.lab == "lab0", "its start has not come"
    owed = replace(heavy, floors={"p": Floor(0.1, owed_s=1.0), "q": Floor(0.1, owed_s=2.0)})
    for floors, told in (
        ({"lab0": ("p", "q"), "lab1": ()}, ("lab0", "q")),
        ({"lab0": ("p",), "lab1": ("q",)}, ("lab1", "q")),
        ({"lab0": ("p",), "lab1": ("unknown",)}, ("lab0", "p")),
        ({"lab0": (), "lab1": ()}, ("lab0", None)),
    ):
        turn = next_of(owed, floors)
        assert turn is not None
        assert (turn.lab, turn.floor) == told
    even = replace(owed, floors={"p": Floor(0.1), "q": Floor(0.1)})
    turn = next_of(even, {"lab1": ("p", "q")})
    assert turn is not None
    assert turn.floor is None, "nothing is owed"
