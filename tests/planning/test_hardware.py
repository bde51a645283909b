"""Accelerators, prices, rents and currencies: every row is physically possible, dated, and agrees with its like."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from archipel.planning.answering import Setting, named
from archipel.planning.asking import Ask
from archipel.planning.mistakes import CannotPlan
from archipel.planning.renting import REGION
from archipel.planning.requests import REQUESTS
from archipel.planning.tables import Shelf, read_own, shelf
from planning.asked import constant

BOUNDS = {
    "s to read all memory": ("memory", "bandwidth", 0.012, 2.0),
    "FLOP per byte read": ("bf16", "bandwidth", 15.0, 700.0),
    "TFLOP/s per watt": ("bf16", "tdp", 0.03, 4.0),
    "fp8 over bf16": ("fp8", "bf16", 1.0, 2.05),
    "int8 over bf16": ("int8", "bf16", 1.0, 4.1),
    "fp4 over bf16": ("fp4", "bf16", 3.99, 8.1),
    "server over chip": ("server_power", "tdp", 1.0, 3.1),
}
SCALE = {"memory": 1e9, "bandwidth": 1e12, "bf16": 1e12, "fp8": 1e12, "fp4": 1e12, "int8": 1e12}
NEEDED = ("memory", "bandwidth", "bf16", "tdp", "server_power", "server_size")
LIKE = re.compile(r"(m\d(?:-pro|-max|-ultra)?)-(\d+)")


@cache
def known() -> Shelf:
    return shelf()


def figure(name: str) -> float:
    return known().entry(name).figure.value


def rows(group: str) -> Iterator[tuple[str, str, float]]:
    """Kind, vintage and value of every constant `group.KIND`."""
    for name, vintages in known().entries.items():
        if name.startswith(f"{group}.") and name.count(".") == 1:
            for each in vintages:
                yield name.partition(".")[2], each.figure.vintage, each.figure.value


@pytest.mark.parametrize("what", BOUNDS)
def test_no_accelerator_leaves_what_machines_can_be(what: str) -> None:
    above, below, least, most = BOUNDS[what]
    scale = SCALE.get(above, 1.0) / SCALE.get(below, 1.0)
    if what == "TFLOP/s per watt":
        scale = 1.0
    for kind in known().members("accelerator"):
        first = f"accelerator.{kind}.{above}"
        if first in known():
            ratio = figure(first) / figure(f"accelerator.{kind}.{below}") * scale
            assert least <= ratio <= most, f"{kind}: {ratio:g} {what}"


def test_every_accelerator_is_whole_and_was_introduced_before_its_table() -> None:
    kinds = known().members("accelerator")
    assert len(kinds) > 120
    for kind in kinds:
        at = f"accelerator.{kind}"
        assert all(f"{at}.{each}" in known() for each in NEEDED), kind
        assert all(known().fact(f"{at}.{each}") for each in ("title", "vendor", "class")), kind
        introduced = known().fact(f"{at}.introduced")
        assert re.fullmatch(r"20[12]\d-[01]\d", introduced), kind
        assert introduced <= known().entry(f"{at}.memory").figure.vintage, kind


def test_a_chip_with_less_memory_differs_in_what_its_row_says_and_costs_less() -> None:
    chips = [found for kind in known().members("accelerator") if (found := LIKE.fullmatch(kind))]
    assert len(chips) > 25
    for found in chips:
        kind, chip, memory = found[0], found[1], float(found[2])
        here, there = f"accelerator.{kind}.", f"accelerator.{chip}."
        assert figure(f"{here}memory") == memory < figure(f"{there}memory"), kind
        assert known().fact(f"{here}title").endswith(f"{found[2]} GB"), kind
        assert figure(f"{here}bandwidth") <= figure(f"{there}bandwidth"), kind
        assert figure(f"{here}server_power") == figure(f"{there}server_power"), kind
        assert known().fact(f"{here}class") == "apple", kind
        prices = [f"purchase.{each}" for each in (kind, chip)]
        if all(price in known() for price in prices):
            assert figure(prices[0]) < figure(prices[1]), kind


@pytest.mark.parametrize("word", ["m4-max:64", "m4-max-64", "M4-MAX:64", "Apple M4 Max, 64 GB"])
def test_a_choice_of_memory_stands_behind_a_colon_or_a_dash(word: str) -> None:
    assert known().choose("accelerator", word, "accelerator") == "m4-max-64"


def test_prices_are_of_machines_and_in_the_money_that_machines_cost() -> None:
    for kind, vintage, price in rows("purchase"):
        per_gigabyte = price / figure(f"accelerator.{kind}.memory")
        assert 10 < per_gigabyte < 1500, f"{kind} {vintage}: {per_gigabyte:g} USD/GB"
    for kind, vintage, rent in rows("rental"):
        watts = figure(f"accelerator.{kind}.tdp")
        assert 2e-4 < rent / watts < 2e-2, f"{kind} {vintage}: {rent / watts:g} USD/h per W"


def test_prices_are_dated_near_their_table() -> None:
    for name, vintages in known().entries.items():
        if name.partition(".")[0] not in ("purchase", "rental", "currency"):
            continue
        for each in vintages:
            months = [
                12 * int(date[:4]) + int(date[5:7] or 12)
                for date in (each.figure.date, each.figure.vintage)
            ]
            assert -42 <= months[0] - months[1] <= 9, f"{name} {each.figure.vintage}"


def test_every_other_name_is_of_something() -> None:
    groups = ("accelerator", "energy.price", "energy.carbon", "law.chinchilla")
    members = {member for group in groups for member in known().members(group)}
    for name in known().members("alias"):
        assert known().fact(f"alias.{name}") in members, name
        assert name not in known().members("accelerator"), f"{name} hides an accelerator"


def test_a_spot_machine_costs_no_more_than_the_same_on_demand() -> None:
    compared = 0
    places = known().members(REGION)
    for group in [f"{REGION}.{place}{spot}" for place in places for spot in ("", ".spot")]:
        for kind in known().members(group):
            if f"{group}.{kind}" not in known():
                continue
            assert f"accelerator.{kind}.memory" in known(), f"{group}: {kind}"
            whole = f"{group.removesuffix('.spot')}.{kind}"
            if group.endswith(".spot") and whole in known():
                compared += 1
                assert figure(f"{group}.{kind}") < figure(whole), f"{group}: {kind}"
    assert len(places) >= 8
    assert compared > 15


def test_the_krone_follows_the_euro_and_no_currency_halves_in_two_years() -> None:
    codes = known().members("currency")
    assert len(codes) == 17
    assert figure("currency.eur") / figure("currency.dkk") == pytest.approx(7.46, rel=0.004)
    for code in codes:
        values = [each.figure.value for each in known().vintages(f"currency.{code}")]
        assert max(values) / min(values) < 1.25, code


ANCHORS = [
    ("rental.region.aws-us.h100", "USD/(accelerator*h)", 55.04 / 8),
    ("rental.region.aws-us.h200", "USD/(accelerator*h)", 63.296 / 8),
    ("rental.region.aws-us.spot.h100", "USD/(accelerator*h)", 18.6838 / 8),
    ("rental.region.lambda.h100", "USD/(accelerator*h)", 31.92 / 8),
    ("rental.region.lambda.b200", "USD/(accelerator*h)", 53.52 / 8),
    ("rental.region.runpod.spot.rtx-pro-6000", "USD/(accelerator*h)", 0.89),
    ("accelerator.m5-max.bandwidth", "GB/s/accelerator", 614),
    ("accelerator.m5-pro.bandwidth", "GB/s/accelerator", 307),
    ("accelerator.rx9060xt-16.int8", "TFLOP/(s*accelerator)", 410 / 2),
    ("accelerator.rx9060xt-16.bandwidth", "GB/s/accelerator", 320),
    ("purchase.rtx3060", "USD/accelerator", 300),
]
"""Looked up where they are published."""


@pytest.mark.parametrize(("name", "unit", "published"), ANCHORS)
def test_what_was_looked_up_is_what_the_tables_say(name: str, unit: str, published: float) -> None:
    assert constant(name, unit) == pytest.approx(published, rel=0.005)
    assert known().entry(name).figure.source.read != "memory"


def test_the_rates_of_2023_are_those_of_the_federal_reserve() -> None:
    then = shelf("2023-12")
    for code, per_dollar in (("jpy", 140.5001), ("krw", 1306.7637), ("sek", 10.6089)):
        rate = then.entry(f"currency.{code}").figure
        assert (rate.value * per_dollar, rate.vintage) == (pytest.approx(1, rel=1e-3), "2023-12")


def lab(kind: str, own: str = "", **setting: Any) -> Ask:
    table = read_own(own, "own") if own else None
    return Ask("lab", REQUESTS["lab"](kind=kind), Setting(samples=20, **setting), table)


def test_rents_of_a_place_stand_over_the_markets_and_under_ones_own() -> None:
    there = lab("h100", region="aws-europe", spot=True).shelf()
    assert (
        there.entry("rental.h100").figure == known().entry(f"{REGION}.aws-europe.spot.h100").figure
    )
    assert there.entry("rental.rtx4090") == known().entry("rental.rtx4090")
    mine = '{value = 1, unit = "USD/(accelerator*h)", kind = "measured", source = "me"}'
    own = f"rental.h100 = {mine}\nrental.region.cellar.h200 = {mine}"
    assert lab("h100", own, region="aws-us").shelf().entry("rental.h100").figure.value == 1
    assert lab("h100", own, region="cellar").shelf().entry("rental.h200").figure.value == 1


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"region": "aws-uss"}, "did you mean 'aws-us'"),
        ({"region": "aws-us", "as_of": "2025-03"}, "expected 2026-08 or later"),
        ({"region": "lambda", "spot": True}, "choose one of aws-us, aws-europe"),
        ({"spot": True}, "say where, e.g. --region aws-us"),
    ],
)
def test_a_place_that_is_not_known_or_not_then_is_refused(setting: dict, expected: str) -> None:
    with pytest.raises(CannotPlan, match=expected):
        lab("h100", **setting).shelf()


@pytest.mark.parametrize(
    ("kind", "spot", "expected"),
    [
        ("h100", True, "rents of h100 are those of AWS in the United States, spot; they may be"),
        ("rtx4090", False, "AWS in the United States: no rent of rtx4090, the market's is taken"),
    ],
)
def test_a_plan_says_whose_rents_it_takes(kind: str, spot: bool, expected: str) -> None:
    ask = lab(kind, region="aws-us", spot=spot)
    said = ask.data()
    assert any(notice.startswith(expected) for notice in said["notices"]), said["notices"]
    assert said["ask"]["setting"]["region"] == "aws-us"
    changed = said["quantities"][f"rental.{kind}"]["value"] != figure(f"rental.{kind}")
    assert changed == (kind == "h100")


def test_a_market_of_providers_takes_the_same_rents_by_its_own_words() -> None:
    given = REQUESTS["decentralise"](region="aws-us", spot=True)
    plan = Ask("decentralise", given, Setting(samples=20)).plan()
    used = named(plan)
    assert f"{REGION}.aws-us.spot.h100" in used
    assert "rental.h100" not in used


def test_amounts_in_a_currency_are_taken_at_its_dated_rate_and_that_is_said() -> None:
    asked = REQUESTS["lab"](kind="rtx4090", purchase="700,000 Ft")
    then, now = (Ask("lab", asked, Setting(samples=20, as_of=day)) for day in ("2023-12", ""))
    rate = figure("currency.huf")
    assert now.in_dollars().purchase == f"{7e5 * rate:.10g} USD"
    assert then.in_dollars().purchase == now.in_dollars().purchase
    said = now.data()
    assert f"1 HUF is taken as {rate:g} USD" in said["notices"][0]
    assert "from memory" in said["notices"][0]
    own = replace(now, overrides=("currency.huf=0.003",))
    assert own.in_dollars().purchase == "2100 USD"
