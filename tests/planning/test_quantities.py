"""Numbers that know where they come from: units are kept, intervals propagate, derivations explain themselves."""

import math

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from archipel.planning.explaining import explained
from archipel.planning.mistakes import UnitMismatch
from archipel.planning.quantity import (
    Quantity,
    Source,
    Stated,
    ancestry,
    derive,
    given,
    scoped,
    stated,
    total,
)
from archipel.planning.sampling import Draws, interval, paired_ratio
from archipel.planning.tables import shelf
from archipel.planning.units import amount, factor, in_dollars, kind_of, spell, unit
from archipel.planning.wording import amount_text, range_text

PAPER = Source("paper", "A paper", "Author", 2024, "https://arxiv.org/abs/0000.00000")


def _figure(name: str, value: float, low: float, high: float, units: str = "USD") -> Quantity:
    return stated(name, units, Stated(value, "published", PAPER, low, high), name)


@pytest.mark.parametrize(
    ("text", "expected", "value"),
    [
        ("50k USD", "USD", 5e4),
        ("$50,000", "USD", 5e4),
        ("$100M", "USD", 1e8),
        ("100 million USD", "USD", 1e8),
        ("70B", "param", 7e10),
        ("1.4T tokens", "token", 1.4e12),
        ("3.8e25 FLOP", "FLOP", 3.8e25),
        ("30 days", "h", 720.0),
        ("60 Mbit/s", "GB/s", 0.0075),
        ("40%", "1", 0.4),
        ("$2/h", "USD/(accelerator*h)", 2.0),
        ("5 kW", "W", 5000.0),
        ("10000", "accelerator", 10000.0),
        ("70 GB", "GB", 70.0),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, expected: str, value: float) -> None:
    assert amount(text, expected, "--x") == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5 kW", "USD"), ("", "USD"), ("ten", "USD"), ("3 weeks", "param"), ("1e24 FLOP", "USD"),
     ("nan", "USD"), ("1" * 200, "USD"), ("5 5", "USD"), ("1e400", "USD"), ("inf", "USD"),
     ("_1", "1"), ("\u0661\u0662", "1"), ("6 m", "year"), ("3T", "W"), ("50 000", "USD")],
)  # fmt: skip
def test_an_amount_of_another_kind_is_refused_with_an_example(text: str, expected: str) -> None:
    with pytest.raises(UnitMismatch, match=r"--x: got .*expected .*such as"):
        amount(text, expected, "--x")


def test_whatever_a_plan_prints_of_a_constant_can_be_typed_back() -> None:
    """`$2.95/accelerator-hour`, `0.04 per year`, `1,299 TFLOP/s each`, `7 B param`."""
    for entries in shelf().entries.values():
        for each in entries:
            for units in (each.unit, spell(unit(each.unit))):
                printed = amount_text(each.figure.value, units, digits=12)
                assert amount(printed, each.unit, "--set") == pytest.approx(
                    each.figure.value, rel=0.01
                )


@pytest.mark.parametrize(
    ("text", "dollars"),
    [("50k EUR", "100k USD"), ("€50,000", "100000 USD"), ("EUR 2.5/h", "5 USD/h"),
     ("-3 EUR", "-6 USD"), ("50k USD", "50k USD"), ("€", "€"), ("3 EUR EUR", "3 EUR EUR"),
     ("2 token/EUR", "2 token/EUR"), ("2 days", "2 days"), ("NEUR 2", "NEUR 2"),
     ("80,000 Ft", "400 USD"), ("35bn HUF", "0.175bn USD"), ("HUF 100/h", "0.5 USD/h"),
     ("£3 EUR", "£3 EUR"), ("3 EUR/HUF", "3 EUR/HUF"), ("3 XXX", "3 XXX"), ("3 kr", "3 kr"),
     ("3 Frites", "3 Frites"), ("3 eur", "3 eur"), ("1 EUR" + " " * 99, "1 EUR" + " " * 99)],
)  # fmt: skip
def test_other_currencies_become_dollars_and_nothing_else_does(text: str, dollars: str) -> None:
    assert in_dollars(text, {"eur": 2.0, "huf": 0.005}) == dollars


