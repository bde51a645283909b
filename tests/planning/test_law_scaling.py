"""The Chinchilla form: its optimum is an optimum, its closed forms agree with it, its published tables return."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.planning.laws import scaling
from archipel.planning.laws.scaling import Fit

REFIT = Fit(1.8172, 482.01, 2085.43, 0.3478, 0.3658)
ROUNDED = Fit(1.69, 406.4, 410.7, 0.34, 0.28)
FITS = [REFIT, ROUNDED, Fit(1.87, 521.0, 1488.0, 0.3526596, 0.3526596)]
FLOP = st.floats(17, 28).map(lambda power: 10**power)


@pytest.mark.parametrize("fit", FITS)
@settings(max_examples=30, deadline=None)
@given(FLOP)
def test_no_other_size_of_the_same_compute_has_less_loss(fit: Fit, flop: float) -> None:
    best = scaling.optimal_params(flop, fit)
    sizes = best * np.geomspace(0.01, 100, 401)
    losses = scaling.loss(sizes, flop / 6 / sizes, fit)
    assert losses.min() >= scaling.best_loss(flop, fit) - 1e-12
    assert np.argmin(losses) == 200


@pytest.mark.parametrize("fit", FITS)
@settings(max_examples=30, deadline=None)
@given(FLOP)
def test_closed_form_loss_is_the_loss_of_the_optimum_and_its_inverse_returns(
    fit: Fit, flop: float
) -> None:
    params, tokens = scaling.optimal_params(flop, fit), scaling.optimal_tokens(flop, fit)
    assert 6 * params * tokens == pytest.approx(flop)
    assert scaling.loss(params, tokens, fit) == pytest.approx(scaling.best_loss(flop, fit))
    assert scaling.flop_for_loss(scaling.best_loss(flop, fit), fit) == pytest.approx(flop, rel=1e-6)
    assert scaling.flop_where_optimal(params, fit) == pytest.approx(flop)
    assert scaling.flop_where_tokens_optimal(tokens, fit) == pytest.approx(flop)


@settings(max_examples=30, deadline=None)
@given(FLOP, st.floats(1.01, 100))
def test_more_compute_never_gives_more_loss(flop: float, more: float) -> None:
    assert scaling.best_loss(flop * more, REFIT) < scaling.best_loss(flop, REFIT)


def test_tokens_and_params_for_a_loss_reach_it_and_are_infinite_out_of_reach() -> None:
    target = 2.2
    tokens = scaling.tokens_for_loss(target, 8e9, REFIT)
    assert scaling.loss(8e9, tokens, REFIT) == pytest.approx(target)
    params = scaling.params_for_loss(target, 1e12, REFIT)
    assert scaling.loss(params, 1e12, REFIT) == pytest.approx(target)
    assert np.isinf(scaling.tokens_for_loss(2.0, 1e9, REFIT))
    assert np.isinf(scaling.params_for_loss(2.0, 1e9, REFIT))
    assert np.isinf(scaling.flop_for_loss(1.8, REFIT))


def test_tokens_per_parameter_at_chinchillas_compute_under_both_constants() -> None:
    """Besiroglu et al. 2024, section 4: 18 with the refit, 93 with Hoffmann's rounded constants."""
    for fit, published in ((REFIT, 18), (ROUNDED, 93)):
        ratio = scaling.optimal_tokens(5.76e23, fit) / scaling.optimal_params(5.76e23, fit)
        assert ratio == pytest.approx(published, rel=0.04)


def test_rounded_constants_give_the_published_compute_frontier() -> None:
    """L* = 1.69 + 1070·C^-0.155 is this closed form along 6ND (Gundlach et al. 2025, equation 1)."""
    assert scaling.gamma(ROUNDED) == pytest.approx(0.155, rel=0.01)
    published = 1.69 + 1070 * 1e23**-0.155
    assert scaling.best_loss(1e23, ROUNDED) - 1.69 == pytest.approx(published - 1.69, rel=0.09)


def test_an_anchored_coefficient_keeps_its_term_at_the_centre() -> None:
    moved = scaling.anchored(482.01, 0.3478, 1e9, np.array([0.32, 0.3478, 0.38]))
    terms = moved * 1e9 ** -np.array([0.32, 0.3478, 0.38])
    assert terms == pytest.approx(np.full(3, 482.01 * 1e9**-0.3478))
    assert moved[1] == pytest.approx(482.01)


def test_a_mixture_with_every_expert_active_learns_like_the_dense_model() -> None:
    assert scaling.dense_equivalent(7e9, 7e9, 0.5) == pytest.approx(7e9)
    assert 37e9 < scaling.dense_equivalent(37e9, 671e9, 0.5) < 671e9


def test_arrays_in_arrays_out() -> None:
    alphas = np.array([0.33, 0.36])
    fit = Fit(1.8, 480.0, 2000.0, alphas, 0.366)
    single = scaling.optimal_params(1e22, Fit(1.8, 480.0, 2000.0, 0.36, 0.366))
    assert scaling.optimal_params(1e22, fit)[1] == pytest.approx(single)
