"""The default ask is the cost, and the truth: never below the floor, never above what a bid may say."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from archipel.market.asks import (
    HOUSEHOLD_USD_PER_KWH,
    WEAR_MICRO_PER_KWH,
    assumed_watts,
    cost_of,
    hour_of,
    lots_of,
)
from archipel.market.health import Machine, cost_floor, is_dumping
from archipel.planning.tables import shelf
from archipel.records.fields import MAX_PRICE_MICRO

MACHINE = Machine(watts=300, pue_permille=1000, micro_per_kwh=200_000, rate_milli=1_000_000)
"""A million units take 1000 s and 1/12 kWh."""
MACHINES = st.builds(
    Machine,
    watts=st.integers(0, 10**6),
    pue_permille=st.integers(1000, 3000),
    micro_per_kwh=st.integers(0, 10**12),
    rate_milli=st.integers(1, 10**12),
    age_years=st.integers(0, 12),
)


def test_a_million_units_cost_their_energy_and_their_wear() -> None:
    cost = cost_of(MACHINE, wear_micro_per_kwh=120_000)
    assert (cost.energy, cost.wear, cost.ask) == (16_667, 10_000, 26_667)
    assert cost_of(replace(MACHINE, watts=600), 0).ask == 33_334
    assert cost_of(replace(MACHINE, watts=0)).ask == 1  # nothing is asked for nothing


@given(MACHINES, st.integers(0, 10**9))
def test_the_default_ask_is_never_marked_as_below_cost(machine: Machine, wear: int) -> None:
    cost = cost_of(machine, wear)
    assert 1 <= cost.ask <= MAX_PRICE_MICRO
    assert 0 <= cost.energy - cost_floor(machine) <= 1
    assert cost.ask == MAX_PRICE_MICRO or not is_dumping(cost.ask, machine)


@given(MACHINES, st.integers(1, 10**9))
def test_who_is_paid_at_least_its_ask_loses_nothing_by_the_hour(
    machine: Machine, more: int
) -> None:
    price = cost_of(machine, 0).ask + more
    hour = hour_of(machine, price)
    if price <= MAX_PRICE_MICRO:
        assert hour.brings + 1 >= hour.energy


def test_an_hour_is_that_of_its_rate_and_its_draw() -> None:
    hour = hour_of(MACHINE, 100_000)  # 3.6 million units
    assert (hour.brings, hour.energy) == (360_000, 60_000)


def test_lots_are_whole_and_at_least_one() -> None:
    assert [lots_of(rate, 1000) for rate in (0, 999, 1000, 2999, 10**12)] == [1, 1, 1, 2, 4096]
    assert lots_of(5, 0) == 5


def test_what_is_assumed_is_what_the_dated_tables_say() -> None:
    tables = shelf()
    assert tables["energy.household.eu27"].origin.value == HOUSEHOLD_USD_PER_KWH
    card = tables["purchase.rtx5090"].origin.value / (5 * 365.25 * 24)
    drawn_kw = 0.740
    assert WEAR_MICRO_PER_KWH <= card / drawn_kw * 10**6 < 1.1 * WEAR_MICRO_PER_KWH
    assert assumed_watts(2) == 40
