"""`plan earn`: the ask is that of a node, an hour's money adds up, and nothing is promised of hours that nobody buys."""

from dataclasses import replace
from functools import cache

import pytest

from archipel.market.asks import HOUSEHOLD_USD_PER_KWH, WEAR_MICRO_PER_KWH, cost_of
from archipel.market.health import Machine
from archipel.planning.mistakes import CannotPlan
from archipel.planning.quantity import given
from archipel.planning.questions.earn import sheet_of
from archipel.planning.questions.sheet import Sheet
from archipel.planning.requests import REQUESTS
from archipel.planning.sampling import Draws
from archipel.planning.tables import shelf
from planning.asked import constant

MICRO = 1e6


@cache
def sheet() -> Sheet:
    return sheet_of(REQUESTS["earn"](batch="16", hours_a_day="12"), shelf())


def of(name: str, units: str, among: Sheet | None = None) -> float:
    return Draws(count=1).centre((among or sheet())[name].to(units))


def with_demand(share: float) -> Sheet:
    demand = given("earn.demand", share, "1", "a test")
    return replace(sheet(), given={**sheet().given, "earn.demand": demand})


def test_the_default_ask_is_that_of_a_node_of_this_rate_and_draw() -> None:
    watts, rate = of("earn.draw", "W/accelerator"), of("earn.rate", "token/(s*accelerator)")
    machine = Machine(round(watts), 1000, round(HOUSEHOLD_USD_PER_KWH * MICRO), round(rate * 1000))
    assert of("earn.ask", "USD/Mtoken") == pytest.approx(cost_of(machine).ask / MICRO, rel=2e-3)


def test_what_the_market_assumes_of_energy_and_wear_stands_in_the_tables() -> None:
    assert constant("market.wear", "USD/kWh") == WEAR_MICRO_PER_KWH / MICRO
    assert constant("energy.household.eu27", "USD/kWh") == HOUSEHOLD_USD_PER_KWH


def test_a_month_is_what_its_hours_bring_less_what_they_draw() -> None:
    hours = 12 * 365.25 / 12
    assert of("earn.bought_hours", "accelerator*h/month") == pytest.approx(hours)
    bring = of("earn.price", "USD/Mtoken") * of("earn.rate", "Mtoken/(h*accelerator)") * hours
    draw = of("earn.draw", "kW/accelerator") * hours * of("grid.price", "USD/kWh")
    assert of("earn.month", "USD/month") == pytest.approx(bring - draw)
    assert of("earn.left.100", "USD/month") == pytest.approx(bring - draw)


def test_hours_that_nobody_buys_cost_their_waiting_and_at_break_even_nothing_is_left() -> None:
    unsold = of("earn.month", "USD/month", with_demand(0.0))
    assert unsold == pytest.approx(of("earn.left.0", "USD/month"))
    assert unsold < 0
    even = of("earn.break_even", "1")
    assert of("earn.month", "USD/month", with_demand(even)) == pytest.approx(0.0, abs=1e-9)


def test_nobody_pays_more_than_what_the_same_tokens_cost_from_rented_machines() -> None:
    least = min(of(f"earn.{name}_price", "USD/Mtoken") for name in ("their", "same"))
    assert of("earn.price", "USD/Mtoken") == least


def test_a_model_that_does_not_fit_is_refused_with_what_would_help() -> None:
    with pytest.raises(CannotPlan, match=r"a rtx4090 has 22\.6; give a smaller --quant"):
        sheet_of(REQUESTS["earn"](params="70B"), shelf())
