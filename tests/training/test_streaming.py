"""Fragments are exchanged in turn, each as often as the whole would be."""

import numpy as np
import pytest

from archipel.training.streaming import Moment, StreamTerms, blended, timeline


@pytest.mark.parametrize(
    ("fragments", "every", "delay"), [(1, 4, 0), (2, 4, 1), (3, 6, 1), (3, 30, 9)]
)
def test_every_fragment_is_exchanged_once_in_every_so_many_steps(
    fragments: int, every: int, delay: int
) -> None:
    steps = 5 * every
    moments = timeline(StreamTerms(fragments, every, delay), steps)
    begun = {each: [m.step for m in moments if each in m.begins] for each in range(fragments)}
    ended = {each: [m.step for m in moments if each in m.ends] for each in range(fragments)}
    assert [m.step for m in moments] == sorted({m.step for m in moments})
    for each in range(fragments):
        assert len(begun[each]) == len(ended[each]) == steps // every
        assert ended[each][-1] == begun[each][-1] == steps
        assert all(
            end - begin == delay
            for begin, end in zip(begun[each][:-1], ended[each][:-1], strict=True)
        )
        assert all(
            b - a == every for a, b in zip(ended[each][:-1], ended[each][1:-1], strict=False)
        )
        # Nobody sends what was not trained for as long as between any two exchanges.
        assert ended[each][0] >= every


def test_one_exchange_at_a_time_but_for_the_last_step() -> None:
    moments = timeline(StreamTerms(3, 12, 3), 48)
    under_way: set[int] = set()
    for moment in moments:
        under_way |= set(moment.begins)
        assert len(under_way) <= 1 or moment.step == 48
        under_way -= set(moment.ends)
    assert not under_way


def test_one_fragment_without_delay_is_no_streaming() -> None:
    assert timeline(StreamTerms(1, 3), 6) == (Moment(3, (0,), (0,)), Moment(6, (0,), (0,)))


@pytest.mark.parametrize(
    ("terms", "said"),
    [((2, 5), "multiple of the 2"), ((0, 4), "multiple of the 0"), ((2, 4, 2), "0 to 1"), ((1, 4, 0, 1.0), "below 1")],
)  # fmt: skip
def test_terms_without_a_timeline_are_refused(terms: tuple[int, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        StreamTerms(*terms)


def test_a_run_that_ends_between_exchanges_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of every, 4"):
        timeline(StreamTerms(2, 4), 10)


def test_what_comes_back_is_mixed_into_its_own_weights_alone() -> None:
    own = {"a": np.array([4.0], np.float32), "b": np.array([1.0], np.float32)}
    merged = {"a": np.array([0.0], np.float32), "b": np.array([9.0], np.float32)}
    found = blended(own, merged, 0.25, ["a"])
    assert found["a"] == 1.0
    assert found["b"] == 1.0
    assert found["a"].dtype == np.float32
    assert blended(own, merged, 0.0, ["a"])["a"] == 0.0