@pytest.mark.parametrize("text", ["2,10", "1,25", "10,00,000", ",1"])
def test_a_decimal_comma_is_never_dropped(text: str) -> None:
    """2,10 read as 210 would be a hundredfold price."""
    with pytest.raises(UnitMismatch, match="got"):
        amount(text, "USD/h", "--price")


@pytest.mark.parametrize("text", ["9**9**9 USD", "USD**99", "USD*2", "(" * 500, "USD/9**9"])
def test_a_unit_is_a_name_and_never_arithmetic_that_runs_away(text: str) -> None:
    with pytest.raises(UnitMismatch, match="unknown unit"):
        unit(text)


def test_speeds_of_lines_are_read_as_they_are_sold() -> None:
    assert amount("60 Mbps", "bit/s", "--bandwidth") == 60e6
    assert amount("1 Gbps", "Mbit/s", "--bandwidth") == pytest.approx(1000.0)


def test_a_budget_may_be_money_compute_or_time() -> None:
    kinds = {"money": "USD", "compute": "FLOP", "time": "h"}
    assert kind_of("50k USD", kinds, "--budget") == ("money", 5e4)
    assert kind_of("1e24 FLOP", kinds, "--budget") == ("compute", 1e24)
    assert kind_of("30 days", kinds, "--budget") == ("time", 720.0)
    with pytest.raises(UnitMismatch, match="--budget: got '5 kW', expected money"):
        kind_of("5 kW", kinds, "--budget")


def test_units_multiply_and_refuse_to_be_added_across_kinds() -> None:
    count = given("count", 8.0, "accelerator", "--n")
    power = given("tdp", 700.0, "W/accelerator", "--tdp")
    hours = given("hours", 1000.0, "h", "--h")
    energy = (count * power * hours).named("energy", "energy", "MWh")
    assert Draws().centre(energy) == pytest.approx(5.6)
    assert spell(energy.unit) == "MWh"
    with pytest.raises(UnitMismatch):
        _ = count + power
    with pytest.raises(UnitMismatch):
        energy.to("USD")


@examples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_sums_convert_whatever_unit_their_parts_are_in(a: float, b: float, c: float) -> None:
    parts = [given("a", a, "USD", "-"), given("b", b, "kUSD", "-"), given("c", c, "MUSD", "-")]
    expected = a + 1e3 * b + 1e6 * c
    assert Draws().centre(total(parts)) == pytest.approx(expected)
    assert Draws().centre(parts[0] + parts[1] + parts[2]) == pytest.approx(expected)


def test_a_conversion_there_and_back_changes_nothing() -> None:
    there, back = factor(unit("TFLOP/s"), unit("FLOP/h")), factor(unit("FLOP/h"), unit("TFLOP/s"))
    assert there * back == pytest.approx(1.0)
    assert there == pytest.approx(3.6e15)


def test_the_median_and_the_interval_of_a_stated_figure_come_back_from_its_draws() -> None:
    figure = _figure("price", 30.0, 20.0, 60.0)
    drawn = Draws(seed=1, count=100_000).samples(figure)
    assert np.percentile(drawn, [5, 50, 95]) == pytest.approx([20.0, 30.0, 60.0], rel=0.02)


def test_shares_stay_shares() -> None:
    share = stated("share", "1", Stated(0.9, "assumed", PAPER, 0.5, 0.99, "linear"))
    drawn = Draws(count=50_000).samples(share)
    assert drawn.min() >= 0.0
    assert drawn.max() <= 1.0


def test_intervals_propagate_as_the_closed_form_says() -> None:
    """A product of log-normals is log-normal with the squares of the widths added."""
    first, second = _figure("a", 10.0, 5.0, 20.0), _figure("b", 3.0, 1.0, 9.0, "1")
    found = Draws(count=200_000).estimate(first * second)
    width = math.sqrt(math.log(2.0) ** 2 + math.log(3.0) ** 2)
    assert found.value == pytest.approx(30.0)
    assert found.low == pytest.approx(30.0 * math.exp(-width), rel=0.03)
    assert found.high == pytest.approx(30.0 * math.exp(width), rel=0.03)


