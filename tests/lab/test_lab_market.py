"""The market's arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.market.capacity import admissible_groups, fair_share
from archipel.market.credits import transfer

accounts = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(accounts, accounts, st.integers(0, 10**12)), max_size=30))
def test_balances_add_up_to_zero_whatever_is_paid(
    payments: list[tuple[str, str, int]],
) -> None:
    balances: dict[str, int] = {}
    for payer, payee, micro in payments:
        before = dict(balances)
        balances = transfer(before, payer, payee, micro)
        assert before == {key: before[key] for key in before}, "the old book was changed"
    assert sum(balances.values()) == 0


def test_nobody_pays_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        transfer({}, "a", "b", -1)


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
    assert room >= 0
    assert admitted + room == max(ceiling, admitted)


@given(st.integers(1, 1000), st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_shares_cover_the_batch_and_grow_with_speed(batch: int, rates: list[int]) -> None:
    shares = [fair_share(batch, rate, rates) for rate in rates]
    assert sum(shares) >= batch
    assert all(1 <= share <= batch for share in shares)
    assert sum(shares) <= batch + len(rates)
    by_rate = sorted((rate, share) for rate, share in zip(rates, shares, strict=True) if rate)
    assert [share for _, share in by_rate] == sorted(share for _, share in by_rate)
