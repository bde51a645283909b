"""The arithmetic of a cascade: heads, calibration, one threshold, and what its curve is worth."""

import math
from dataclasses import replace

import numpy as np
import pytest

from archipel.serve.cascade.confidence import (
    FLOOR,
    calibration_error,
    fit_rising,
    quantile,
    signs_of,
)
from archipel.serve.cascade.curves import Curve, curve_of, oracle_curve, recovered, share_for
from archipel.serve.cascade.fitting import Chances, Evidence, Rules, TooLittle, fit, told_of
from archipel.serve.cascade.heads import fit_head, out_of_fold, sigmoid


def evidence(num: int, seed: int, width: int = 12) -> Evidence:
    """Questions whose hidden state tells how hard they are, and small answers whose tokens tell more."""
    draw = np.random.default_rng(seed)
    hidden = draw.normal(size=(num, width))
    ease = 1.5 * hidden[:, 0] + draw.normal(size=num)
    small = (draw.random(num) < sigmoid(2 * ease)).astype(float)
    logprobs = [
        -np.abs(draw.normal(size=5)) * math.exp(-one) - 0.01 for one in ease + 0.5 * (2 * small - 1)
    ]
    large = np.maximum(small, draw.random(num) < 0.9)
    seconds = np.ones(num)
    return Evidence(hidden, logprobs, small, large, 0.1 * seconds, seconds, 4 * seconds)


def test_a_head_finds_the_slope_that_made_the_data_and_is_the_same_twice() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(4000, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 0.0]
    y = (draw.random(4000) < sigmoid(1.2 * x[:, 0] - 0.1 * (x[:, 1] - 5.0))).astype(float)
    head = fit_head(x, y, 1.0)
    assert head.weights == pytest.approx([1.2, -0.1, 0.0], abs=0.6)
    assert head.weights[:2] == pytest.approx([1.2, -0.1], abs=0.1)
    again = fit_head(x, y, 1.0)
    assert again.bias == head.bias
    assert (again.weights == head.weights).all()


def test_one_sided_or_constant_columns_leave_a_head_finite() -> None:
    x = np.ones((30, 2))
    head = fit_head(x, np.ones(30))
    assert np.isfinite(head.weights).all()
    assert 0.9 < sigmoid(head.logits(x))[0] < 1.0


def test_held_out_logits_never_come_from_a_head_that_saw_their_row() -> None:
    draw = np.random.default_rng(1)
    x, y = draw.normal(size=(60, 4)), (draw.random(60) < 0.5).astype(float)
    before = out_of_fold(x, y)
    y[7] = 1 - y[7]
    after = out_of_fold(x, y)
    own_fold = np.arange(60) % 5 == 7 % 5
    assert (before[own_fold] == after[own_fold]).all()
    assert (before[~own_fold] != after[~own_fold]).all()


def test_quantiles_and_signs_are_those_of_the_definition() -> None:
    said = [-0.1, -3.0, -0.2, -1.0, -0.4]
    assert quantile(said, 0.0) == -3.0
    assert quantile(said, 0.5) == pytest.approx(-0.4)
    assert quantile(said, 0.25) == pytest.approx(-1.0)
    assert quantile([], 0.5) == FLOOR
    assert signs_of([-math.inf, math.nan], 0.0, 2.0) == pytest.approx(
        [FLOOR, FLOOR, math.log(3), 2]
    )


def test_isotonic_calibration_rises_and_pools_what_falls() -> None:
    score = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    rising = fit_rising(score, np.array([0.0, 1.0, 0.0, 1.0, 1.0, 1.0]))
    assert rising.at == pytest.approx((0.1, 0.25, 0.5))
    assert rising.value == pytest.approx((0.0, 0.5, 1.0))
    fine = rising(np.linspace(0, 1, 101))
    assert (np.diff(fine) >= 0).all()
    assert (fine[0], fine[-1]) == (0.0, 1.0)


def test_confidence_is_calibrated_on_questions_that_it_never_saw() -> None:
    fitted, fresh = fit(evidence(1200, 0)), evidence(2500, 1)
    told = told_of(fitted.gate, fitted.confidence, fresh)
    assert calibration_error(told.confidence, fresh.suffices) < 0.04
    assert fitted.error < 0.04
    overconfident = np.sqrt(told.confidence)
    assert calibration_error(overconfident, fresh.suffices) > 0.08
    better = (
        told.confidence[fresh.suffices == 1].mean() - told.confidence[fresh.suffices == 0].mean()
    )
    assert better > 0.25


def test_calibration_error_by_hand() -> None:
    chance = np.array([0.05, 0.05, 0.95, 0.95])
    assert calibration_error(chance, np.array([0.0, 1.0, 1.0, 1.0])) == pytest.approx(0.25)


def test_a_higher_threshold_never_asks_the_large_model_less() -> None:
    draw = np.random.default_rng(3)
    told = Chances(draw.random(300), draw.random(300))
    before = np.zeros(300, dtype=bool)
    for threshold in np.linspace(0, 1.0001, 60):
        now = told.to_large(Rules(float(threshold), 0.2))
        assert (now | ~before).all()
        before = now
    assert before.all()
    assert not told.to_large(Rules(0.0, 0.2)).any()


def test_the_gate_lets_pass_what_asking_the_small_model_first_would_make_dearer() -> None:
    held = evidence(100, 0)
    assert held.break_even == pytest.approx(0.2)  # 1 second against 4
    rules = Rules(0.9, held.break_even)
    assert rules.is_straight(0.19)
    assert not rules.is_straight(0.2)


def test_too_few_questions_or_no_difference_are_refused() -> None:
    few = evidence(10, 0)
    with pytest.raises(TooLittle, match="of 10 questions"):
        fit(few)
    same = evidence(100, 0)
    with pytest.raises(TooLittle, match="suffices in 100"):
        fit(replace(same, large=same.small))


def test_apgr_and_cpt_against_numbers_worked_by_hand() -> None:
    curve = curve_of(np.array([0.5, 0.25]), np.array([0.7, 0.6]), 0.4, 0.8)
    assert curve.share.tolist() == [0.0, 0.25, 0.5, 1.0]
    assert curve.area == pytest.approx(0.25 * 0.5 + 0.25 * 0.65 + 0.5 * 0.75)
    assert recovered(curve, 0.4, 0.8) == pytest.approx((0.6625 - 0.4) / 0.4)
    assert share_for(curve, 0.5, 0.4, 0.8) == pytest.approx(0.25)  # .6
    assert share_for(curve, 0.8, 0.4, 0.8) == pytest.approx(
        0.6
    )  # .72: a fifth of the way from .7 to .8
    assert share_for(curve, 0.0, 0.4, 0.8) == 0.0


def test_chance_recovers_half_and_the_oracle_its_own_area() -> None:
    line = Curve(np.array([0.0, 1.0]), np.array([0.4, 0.8]))
    assert recovered(line, 0.4, 0.8) == pytest.approx(0.5)
    small = np.array([1.0, 0.0, 0.0, 1.0])
    large = np.array([0.0, 1.0, 1.0, 1.0])
    oracle = oracle_curve(small, large)
    assert oracle.quality.tolist() == [0.5, 0.75, 1.0, 1.0, 1.0]
    assert oracle.area == pytest.approx((0.625 + 0.875 + 1 + 1) / 4)


def test_where_the_large_model_is_no_better_nothing_is_claimed() -> None:
    line = Curve(np.array([0.0, 1.0]), np.array([0.8, 0.8]))
    assert math.isnan(recovered(line, 0.8, 0.8))
    assert math.isnan(share_for(line, 0.5, 0.8, 0.8))
