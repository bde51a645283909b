"""`plan lab`: its parts add up, its costs scale as they must, and mistakes name the nearest valid choice."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from archipel.planning.asking import Ask
from archipel.planning.laws.reliability import daly_interval_h, goodput, young_interval_h
from archipel.planning.layout import wrapped
from archipel.planning.mistakes import CannotPlan
from archipel.planning.requests import REQUESTS
from archipel.planning.sampling import Draws
from planning.asked import constant, data, value


def test_the_parts_of_the_purchase_add_up_to_it() -> None:
    found = data("lab", kind="h100")
    parts = [row[1]["value"] for row in found["tables"][0]["rows"][:-1]]
    assert sum(parts) == pytest.approx(value(found, "lab.purchase"))
    shares = [row[2]["value"] for row in found["tables"][0]["rows"][:-1]]
    assert sum(shares) == pytest.approx(100.0)


def test_ten_thousand_h100_draw_what_their_nameplates_and_published_shares_say() -> None:
    """1,250 servers of 10.2 kW; three quarters of it on average; PUE 1.25: 11.95 MW (Epoch's formula)."""
    found = data("lab", kind="h100")
    assert value(found, "power.servers", "MW") == pytest.approx(12.75)
    assert value(found, "power.average_servers_only", "MW") == pytest.approx(11.95, rel=1e-3)
    yearly = value(found, "power.average_servers_only", "MW") * constant("lab.year") / 1000
    assert yearly == pytest.approx(104.8, rel=1e-3)
    assert yearly * 1e6 * constant("energy.price.usa") == pytest.approx(8.7e6, rel=0.01)


def test_the_public_bill_of_materials_prices_ten_thousand_h100() -> None:
    found = data("lab", kind="h100")
    assert value(found, "published.bom", "USD") == pytest.approx(492.5e6, rel=1e-3)


def test_five_generations_stand_beside_each_other_by_default() -> None:
    rows = data("lab")["tables"][-1]["rows"]
    assert [row[0] for row in rows] == ["h100", "a100-80", "h200", "b200", "gb300"]
    assert all(row[1]["value"] > 1e8 for row in rows)


@pytest.mark.parametrize("kind", ["a100-80", "h100", "h200", "b200", "gb300", "mi300x"])
def test_every_generation_can_be_the_lab(kind: str) -> None:
    found = data("lab", kind=kind)
    for name in found["answers"]:
        assert found["quantities"][name]["value"] > 0, name


def test_cost_per_useful_flop_follows_from_hourly_cost_speed_utilisation_and_goodput() -> None:
    found = data("lab", kind="h100", mfu="0.4")
    per_hour = value(found, "lab.cost_per_hour")
    useful = constant("accelerator.h100.bf16") * 1e12 * 0.4 * value(found, "failures.goodput")
    assert value(found, "lab.cost_per_flop") == pytest.approx(per_hour / useful / 3600 * 1e18)


def test_dearer_electricity_and_a_worse_hall_cost_more_and_nothing_else_changes() -> None:
    base = data("lab", kind="h100")
    dear = data("lab", kind="h100", electricity="1 USD/kWh")
    worse = data("lab", kind="h100", pue="1.6")
    assert value(dear, "lab.running") > value(worse, "lab.running") > value(base, "lab.running")
    for other in (dear, worse):
        assert value(other, "lab.purchase") == value(base, "lab.purchase")


@settings(max_examples=15, deadline=None)
@examples(st.integers(3, 6))
def test_accelerators_and_power_scale_with_their_number(exponent: int) -> None:
    one, ten = (data("lab", kind="h100", accelerators=str(10**e)) for e in (exponent, exponent + 1))
    for name in ("lab.accelerators_cost", "power.critical", "energy.year", "rent.year"):
        assert value(ten, name) == pytest.approx(10 * value(one, name)), name
    assert value(ten, "failures.mtbf") == pytest.approx(value(one, "failures.mtbf") / 10)
    assert value(ten, "failures.goodput") <= value(one, "failures.goodput")


def test_youngs_interval_is_where_goodput_is_best_while_failures_are_rare() -> None:
    intervals = np.geomspace(0.05, 50.0, 4001)
    kept = goodput(100.0, 0.02, 0.1, intervals)
    assert intervals[np.argmax(kept)] == pytest.approx(young_interval_h(0.02, 100.0), rel=0.02)


def test_dalys_interval_tends_to_youngs_when_failures_are_rare() -> None:
    assert daly_interval_h(0.01, 1e4) == pytest.approx(young_interval_h(0.01, 1e4), rel=0.01)
    assert daly_interval_h(1.0, 0.3) == pytest.approx(0.3)


def test_a_job_that_fails_before_it_can_save_keeps_nothing() -> None:
    assert goodput(0.01, 0.1, 0.2, 0.05) == 0.0


def test_an_older_vintage_gives_older_prices() -> None:
    then, now = data("lab", kind="h100", as_of="2023-12"), data("lab", kind="h100")
    assert value(then, "purchase.h100") == 33_750
    assert value(then, "purchase.h100") != value(now, "purchase.h100")
    assert any("Not known as of 2023-12" in remark for remark in then["notices"])


def test_names_are_unique_and_every_input_has_a_source() -> None:
    found = data("lab")
    for name, row in found["quantities"].items():
        assert ("formula" in row) != ("source" in row), name


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"kind": "h10"}, "unknown accelerator 'h10'; did you mean 'h100'"),
        ({"kind": ""}, "such as h100"),
        ({"kind": "tpu-v4"}, "no purchase price of tpu-v4 is known"),
        ({"country": "atlantis"}, "unknown country 'atlantis'"),
        ({"accelerators": "0"}, "more than 0, from 1 to 1e8"),
        ({"accelerators": "-5"}, "the nearest that works is 1 "),
        ({"accelerators": "5 kW"}, "--accelerators: got '5 kW', expected a count"),
        ({"mfu": "1.4"}, "at most 1"),
        ({"pue": "0.5"}, "from 1 to 5"),
        ({"life": "0"}, "--life: got '0'"),
        ({"electricity": "3 MW"}, "--electricity: got '3 MW'"),
        ({"rent": "-1"}, "--rent: got '-1'"),
    ],
)
def test_mistakes_say_what_was_got_and_what_was_expected(
    request_: dict[str, str], expected: str
) -> None:
    with pytest.raises(CannotPlan, match=expected):
        data("lab", **request_)


