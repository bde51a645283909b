"""`plan meek`: the published race under its own law, monotone in what it is given, every mistake named."""

import math

import pytest

from archipel.planning.layout import wrapped
from archipel.planning.mistakes import CannotPlan, Conflict, Impossible, UnitMismatch, UnknownName
from planning.asked import data, value


def test_the_published_law_from_the_published_start_gives_the_published_gap() -> None:
    """Gundlach et al. 2025: widest 3.34 years after equal budgets; 0.590 and 0.202 nat at 1e17 and 1e20."""
    for c0, gap in (("1e17", 0.590), ("1e20 FLOP", 0.202)):
        found = data("meek", law="meek", c0=c0)
        assert value(found, "meek.peak_time", "year") == pytest.approx(3.34, abs=0.005)
        assert value(found, "meek.peak_gap.meek") == pytest.approx(gap, abs=5e-4)


def test_every_law_stands_beside_the_published_one() -> None:
    found = data("meek")
    years = {name: value(found, f"meek.peak_time.{name}") for name in ("meek", "besiroglu")}
    assert years == pytest.approx({"meek": 3.34, "besiroglu": 2.90}, abs=0.005)
    assert value(found, "meek.peak_gap.meek.1e17") == pytest.approx(0.590, abs=5e-4)
    assert value(found, "meek.law.hoffmann.coefficient") == pytest.approx(1071.4, abs=0.1)


def test_when_the_gap_is_widest_does_not_depend_on_the_start() -> None:
    first, second = (value(data("meek", c0=c0), "meek.peak_time") for c0 in ("1e17", "1e21"))
    assert first == second


def test_a_larger_fixed_budget_is_never_further_behind() -> None:
    found = [data("meek", budget=f"{budget} USD") for budget in ("1000", "100k", "10M")]
    for name in ("meek.gap.0y", "meek.points.0y", "meek.today.reach"):
        values = [value(each, name) for each in found]
        assert values == sorted(values, reverse=True), name


def test_progress_that_favours_large_runs_prolongs_the_advantage() -> None:
    found = data("meek")
    assert value(found, "meek.today.scaled_closed") > value(found, "meek.today.closed")
    assert value(found, "meek.scaled.peak_time") > value(found, "meek.peak_time.besiroglu")
    alike = data(
        "meek", "frontier.algorithmic.rate_small=2.8", "frontier.algorithmic.rate_frontier=2.8"
    )
    assert value(alike, "meek.today.scaled_closed") == pytest.approx(
        value(alike, "meek.today.closed"), rel=0.01
    )
    assert value(alike, "meek.scaled.peak_time") == pytest.approx(
        value(alike, "meek.peak_time"), rel=0.01
    )


def test_bounded_leads_shrink_and_unbounded_ones_grow() -> None:
    rows = {row[0]: row[2:] for row in _table(data("meek"), "Bounded")}
    for name, cells in rows.items():
        values = [cell["value"] for cell in cells]
        shrinks = name in ("loss", "MMLU score")
        assert values == sorted(values, reverse=shrinks), name


def test_falling_prices_bring_the_frontier_within_reach_only_if_they_outrun_it() -> None:
    found = data("meek")
    assert value(found, "meek.run.meets.epoch") < value(found, "meek.run.meets.cottier")
    assert math.isinf(value(found, "meek.run.meets.algorithmic"))
    behind, rate = value(found, "meek.run.behind"), value(found, "frontier.meek.inference_growth")
    assert rate ** value(found, "meek.run.reach.cottier") == pytest.approx(behind)
    assert value(found, "meek.run.gap.cottier") < value(found, "meek.run.training_gap")


def test_a_point_worth_more_justifies_a_larger_run() -> None:
    worth = [
        value(data("meek", value=v), "meek.stop.cost") for v in ("1M USD", "10M USD", "1B USD")
    ]
    assert worth == sorted(worth)
    nats = [value(data("meek", nat_value=v), "meek.stop.flop") for v in ("1M USD", "100M USD")]
    assert nats == sorted(nats)


def test_at_the_stop_the_next_doubling_is_worth_its_cost() -> None:
    found = data("meek", nat_value="1M USD", law="hoffmann")
    flop, price = value(found, "meek.stop.flop"), value(found, "meek.price")
    exponent = value(found, "meek.law.hoffmann.exponent")
    removed = value(found, "meek.law.hoffmann.coefficient") * flop**-exponent * (1 - 2**-exponent)
    assert removed / 0.01 * 1e6 == pytest.approx(flop * price)


def test_costs_of_doubling_follow_the_price_of_compute() -> None:
    cheap, dear = (data("meek", f"frontier.meek.C0={c0}") for c0 in ("1e21", "1e20"))
    name = "meek.doubling.1e25.cost"
    assert value(dear, name) == pytest.approx(10 * value(cheap, name))


def test_half_for_better_methods_is_best_at_elasticity_one_and_a_large_budget() -> None:
    found = data("meek", "meek.research_elasticity=1", spend="100B USD")
    assert value(found, "meek.split.share") == pytest.approx(50.0, abs=0.1)
    small = data("meek", "meek.research_elasticity=1", spend="1M USD")
    assert value(small, "meek.split.share") == 0.0


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"value": "1M", "nat_value": "1M"}, Conflict, ("--value", "--nat-value", "drop")),
        ({"law": "besiroglo"}, UnknownName, ("besiroglu",)),
        ({"budget": "5 kW"}, UnitMismatch, ("--budget", "money")),
        ({"c0": "1000 USD"}, UnitMismatch, ("--c0", "compute")),
        ({"budget": "1T", "frontier": "1M"}, Impossible, ("--frontier", "more than")),
        ({"g_alg": "0.9"}, Impossible, ("--g-alg", "above 1")),
        ({"years": "900"}, Impossible, ("--years", "60")),
        ({"threshold": "0"}, Impossible, ("--threshold",)),
        ({"value": "1 USD"}, Impossible, ("--value", "give at least")),
        ({"value": "1e30 USD"}, Impossible, ("--value", "give less")),
        ({"spend": "0"}, Impossible, ("--spend",)),
        ({"c0": "3"}, Impossible, ("--c0", "1e6")),
    ],
)
def test_a_mistake_names_the_option_and_what_would_do(
    options: dict[str, str], kind: type[CannotPlan], words: tuple[str, ...]
) -> None:
    with pytest.raises(kind) as caught:
        data("meek", **options)
    assert all(word in str(caught.value) for word in words), caught.value


def _table(found: dict, title: str) -> list:
    return next(table["rows"] for table in found["tables"] if table["title"].startswith(title))


def test_points_are_points_and_the_verdict_is_short() -> None:
    found = data("meek")
    assert found["quantities"]["meek.points.0y"]["unit"] in ("", "1")
    assert found["quantities"]["meek.observed.mmlu_start"]["value"] == pytest.approx(20)
    assert found["quantities"]["meek.observed.mmlu_pro_2023"]["value"] == pytest.approx(20)
    assert len(wrapped(found["verdict"], 80)) <= 4
