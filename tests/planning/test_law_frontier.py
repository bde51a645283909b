"""The laws of the race: published figures, limits, and what must grow or shrink whatever the constants."""

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st

from archipel.planning.laws import algorithmic, bounded, distinguish, frontier, returns, scaling
from planning.asked import constant, figures

FIGURES = figures("frontier")
ALPHA, SHARED, OWN = 0.155, 2.8 * 1.4, 3.57
EXPONENTS = st.floats(0.05, 0.4)
FACTORS = st.floats(1.05, 10.0)


def _fit(name: str) -> scaling.Fit:
    parts = (constant(f"law.chinchilla.{name}.{part}") for part in ("E", "A", "B", "alpha", "beta"))
    return scaling.Fit(*parts)


def _peak(coefficient: float, c0: float, exponent: float) -> float:
    start = frontier.reducible_loss(c0, coefficient, exponent)
    when = frontier.widest_after(exponent, SHARED, OWN)
    return float(frontier.loss_gap(when, start, exponent, SHARED, OWN))


COMPUTED = {
    "meek-peak-years": lambda: frontier.widest_after(ALPHA, SHARED, OWN),
    "meek-peak-years-refit": lambda: frontier.widest_after(
        scaling.gamma(_fit("besiroglu")), SHARED, OWN
    ),
    "meek-coefficient": lambda: scaling.best_loss(1.0, _fit("hoffmann")) - _fit("hoffmann").E,
    "meek-exponent": lambda: scaling.gamma(_fit("hoffmann-tex")),
    "meek-peak-gap": lambda: _peak(1070, 1e17, ALPHA),
    "sprt-tokens": lambda: distinguish.tokens_needed(0.05, 0.1),
    "algorithmic-rate": lambda: 2.0 ** (12.0 / constant("frontier.algorithmic.halving", "month")),
    "algorithmic-rate-headline": lambda: _yearly("total_headline"),
    "algorithmic-rate-frontier": lambda: _yearly("total_frontier"),
    "algorithmic-rate-small-bound": lambda: _yearly("total_small"),
    "gpt35-price-decline": lambda: (
        constant("frontier.price_decline.gpt35_from") / constant("frontier.price_decline.gpt35_to")
    ),
    "price-performance": lambda: 10**0.14,
    "open-lag-mmlu": lambda: constant("frontier.lag.open_mmlu_gpt4", "month"),
}


def _yearly(total: str) -> float:
    years = constant("frontier.algorithmic.years", "year")
    return constant(f"frontier.algorithmic.{total}") ** (1.0 / years)


@pytest.mark.parametrize("name", FIGURES)
def test_published_figures_of_the_frontier_are_reproduced(name: str) -> None:
    row = FIGURES[name]
    assert float(COMPUTED[name]()) == pytest.approx(row["published"], rel=row["tolerance"]), row


def test_the_gap_at_its_widest_for_the_other_reading_of_the_start() -> None:
    """2507.07931 with 1e17 FLOP per dollar times 1,000 dollars: 0.202 nat per token."""
    assert _peak(1070, 1e20, ALPHA) == pytest.approx(0.202, abs=5e-4)


@settings(max_examples=50)
@examples(EXPONENTS, FACTORS, FACTORS)
def test_the_gap_is_nowhere_wider_than_at_its_peak(
    exponent: float, shared: float, own: float
) -> None:
    peak = frontier.widest_after(exponent, shared, own)
    widest = frontier.loss_gap(peak, 1.0, exponent, shared, own)
    around = frontier.loss_gap(peak * np.linspace(0.0, 4.0, 81), 1.0, exponent, shared, own)
    assert np.all(around <= widest + 1e-12)
    assert frontier.loss_gap(0.0, 1.0, exponent, shared, own) == 0.0


@settings(max_examples=50)
@examples(EXPONENTS, FACTORS, FACTORS, st.floats(1.0, 1e6))
def test_a_head_start_is_time_already_run(
    exponent: float, shared: float, own: float, lead: float
) -> None:
    """The race from a lead is the race from equal budgets, ln(lead)/ln(own) years later."""
    elapsed = np.log(lead) / np.log(own)
    start = shared ** (exponent * elapsed)
    later = frontier.loss_gap(elapsed + 2.0, start, exponent, shared, own)
    assert frontier.loss_gap(2.0, 1.0, exponent, shared, own, lead) == pytest.approx(later)


def test_the_gap_has_closed_when_it_says() -> None:
    threshold = np.array([0.01, 0.05, 0.1, 5.0])
    years = frontier.closed_after(threshold, 0.5, ALPHA, SHARED, OWN, 1e5)
    assert years[-1] == 0.0
    gaps = frontier.loss_gap(years[:-1], 0.5, ALPHA, SHARED, OWN, 1e5)
    assert gaps == pytest.approx(threshold[:-1])
    assert np.all(np.diff(years) < 0)


