"""A sum divided in proportion: all of it, nobody's share off by one, the same way everywhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.market.shares import in_proportion

given_by = st.dictionaries(st.text("abc", max_size=4), st.integers(0, 10**15), min_size=1)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**15), given_by)
def test_all_is_divided_and_every_share_is_its_exact_one_rounded_up_or_down(micro, given) -> None:
    total = sum(given.values())
    if not total:
        return
    shares = in_proportion(micro, given)
    assert sum(shares.values()) == micro
    for name, each in given.items():
        assert abs(shares[name] * total - micro * each) < total
    assert in_proportion(micro, dict(reversed(given.items()))) == shares, "order says nothing"


def test_what_rounding_leaves_goes_to_the_largest_remainders_and_of_equal_ones_to_the_first_name() -> (
    None
):
    assert in_proportion(10, {"a": 1, "b": 1, "c": 1}) == {"a": 4, "b": 3, "c": 3}
    assert in_proportion(10, {"a": 16, "b": 15, "c": 9}) == {"a": 4, "b": 4, "c": 2}
    assert in_proportion(0, {"a": 3}) == {"a": 0}


@pytest.mark.parametrize(
    ("micro", "given"), [(1, {}), (1, {"a": 0}), (-1, {"a": 1}), (1, {"a": -1})]
)
def test_nothing_given_or_less_than_nothing_is_refused(micro: int, given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="in proportion"):
        in_proportion(micro, given)
