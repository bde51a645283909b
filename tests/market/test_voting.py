"""Ballots counted: every unit once, exactly at the border, whatever the order of what was said."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.market.voting import counted, line

MILLION = 1_000_000
names = st.sampled_from("abcdefgh")
weights = st.dictionaries(names, st.integers(1, 10**12), max_size=8)
ballots = st.dictionaries(names, st.sampled_from(["yes", "no", "abstain"]), max_size=8)
delegations = st.dictionaries(names, names, max_size=8)


def decided(weights, ballots, delegates=None, *, quorum=0, majority=500_000):
    return counted(weights, ballots, delegates or {}, quorum=quorum, majority=majority)


@settings(deadline=None, max_examples=60)
@given(weights, ballots, delegations, st.randoms())
def test_every_unit_is_counted_once_or_not_at_all_in_whatever_order_it_is_told(
    weights, ballots, delegates, random
) -> None:
    count = decided(weights, ballots, delegates)
    by_hand = {"yes": 0, "no": 0, "abstain": 0}
    for holder, weight in weights.items():
        voice = next((each for each in line(holder, delegates) if each in ballots), None)
        if voice is not None:
            by_hand[ballots[voice]] += weight
    assert (count.yes, count.no, count.abstain) == tuple(by_hand.values())
    assert count.all == sum(weights.values()) >= count.cast
    shuffled = [list(each.items()) for each in (weights, ballots, delegates)]
    for each in shuffled:
        random.shuffle(each)
    assert decided(*map(dict, shuffled)) == count


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12),
    st.integers(0, MILLION), st.integers(MILLION // 2, MILLION),
)  # fmt: skip
def test_quorum_and_majority_are_exact_at_any_size(yes, no, idle, silent, quorum, majority) -> None:
    weights = dict(zip("ynas", (yes, no, idle, silent), strict=True))
    count = counted(
        weights, {"y": "yes", "n": "no", "a": "abstain"}, {}, quorum=quorum, majority=majority
    )
    has_quorum = (yes + no + idle) * MILLION >= quorum * (yes + no + idle + silent)
    wins = no == 0 if majority == MILLION else yes * MILLION > majority * (yes + no)
    assert count.is_adopted == (yes > 0 and has_quorum and wins)


@pytest.mark.parametrize(
    ("yes", "no", "silent", "quorum", "is_adopted"),
    [
        (51, 49, 0, 0, True),
        (50, 50, 0, 0, False),
        (25, 0, 75, 250_000, True),
        (25, 0, 75, 250_001, False),
        (0, 0, 100, 0, False),
    ],
)
def test_half_is_no_majority_and_the_quorum_is_enough(yes, no, silent, quorum, is_adopted) -> None:
    weights = {"y": yes, "n": no, "s": silent}
    assert decided(weights, {"y": "yes", "n": "no"}, quorum=quorum).is_adopted == is_adopted


def test_one_s_own_ballot_counts_before_that_of_whom_one_trusts() -> None:
    weights = dict.fromkeys("abc", 1)
    count = decided(weights, {"c": "yes", "a": "no"}, {"a": "b", "b": "c"})
    assert (count.yes, count.no) == (2, 1)


def test_a_ring_has_no_ballot_and_ends() -> None:
    for order in permutations("abc"):
        weights = dict.fromkeys(order, 1)
        assert decided(weights, {}, {"a": "b", "b": "c", "c": "a"}).cast == 0
    assert decided({"a": 1, "d": 1}, {"d": "yes"}, {"a": "b", "b": "a"}).cast == 1
    assert list(line("a", {"a": "b", "b": "a"})) == ["a", "b"]


def test_a_line_of_a_hundred_thousand_is_walked_once() -> None:
    num = 100_000
    delegates = {n: n + 1 for n in range(num)}
    count = decided(dict.fromkeys(range(num + 1), 1), {num: "yes"}, delegates)
    assert count.yes == num + 1