def test_after_the_peak_the_gap_halves_in_the_halving_time() -> None:
    half = frontier.halving_years(ALPHA, SHARED)
    late = frontier.loss_gap(np.array([200.0, 200.0 + half]), 1.0, ALPHA, SHARED, OWN)
    assert late[1] / late[0] == pytest.approx(0.5, rel=1e-6)


def test_a_size_that_grows_no_faster_never_catches_up() -> None:
    assert frontier.catch_up_years(100.0, 3.0, 3.0) == np.inf
    assert frontier.catch_up_years(1.0, 9.0, 3.0) == 0.0
    assert 100.0 * 3.0 ** frontier.catch_up_years(100.0, 9.0, 3.0) == pytest.approx(
        9.0 ** frontier.catch_up_years(100.0, 9.0, 3.0)
    )


def test_progress_equal_at_both_scales_is_the_published_race() -> None:
    scale = algorithmic.Scale(1e18, 2.8, 2e23, 2.8)
    fixed = algorithmic.effective_compute(1e20, 4.0, 1.4, scale)
    assert fixed == pytest.approx(1e20 * SHARED**4)


@settings(max_examples=50)
@examples(st.floats(1e10, 1e30), st.floats(1e10, 1e30))
def test_larger_runs_never_gain_less_from_new_methods(first: float, second: float) -> None:
    scale = algorithmic.Scale(1e18, 1.4, 2e23, 2.23)
    low, high = sorted((first, second))
    slow, fast = (algorithmic.yearly_factor(flop, scale) for flop in (low, high))
    assert 1.4 - 1e-12 <= slow <= fast + 1e-12 <= 2.23 + 2e-12


def test_where_a_gap_falls_below_and_where_it_is_widest() -> None:
    grid = np.linspace(0.0, 10.0, 101)
    gap = np.stack([5.0 - np.abs(grid - 3.03), 0.0 * grid, 9.0 + 0.0 * grid], axis=1)
    assert algorithmic.falls_below(grid, gap, 2.0) == pytest.approx([6.03, 0.0, np.inf])
    bow = 5.0 - (grid - 3.03) ** 2
    assert algorithmic.where_widest(grid, bow[:, None])[0] == pytest.approx(3.03)


def test_scores_stay_between_guessing_and_the_ceiling() -> None:
    curve = (0.25, 0.70, -15.9, 1.943)
    loss = np.linspace(1.0, 4.0, 61)
    scores = bounded.score(loss, *curve)
    assert np.all(np.diff(scores) <= 0)
    assert np.all((scores >= 0.25) & (scores <= 0.95))


def test_bounded_leads_fade_and_unbounded_ones_grow() -> None:
    years = np.linspace(0.0, 60.0, 61)
    lead = bounded.compute_lead(years, OWN)
    assert np.all(np.diff(bounded.power_lead(lead, 0.4)) > 0)
    assert np.all(np.diff(bounded.nines_lead(lead, ALPHA)) > 0)
    assert frontier.loss_gap(60.0, 1.0, ALPHA, SHARED, OWN) < 1e-3


def test_telling_models_apart_takes_text_in_inverse_proportion_to_the_gap() -> None:
    assert distinguish.tokens_needed(0.05, 0.1) == pytest.approx(
        10.0 * distinguish.tokens_needed(0.05, 1.0)
    )
    assert distinguish.evidence_nats(0.5) == 0.0


@settings(max_examples=50)
@examples(EXPONENTS, st.floats(1e2, 1e12))
def test_at_the_last_doubling_cost_and_worth_are_equal(exponent: float, worth: float) -> None:
    stop = returns.last_doubling_worth_it(worth, 1e-18, 1000.0, exponent)
    assert worth * returns.doubling_gain(stop, 1000.0, exponent) == pytest.approx(stop * 1e-18)


def test_the_last_crossing_of_worth_and_cost() -> None:
    grid = np.logspace(0, 4, 41)[:, None]
    worth = np.array([[100.0, 1e-9, 1e9]]) + 0.0 * grid
    assert returns.last_crossing(grid, worth, grid) == pytest.approx([100.0, 0.0, 1e4])


@settings(max_examples=50)
@examples(st.floats(0.1, 1e4), st.floats(0.1, 3.0))
def test_no_other_split_gives_more_than_the_best(scale: float, elasticity: float) -> None:
    best = returns.best_research_share(scale, elasticity)
    gains = returns.split_gain(np.linspace(0.0, 1.0, 101), scale, elasticity)
    assert returns.split_gain(best, scale, elasticity) >= np.max(gains) - 1e-9


def test_one_to_one_is_best_for_a_large_budget_at_elasticity_one() -> None:
    assert returns.best_research_share(1e9, 1.0) == pytest.approx(0.5)
    assert returns.best_research_share(0.5, 1.0) == 0.0
