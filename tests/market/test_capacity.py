"""Capacity: what may be admitted, and how it is shared out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.market.capacity import admissible_groups, fair_share


@given(st.integers(0, 64), st.integers(0, 100), st.integers(1, 100), st.integers(0, 9000))
def test_what_was_admitted_and_what_may_be_never_exceed_the_bound(
    staleness: int, version: int, batch: int, admitted: int
) -> None:
    ceiling = (staleness + version + 1) * batch
    room = admissible_groups(
        max_staleness=staleness,
        version=version,
        groups_per_update=batch,
        accepted=admitted // 2,
        in_flight=admitted - admitted // 2,
    )
    assert admitted + room == max(ceiling, admitted)


@given(st.integers(1, 1000), st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_shares_cover_the_batch_and_follow_speed_within_rounding(
    batch: int, rates: list[int]
) -> None:
    slowest = min((rate for rate in rates if rate), default=1)
    total = sum(rate or slowest for rate in rates)
    shares = [fair_share(batch, rate, total, slowest) for rate in rates]
    assert sum(shares) >= batch
    for rate, share in zip(rates, shares, strict=True):
        due = batch * (rate or slowest) / total
        assert due <= share < due + 1


@pytest.mark.parametrize(
    ("rate", "total", "slowest", "share"),
    [(0, 4, 1, 8), (3, 4, 1, 24), (1, 0, 1, 32), (0, 0, 1, 32), (9, 4, 1, 32)],
)
def test_shares_at_the_edges(rate: int, total: int, slowest: int, share: int) -> None:
    assert fair_share(32, rate, total, slowest) == share