def test_the_same_input_used_twice_is_one_uncertainty_not_two() -> None:
    price = _figure("price", 10.0, 5.0, 20.0)
    found = Draws().estimate(price / price)
    assert (found.low, found.high) == pytest.approx((1.0, 1.0))


def test_same_seed_same_numbers_and_another_seed_others() -> None:
    price = _figure("price", 10.0, 5.0, 20.0)
    again = _figure("price", 10.0, 5.0, 20.0)
    assert np.array_equal(Draws(3).samples(price), Draws(3).samples(again))
    assert not np.array_equal(Draws(3).samples(price), Draws(4).samples(price))


def test_figures_of_different_names_are_independent() -> None:
    a, b = _figure("a", 1.0, 0.5, 2.0), _figure("b", 1.0, 0.5, 2.0)
    drawn = Draws(count=50_000)
    assert abs(np.corrcoef(np.log(drawn.samples(a)), np.log(drawn.samples(b)))[0, 1]) < 0.02


def test_the_tornado_lists_the_widest_input_first_and_leaves_out_exact_ones() -> None:
    wide, narrow = _figure("wide", 10.0, 1.0, 100.0), _figure("narrow", 10.0, 9.0, 11.0)
    exact = given("exact", 10.0, "USD", "--x")
    swings = Draws().swings(wide + narrow + exact)
    assert [swing.input.name for swing in swings] == ["wide", "narrow"]
    assert (swings[0].at_low, swings[0].at_high) == pytest.approx((21.0, 120.0))


def test_shared_uncertainty_cancels_out_of_a_paired_ratio() -> None:
    price = _figure("price", 10.0, 5.0, 20.0)
    found = paired_ratio(Draws(), price * 2.0, price * 6.0)
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))


def test_a_derivation_names_every_input_with_its_source() -> None:
    price = _figure("price", 10.0, 5.0, 20.0)
    cost = (price * given("count", 3.0, "1", "--count")).named("cost", "what it costs", "USD")
    text = explained(cost, Draws())
    for expected in (
        "cost = $30",
        "price × count",
        "A paper, Author",
        "arxiv",
        "given by you (--count)",
    ):
        assert expected in text


def test_ancestry_puts_parents_before_children_each_once() -> None:
    price = _figure("price", 10.0, 5.0, 20.0)
    twice = (price * 2.0).named("twice", "twice", "USD")
    both = (price + twice).named("both", "both", "USD")
    names = [quantity.name for quantity in ancestry([both, twice]) if quantity.name]
    assert names == ["price", "twice", "both"]


def test_a_scoped_graph_has_new_names_and_the_same_draws() -> None:
    price = _figure("price", 10.0, 5.0, 20.0)
    cost = derive("cost", "USD", [(price, "USD")], lambda p: 2.0 * p, "2 price")
    (other,) = scoped([cost], "b")
    assert other.name == "cost@b"
    assert paired_ratio(Draws(), cost, other).high == pytest.approx(1.0)


def test_an_interval_without_an_end_is_shown_as_such() -> None:
    """A number that may never come is not exact."""
    row = {"value": 5.0, "low": 2.0, "high": math.inf, "unit": "d"}
    assert range_text(row) == "5 d [2 – never]"
    assert range_text({**row, "unit": "USD"}) == "$5.00 [2.00 – ∞]"
    assert amount_text(math.nan, "USD") == "undefined"


def test_worlds_without_meaning_leave_the_interval_of_the_others() -> None:
    assert interval(np.array([1.0, 2.0, 3.0, math.nan])) == (1.0, 3.0)
    assert all(math.isnan(end) for end in interval(np.array([math.nan])))


def test_what_is_never_nothing_is_never_drawn_as_nothing() -> None:
    speed = stated("speed", "1", Stated(2.0, "assumed", PAPER, 0.1, 9.0, "linear"))
    assert Draws(count=100_000).samples(speed).min() > 0.0
