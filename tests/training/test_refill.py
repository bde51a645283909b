"""Batches that ask for more until enough of their groups teach: bounded, the same for everybody, and unbiased."""

import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.records.rollouts import Rollout
from archipel.training.batch import Group
from archipel.training.curriculum import Curriculum
from archipel.training.refill import batches_of, num_teaching, num_wanted
from training.tiny_learner import tiny_recipe

ROLLOUTS = (Rollout((5, 1), (-1.0, -1.0), True),) * 2


def recipe(refill: int = 3, size: int = 4, **sections):
    algorithm = {"refill": refill} | sections.pop("algorithm", {})
    return tiny_recipe(
        run={"groups_per_update": size, "group_size": 2}, algorithm=algorithm, **sections
    )


def group(index: int, *, teaches: bool) -> Group:
    return Group(index, (3,), ROLLOUTS, (0.0, float(teaches)), 0)


def filled(of, teaches) -> list[list[Group]]:
    """A batch by the shares in which it was asked for; `teaches` says it of each place."""
    places = iter(range(10**6))
    shares, wanted = [], of.run.groups_per_update
    while wanted:
        shares.append([group(n, teaches=teaches(n)) for n in (next(places) for _ in range(wanted))])
        wanted = num_wanted([each for share in shares for each in share], of)
    return shares


@settings(max_examples=40, deadline=None)
@given(
    refill=st.integers(0, 7), size=st.integers(1, 6), pattern=st.lists(st.booleans(), min_size=48)
)
def test_a_batch_ends_with_enough_groups_that_teach_or_with_all_that_it_may_have(
    refill, size, pattern
):
    of = recipe(refill, size)
    shares = filled(of, lambda n: pattern[n])
    whole = [each for share in shares for each in share]
    assert len(whole) <= size * (1 + refill)
    assert num_teaching(whole, of) >= size or len(whole) == size * (1 + refill)
    before = whole[: -len(shares[-1])]
    assert len(shares) == 1 or num_teaching(before, of) < size, "no share that was not needed"


def test_a_run_that_does_not_refill_asks_for_nothing():
    assert num_wanted([group(n, teaches=False) for n in range(4)], recipe(0)) == 0


def test_what_is_asked_for_says_nothing_of_what_the_groups_teach():
    """Over many batches the mean of what their groups teach is that of all groups which teach."""
    chance, of, gains, mine = random.Random(3), recipe(3, 3), {}, []

    def teaches(n):
        gains[n] = chance.gauss(1.0, 2.0)
        return chance.random() < 0.35

    for _ in range(1500):
        told = [each for share in filled(of, teaches) for each in share]
        kept = [gains[each.index] for each in told if any(each.rewards)]
        if kept:
            mine.append(fmean(kept))
    error = 2.0 / len(mine) ** 0.5
    assert abs(fmean(mine) - 1.0) < 4 * error


def test_a_curriculum_has_a_task_for_every_group_and_none_twice():
    of = recipe(2, 3, curriculum={"pool": 9})
    curriculum, batches = Curriculum(of), batches_of(of)
    tasks = [curriculum.task(n) for n in batches.groups(0, 6)]
    assert sorted(tasks) == list(range(9))
    curriculum.learned(dict.fromkeys(batches.groups(0, 2), (0.0, 1.0)))
    assert curriculum.measures() == {"curriculum_tried": 5, "curriculum_in_band": 5}
    again = Curriculum.of(of, curriculum.notes(), 1)
    assert [again.task(n) for n in batches.further(1)] == [
        curriculum.task(n) for n in batches.further(1)
    ]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"algorithm": {"name": "reinforce"}}, "reinforce compares with the whole batch"),
        ({"curriculum": {"pool": 15}}, "smaller than the 16 groups"),
        ({"teacher": {"path": "there"}}, "a teacher teaches every token"),
        ({"algorithm": {"refill": 8}}, "less than or equal to 7"),
    ],
)
def test_a_refill_that_cannot_be_is_refused(sections, said):
    with pytest.raises(ValueError, match=said):
        recipe(**sections)


def test_the_largest_batch_is_bounded():
    with pytest.raises(ValueError, match="at most 65536: lower it"):
        recipe(7, 8193)


@settings(max_examples=40, deadline=None)
@given(
    refill=st.integers(1, 7),
    size=st.integers(1, 6),
    pattern=st.lists(st.booleans(), min_size=1, max_size=48),
)
def test_it_asks_for_as_many_as_it_should_take_at_the_rate_so_far(refill, size, pattern):
    of, have = recipe(refill, size), pattern[: size * (1 + refill)]
    groups = [group(n, teaches=each) for n, each in enumerate(have)]
    teaching = sum(have)
    assert num_teaching(groups, of) == teaching
    least = next(
        n for n in range(10**4) if teaching * n >= (size - teaching) * len(have) or not teaching
    )
    wanted = min(size * (1 + refill) - len(have), len(have), least if teaching else len(have))
    assert num_wanted(groups, of) == (wanted if teaching < size else 0)
