"""Repeated data: one pass is worth itself, more passes ever less, and the authors' own numbers return."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.planning.laws import repeated_data as law
from archipel.planning.laws import scaling
from archipel.planning.laws.repeated_data import Decay
from archipel.planning.laws.scaling import Fit

C4 = Fit(np.exp(0.6254804), np.exp(6.255414), np.exp(7.3049974), 0.3526596, 0.3526596)
DECAY = Decay(15.387756, 5.309743)


@pytest.mark.parametrize(
    ("params", "tokens", "loss"),
    [(6.34e9, 242e9, 2.2256440889984477), (8.67e9, 178e9, 2.2269634075087867)],
)
def test_loss_is_that_of_the_authors_code(params: float, tokens: float, loss: float) -> None:
    """github.com/huggingface/datablations, README: the two models of figure 1 on 25e9 unique tokens."""
    assert law.repeated_loss(params, tokens, 25e9, C4, DECAY) == pytest.approx(loss, abs=1e-6)


def test_best_allocation_is_that_of_the_authors_search() -> None:
    """The same README: 227B tokens, 9.1 epochs and 6.8B parameters for 6 * 8.67e9 * 178e9 FLOP."""
    flop = 6 * 8.67e9 * 178e9
    params = law.best_params(flop, 25e9, C4, DECAY)
    assert params == pytest.approx(6.8e9, rel=0.01)
    assert flop / 6 / params == pytest.approx(227e9, rel=0.01)
    assert flop / 6 / params / 25e9 == pytest.approx(9.1, rel=0.01)


def test_four_epochs_are_worth_93_percent_of_fresh_data_and_forty_hardly_more_than_sixteen() -> (
    None
):
    worth = law.effective_tokens(np.array([4.0, 16.0, 40.0]), 1.0, DECAY)
    assert worth[0] / 4 == pytest.approx(0.93, abs=0.005)
    assert worth[2] < 1 + DECAY.tokens
    assert worth[2] / worth[1] < 1.6


@settings(max_examples=30, deadline=None)
@given(st.floats(8, 12).map(lambda p: 10**p), st.floats(0.01, 1.0))
def test_tokens_seen_once_are_worth_themselves(tokens: float, share: float) -> None:
    assert law.effective_tokens(tokens * share, tokens, DECAY) == pytest.approx(tokens * share)
    fitting = law.params_of_unique(tokens * share, C4) * 0.999
    assert law.repeated_loss(fitting, tokens * share, tokens, C4, DECAY) == pytest.approx(
        scaling.loss(fitting, tokens * share, C4)
    )


def test_loss_has_no_step_where_repetition_begins() -> None:
    before, after = (
        law.repeated_loss(9e9, 25e9 * passes, 25e9, C4, DECAY) for passes in (0.9999, 1.0001)
    )
    assert before == pytest.approx(after, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.floats(8.5, 11).map(lambda p: 10**p), st.floats(20, 24).map(lambda p: 10**p))
def test_scarce_data_never_lower_the_loss_and_ask_for_fewer_parameters(
    unique: float, flop: float
) -> None:
    free = scaling.optimal_params(flop, C4)
    best = law.best_params(flop, unique, C4, DECAY)
    loss = law.repeated_loss(best, flop / 6 / best, unique, C4, DECAY)
    assert loss >= scaling.best_loss(flop, C4) - 1e-9
    if (
        flop / 6 / free <= 16 * unique
    ):  # beyond, passes are worth nothing and size is all that is left
        assert best <= free * 1.001
    naive = law.repeated_loss(free, flop / 6 / free, unique, C4, DECAY)
    assert loss <= naive + 1e-9


def test_with_data_enough_the_best_size_is_chinchillas() -> None:
    best = law.best_params(1e21, 1e12, C4, DECAY)
    assert best == pytest.approx(scaling.optimal_params(1e21, C4), rel=1e-3)


def test_unique_tokens_belong_to_0_051_parameters_each() -> None:
    assert law.params_of_unique(1e11, C4) / 1e11 == pytest.approx(0.051, rel=0.001)