def test_research_staff_costs_what_its_number_says() -> None:
    none, some = data("lab", kind="h100"), data("lab", kind="h100", researchers="200")
    added = value(some, "lab.running") - value(none, "lab.running")
    assert added == pytest.approx(200 * constant("people.cost.researcher.usa", "USD/(person*year)"))


def test_computers_lose_value_as_the_published_trend_says() -> None:
    found = data("lab", kind="h100")
    assert value(found, "worth.trend.1y", "1") == pytest.approx(10**-0.14)
    assert value(found, "worth.trend.3y", "1") == pytest.approx(10**-0.42)
    assert value(found, "worth.line.2y", "1") == pytest.approx(0.5)


def test_the_verdict_says_what_to_do_by_size() -> None:
    def said(**options: str) -> str:
        return str(data("lab", kind="h100", **options)["verdict"])

    assert "owning is cheaper in" in said()
    assert "renting is cheaper in" in said(rent="0.5 USD/h")
    assert "staff" in said(accelerators="8")
    assert "rent instead" in said(accelerators="8")
    assert "One job cannot run on all of them" in said(accelerators="1000000")
    assert "One job" not in said()
    assert all(
        len(wrapped(said(accelerators=n), 80)) <= 4 for n in ("8", "100", "10000", "1000000")
    )


def test_a_price_of_ones_own_stands_in_for_the_table() -> None:
    own, table = data("lab", purchase="60000 USD"), data("lab")
    assert value(own, "purchase.h100") == 60_000
    assert value(own, "lab.purchase") > 1.3 * value(table, "lab.purchase")
    assert value(own, "purchase.b200") == value(table, "purchase.b200")
    data("lab", kind="tpu-v4", purchase="10000 USD")


@pytest.mark.parametrize(
    "budget", ["10M USD", "60M USD", "2e9 USD"]
)  # networks of one, two and three tiers
def test_a_budget_pays_for_the_lab_it_names_and_not_for_one_accelerator_more(budget: str) -> None:
    asked = partial(_one, budget=budget)
    count, money = asked("budget.accelerators"), asked("budget.lab")
    kept = asked("budget.staff") + asked("budget.data")
    assert kept + money == pytest.approx(asked("lab.budget"))
    costs = [_one("lab.total", accelerators=f"{n:.0f}") for n in (count, count + 1)]
    assert costs[0] <= money < costs[1]


def _one(name: str, **request: str) -> float:
    """One central value of four years of a lab, of which nothing else is computed."""
    found = Ask("lab", REQUESTS["lab"](kind="h100", years="4 years", **request)).plan().find(name)
    assert found is not None
    return Draws(count=1).centre(found)


def test_a_budget_too_small_for_one_accelerator_is_told_what_it_rents() -> None:
    with pytest.raises(
        CannotPlan, match=r"somebody on duty .* before the first h100; rented, it keeps 0\.36 busy"
    ):
        data("lab", kind="h100", budget="50k USD")
    with pytest.raises(CannotPlan, match="drop one of the two"):
        data("lab", budget="1e9 USD", accelerators="8")
