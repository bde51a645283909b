"""Lifetime compute: the size found is the cheapest, and read backwards it reveals the inference planned for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.planning.laws import inference_aware as law
from archipel.planning.laws import scaling
from archipel.planning.laws.scaling import Fit

REFIT = Fit(1.8172, 482.01, 2085.43, 0.3478, 0.3658)
ROUNDED = Fit(1.69, 406.4, 410.7, 0.34, 0.28)
SARDANA = Fit(1.69, 406.4, 410.7, 0.336, 0.283)
SERVED = st.floats(9, 15).map(lambda power: 10**power)


@settings(max_examples=30, deadline=None)
@given(st.floats(1.95, 3.0), SERVED)
def test_no_other_size_of_the_same_loss_costs_less_over_its_life(
    loss: float, served: float
) -> None:
    best = law.params_for_loss_and_use(loss, served, REFIT)
    sizes = best * np.geomspace(0.5, 2, 201)
    tokens = scaling.tokens_for_loss(loss, sizes, REFIT)
    costs = law.lifetime_flop(sizes, tokens, served)
    assert law.lifetime_flop(best, tokens[100], served) <= costs.min() * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.floats(20, 26).map(lambda power: 10**power), SERVED)
def test_no_other_size_of_the_same_lifetime_budget_has_less_loss(
    flop: float, served: float
) -> None:
    best = law.params_for_budget_and_use(flop, served, REFIT)
    sizes = best * np.geomspace(0.5, 1.2, 101)
    tokens = law.tokens_for_budget_and_use(flop, sizes, served)
    here = scaling.loss(best, law.tokens_for_budget_and_use(flop, best, served), REFIT)
    assert here <= scaling.loss(sizes, tokens, REFIT).min() + 1e-12


@settings(max_examples=20, deadline=None)
@given(st.floats(1.95, 3.0), SERVED)
def test_the_size_chosen_reveals_the_inference_it_was_chosen_for(
    loss: float, served: float
) -> None:
    params = law.params_for_loss_and_use(loss, served, REFIT)
    tokens = scaling.tokens_for_loss(loss, params, REFIT)
    assert law.revealed_tokens(params, tokens, REFIT) == pytest.approx(served, rel=1e-4)


def test_without_inference_it_is_chinchilla() -> None:
    flop = 1e22
    best = scaling.optimal_params(flop, REFIT)
    assert law.params_for_budget_and_use(flop, 0.0, REFIT) == pytest.approx(best, rel=1e-6)
    assert law.params_for_loss_and_use(scaling.best_loss(flop, REFIT), 0.0, REFIT) == pytest.approx(
        best, rel=1e-6
    )


def test_more_inference_never_asks_for_a_larger_model() -> None:
    sizes = law.params_for_loss_and_use(2.1, np.geomspace(1e9, 1e15, 50), REFIT)
    assert np.all(np.diff(sizes) < 0)


def test_the_papers_example_of_a_13b_quality_model_serving_2t_tokens() -> None:
    """Sardana and Frankle 2024, figure 1: 7B instead of 13B saves 1.7e22 FLOP, 17% of lifetime compute."""
    flop = scaling.flop_where_optimal(13e9, SARDANA)
    loss = scaling.best_loss(flop, SARDANA)
    params = law.params_for_loss_and_use(loss, 2e12, SARDANA)
    there = law.lifetime_flop(13e9, flop / 6 / 13e9, 2e12)
    here = law.lifetime_flop(params, scaling.tokens_for_loss(loss, params, SARDANA), 2e12)
    assert params == pytest.approx(7e9, rel=0.01)
    assert there - here == pytest.approx(1.7e22, rel=0.01)
    assert (there - here) / there == pytest.approx(0.17, abs=0.005)


@pytest.mark.parametrize(("fit", "ratio", "trillions"), [(ROUNDED, 2.52, 69), (REFIT, 5.22, 190)])
def test_what_llama_3_8b_on_15t_tokens_reveals(fit: Fit, ratio: float, trillions: float) -> None:
    """Balance 2.52 and 69T tokens served under Hoffmann's rounded constants, 5.22 and 190T under the refit."""
    assert law.balance(8e9, 15e12, fit) == pytest.approx(ratio, rel=0.003)
    assert law.revealed_tokens(8e9, 15e12, fit) == pytest.approx(trillions * 1e12, rel=0.01)


@settings(max_examples=20, deadline=None)
@given(st.floats(9, 12).map(lambda power: 10**power), SERVED)
def test_size_and_data_for_a_use_reveal_that_use(params: float, served: float) -> None:
    tokens = law.tokens_for_params_and_use(params, served, REFIT)
    assert law.revealed_tokens(params, tokens, REFIT) == pytest.approx(served, rel=1e-4)
    assert law.params_for_tokens_and_use(tokens, served, REFIT) == pytest.approx(params, rel=1e-6)
