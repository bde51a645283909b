"""Integers that pace and pay: nothing is admitted too early, nothing is created or lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.market.capacity import admissible_groups, fair_share
from archipel.market.credits import transfer

COUNTS = st.integers(0, 1000)


@given(COUNTS, COUNTS, st.integers(1, 100), COUNTS, COUNTS)
def test_admission_never_reaches_past_the_staleness_bound(
    staleness: int, version: int, batch: int, accepted: int, in_flight: int
) -> None:
    more = admissible_groups(
        max_staleness=staleness,
        version=version,
        groups_per_update=batch,
        accepted=accepted,
        in_flight=in_flight,
    )
    assert more >= 0
    if more:
        last = accepted + in_flight + more - 1
        assert last // batch - version <= staleness


@given(st.integers(1, 500), st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_shares_cover_the_batch_and_follow_speed(batch: int, rates: list[int]) -> None:
    shares = [fair_share(batch, rate, rates) for rate in rates]
    assert sum(shares) >= batch
    assert all(1 <= share <= batch for share in shares)
    faster_gets_no_less = all(
        shares[i] >= shares[j]
        for i in range(len(rates))
        for j in range(len(rates))
        if rates[i] >= rates[j] > 0
    )
    assert faster_gets_no_less


def test_double_speed_gets_double_work() -> None:
    rates = [2_000_000, 1_000_000, 1_000_000]
    assert [fair_share(32, rate, rates) for rate in rates] == [16, 8, 8]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), COUNTS), max_size=30))
def test_balances_always_add_up_to_zero(payments: list[tuple[str, str, int]]) -> None:
    balances: dict[str, int] = {}
    for payer, payee, micro in payments:
        balances = transfer(balances, payer, payee, micro)
    assert sum(balances.values()) == 0


def test_a_payment_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        transfer({}, "a", "b", -1)
