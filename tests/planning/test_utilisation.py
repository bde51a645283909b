"""Utilisation of training: the constants that are kept are the fit's own, and they hold on runs left out."""

import math

import numpy as np
import pytest

from archipel.planning import covering, fitting
from archipel.planning.documented import request_of, rows
from archipel.planning.laws.utilisation import LARGE, MOST, By, utilisation
from archipel.planning.questions.lawbook_market import MARKET
from archipel.planning.questions.lawbook_training import TRAINING
from archipel.planning.tables import bibliography
from planning.asked import constant, data, value

BY = By(-0.09, -0.19, 0.12)


@pytest.fixture(scope="module")
def held() -> list[covering.Held]:
    return fitting.held_out()


def test_the_constants_kept_are_those_that_the_rows_give() -> None:
    for name, (middle, low, high) in fitting.table().items():
        figure = fitting.shelf().entry(f"utilisation.{name}").figure
        assert (figure.value, figure.low, figure.high) == pytest.approx((middle, low, high)), name


def test_nine_tenths_of_figures_left_out_lie_in_their_intervals(held: list[covering.Held]) -> None:
    """And half of them nearer than with one utilisation for all; a whole lab left out, four fifths."""
    fitted = [(each.measured, each.predicted, each.low, each.high) for each in held]
    found = covering.covered("training", "fit", fitted)
    before = covering.covered("training", "", [(each.measured, *each.before) for each in held])
    assert 0.85 <= found.covered <= 0.95
    assert found.median_apart < 0.8 * before.median_apart
    assert found.wide < before.wide
    labs = [e.low <= e.measured <= e.high for e in fitting.held_out(whole_labs=True)]
    assert sum(labs) >= 0.8 * len(labs)


def test_a_figure_is_predicted_without_itself_and_others_of_its_lab_or_chip(
    held: list[covering.Held],
) -> None:
    seen = fitting.points()
    assert sorted(each.name for each in held) == sorted(each.name for each in seen)
    for out, rest in fitting.left_out(seen):
        assert len(out) + len(rest) == len(seen)
        assert not {(e.lab, e.kind) for e in out} & {(e.lab, e.kind) for e in rest}


def test_every_row_has_a_known_source_and_says_one_thing() -> None:
    for row in rows():
        assert row["source"] in bibliography(), row["name"]
        assert sum(key in row for key in ("pace", "share", "hours")) == 1, row["name"]
        assert ("tokens" in row) == ("hours" in row), row["name"]
        assert request_of(row).params if "hours" in row else row["count"] >= 1
    assert len({row["name"] for row in rows()}) == len(rows())
    assert all(0.05 < each.reached < 1.2 for each in fitting.points())


@pytest.mark.parametrize("peak", [65.0, 312.0, 989.4, 2500.0, 1e5])
@pytest.mark.parametrize("active", [1e6, 1e9, 7e10, 1e12])
@pytest.mark.parametrize("held_for_each", [1.0, 4.0, 100.0])
def test_it_is_a_share_and_falls_with_experts_and_rises_with_size(
    peak: float, active: float, held_for_each: float
) -> None:
    reached = utilisation(peak, held_for_each * active, active, 0.48, BY)
    assert 0.0 < reached <= MOST
    assert reached >= utilisation(peak, 2 * held_for_each * active, active, 0.48, BY)
    assert reached <= utilisation(peak, 2 * held_for_each * active, 2 * active, 0.48, BY)


def test_a_large_model_fills_every_chip_and_a_small_one_a_slow_chip() -> None:
    sizes = np.array([1e8, LARGE, 4e11])
    slow, fast = (utilisation(peak, sizes, sizes, 0.48, BY) for peak in (312.0, 2250.0))
    assert slow[0] == slow[1] == slow[2]
    assert fast[0] < fast[1] == fast[2]


def test_what_was_given_is_used_and_only_what_was_not_is_fitted() -> None:
    """A utilisation given is that of the run; with a goodput given, its steps are as fast as the fit says."""
    run = {"params": "70B", "tokens": "1T", "count": "512"}
    fitted, paced, given = (
        data("train", **run, **more) for more in ({}, {"goodput": "1"}, {"mfu": "0.4"})
    )
    peak = constant("accelerator.h100.bf16", "TFLOP/(s*accelerator)")
    whole = constant("utilisation.whole")
    assert value(given, "train.speed") == pytest.approx(0.4 * peak)
    assert value(paced, "train.speed") == pytest.approx(value(paced, "train.mfu") * peak)
    assert value(fitted, "train.speed") == pytest.approx(whole * value(paced, "train.speed"))


def test_counting_attention_changes_how_compute_is_counted_not_how_long_it_takes() -> None:
    run = {"params": "7B", "tokens": "1T", "count": "64", "sequence": "32768"}
    plain, counted = data("train", **run), data("train", **run, attention=True)
    hours = [value(each, "train.accelerator_hours") for each in (plain, counted)]
    assert hours[0] == pytest.approx(hours[1])
    longer = value(counted, "train.flop") / value(plain, "train.flop")
    assert longer == pytest.approx(value(counted, "train.attention"))


def test_a_measured_draw_replaces_nameplate_and_share() -> None:
    found = data("train", params="7B", tokens="1T", count="64", draw="1 kW")
    hours, pue = value(found, "train.accelerator_hours"), constant("power.pue.colocation")
    assert value(found, "train.energy", "kWh") == pytest.approx(hours * pue)


def test_a_gap_between_figures_is_the_same_both_ways() -> None:
    assert covering.apart(2.0, 1.0) == covering.apart(1.0, 2.0) == pytest.approx(1.0)
    found = covering.covered("x", "y", [(1.0, 1.05, 0.9, 1.1), (1.0, 2.0, 1.5, 3.0)])
    assert (found.close, found.covered) == (0.5, 0.5)
    assert math.isclose(found.wide, (1.1 / 0.9 + 2.0) / 2)


def test_no_law_is_called_by_two_names_alike() -> None:
    assert not set(TRAINING) & set(MARKET)
