"""Health of a market: quality, cost floors, concentration."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.market import health
from archipel.market.health import (
    ENERGY_BY_AGE,
    Machine,
    Measured,
    cost_floor,
    herfindahl,
    is_dumping,
    quality,
    shares_permille,
)

MACHINE = Machine(watts=300, pue_permille=1000, micro_per_kwh=200_000, rate_milli=1_000_000)
"""A million units take 1000 s and 1/12 kWh."""


def test_the_floor_is_the_energy_of_a_million_units() -> None:
    assert cost_floor(MACHINE) == 16_666
    assert cost_floor(replace(MACHINE, pue_permille=1500)) == 25_000
    assert cost_floor(replace(MACHINE, rate_milli=500_000)) == 33_333
    assert cost_floor(replace(MACHINE, age_years=1)) == 16_666 * 138 // 100 + 1
    assert is_dumping(16_665, MACHINE)
    assert not is_dumping(16_666, MACHINE)
    for age, permille in enumerate(ENERGY_BY_AGE):
        assert permille == round(1000 * 10 ** (0.14 * age))


@pytest.mark.parametrize("fields", [{"watts": -1}, {"pue_permille": 999}, {"rate_milli": 0}])
def test_impossible_machines_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(MACHINE, **fields)


def test_quality_is_what_arrives_verified_in_time_and_fresh() -> None:
    assert quality(Measured(0, 0, 0, 0)) is None
    assert quality(Measured(10, 10, 10, 10)) == 1000
    assert quality(Measured(10, 9, 10, 8)) == 720
    assert quality(Measured(10, 10, 10, 10, fresh_permille=500, link_permille=900)) == 450
    assert quality(Measured(10, 0, 10, 10)) == 1


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 10**15)))
def test_shares_add_up_and_one_seller_is_a_monopoly(amounts: dict[str, int]) -> None:
    total = sum(amounts.values())
    shares = shares_permille(amounts.items())
    assert sum(shares.values()) == (1000 if total else 0)
    assert all(abs(shares[n] * total - amounts[n] * 1000) < total for n in shares)
    sellers = sum(1 for each in amounts.values() if each)
    index = herfindahl(amounts)
    assert index == 10_000 if sellers == 1 else 0 <= index <= 10_000
    assert not sellers or index >= 10_000 // sellers


def test_what_is_in_time_counts_no_more_than_what_was_leased() -> None:
    assert health.quality(health.Measured(10, 5, leased=5, in_time=10)) == 500


def test_the_oldest_machines_have_the_last_age_of_the_table() -> None:
    last = len(health.ENERGY_BY_AGE) - 1
    young, old, older = (
        health.cost_floor(health.Machine(1000, 1000, 10**6, 1000, age_years=age))
        for age in (last - 1, last, last + 9)
    )
    assert young < old == older
