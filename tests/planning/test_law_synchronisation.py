"""Exchanges between sites: published figures, limits, and what may never get worse."""

import numpy as np
import pytest

from archipel.planning.laws import batch, churn, clearing, reliability, site_penalty, staleness
from archipel.planning.laws import synchronisation as law

MBIT = 1e6
GOLDEN = (
    # Epoch (Sevilla, 2025): DeepSeek-V3 by naive data parallel, about 5,000 years
    (law.naive_seconds(671e9, 32, 60 * MBIT) * 14.8e12 / 62.9e6 / (365.25 * 86400), 5000, 0.08),
    # the same: 600M parameters in ten minutes
    (law.largest_params(600, 32, 60 * MBIT), 6e8, 0.07),
    # INTELLECT-2: 62 GB at 590 Mbit/s in 14 min
    (law.broadcast_seconds(62e9 * 8, 590 * MBIT) / 60, 14, 0.01),
    # SparseLoCo: 64 of 4,096 entries, 14 bits advertised, 20 as the code stores them
    (32 / law.sparse_bits_per_param(64 / 4096, 14), 146, 0.01),
    (32 / law.sparse_bits_per_param(64 / 4096, 20), 102.4, 1e-3),
    # Covenant-72B: 20 min of computing, 70 s of exchange, 94.5% computing
    (law.utilisation(20 * 60, 70), 0.945, 1e-3),
    # Epoch: 1.5 times with 8 sites, 6 times with 10,000
    (site_penalty.penalty(8, 0.195), 1.5, 0.01),
    (site_penalty.penalty(10_000, 0.195), 6, 0.01),
)


@pytest.mark.parametrize(("computed", "published", "tolerance"), GOLDEN)
def test_published_figures_follow(computed, published, tolerance):
    assert computed == pytest.approx(published, rel=tolerance)


def test_a_ring_of_one_exchanges_nothing_and_of_many_is_the_naive_bound():
    assert law.ring_seconds(1e9, 1, 1e6) == 0
    assert law.ring_seconds(32e9, 1e9, 1e6) == pytest.approx(law.naive_seconds(1e9, 32, 1e6))


def test_a_gather_never_fetches_more_than_the_dense_merge():
    members = np.array([1.0, 2.0, 10.0, 1e6])
    took = law.gather_seconds(1e6, 5e6, members, 1e6, 1e6)
    assert took[0] == 0
    assert took[1] == pytest.approx(1.0)
    assert list(took[2:]) == pytest.approx([5.0, 5.0])


def test_only_the_part_that_fits_behind_computing_is_hidden():
    assert law.exposed_seconds(100, 1000, 0) == 100
    assert law.exposed_seconds(100, 1000, 1) == 0
    assert law.exposed_seconds(100, 30, 1) == 70
    assert law.utilisation(30, law.exposed_seconds(100, 30, 1)) < law.utilisation(300, 0)


def test_one_site_pays_no_penalty_and_more_never_pay_less():
    sites = np.arange(1.0, 5000.0)
    factors = site_penalty.penalty(sites, 0.195)
    assert factors[0] == 1
    assert np.all(np.diff(factors) > 0)


def test_the_loss_fit_and_the_printed_points_give_close_exponents():
    joint = site_penalty.exponent_of_loss_fit(0.0985, 0.0116)
    at_8 = site_penalty.exponent_through(8, 1.5)
    assert joint == pytest.approx(0.2355, abs=1e-3)
    assert at_8 == pytest.approx(0.195, abs=1e-3)
    loss_one, loss_eight = 1.0, 8**0.0116
    won_back = site_penalty.penalty(8, joint) ** (-0.0985 / 2) * loss_eight
    assert won_back == pytest.approx(loss_one)


def test_without_churn_nothing_is_lost_and_more_churn_never_keeps_more():
    rates = np.linspace(0, 5, 50)
    elastic = churn.elastic_goodput(rates, 0.5, 0.2)
    assert elastic[0] == 1
    assert np.all(np.diff(elastic) < 0)
    assert churn.blocking_goodput(0.0, 100, 0.01, 0.2) == pytest.approx(1, abs=1e-6)


def test_blocking_sites_lose_more_with_every_member_and_elastic_ones_do_not():
    few, many = (churn.blocking_goodput(0.01, n, 0.01, 0.2) for n in (2, 200))
    assert many < few < churn.elastic_goodput(0.01, 0.0, 0.2)


def test_blocking_agrees_with_the_reliability_of_a_cluster_when_failures_are_rare():
    mtbf, saving, restart = 500.0, 0.01, 0.2
    interval = reliability.young_interval_h(saving, mtbf)
    wanted = reliability.goodput(mtbf, saving, restart, interval)
    assert churn.blocking_goodput(1 / mtbf, 1, saving, restart) == pytest.approx(wanted, rel=1e-4)


def test_the_middle_of_the_market_asks_the_median_and_the_whole_its_mean():
    assert clearing.clearing_price(2.0, 0.5, 0.5) == pytest.approx(2.0, rel=1e-5)
    whole = clearing.average_price(2.0, 0.5, 1 - 1e-9)
    assert whole == pytest.approx(2.0 * np.exp(0.125), rel=1e-4)


def test_a_larger_share_never_clears_cheaper_and_the_mean_stays_below_the_dearest():
    shares = np.linspace(0.001, 0.99, 300)
    dearest = clearing.clearing_price(3.0, 0.6, shares)
    mean = clearing.average_price(3.0, 0.6, shares)
    assert np.all(np.diff(dearest) > 0)
    assert np.all(np.diff(mean) > 0)
    assert np.all(mean < dearest)


def test_the_spread_of_a_range_is_found_again_in_samples_of_that_market():
    spread, providers = 0.6766, 38
    asks = np.random.default_rng(0).normal(0, spread, (20_000, providers))
    ranged = np.exp(np.median(asks.max(axis=1) - asks.min(axis=1)))
    assert clearing.log_spread(ranged, providers) == pytest.approx(spread, rel=0.03)


def test_the_spread_of_a_tail_puts_a_twentieth_of_the_market_below_it():
    spread = clearing.log_spread_of_tail(2.95, 1.99)
    assert clearing.clearing_price(2.95, spread, 0.05) == pytest.approx(1.99, rel=1e-4)


def test_the_required_rate_just_keeps_the_learner_busy():
    kappa, per_step, train, spread = 3.0, 512.0, 100.0, 60.0
    wanted = staleness.required_rate(kappa, per_step, train, spread)
    assert staleness.learner_share(kappa, per_step, train, spread, wanted) == pytest.approx(1)
    assert staleness.learner_share(kappa, per_step, train, spread, 0.9 * wanted) < 1


def test_weights_that_arrive_too_late_cannot_be_made_up_by_more_generators():
    assert staleness.required_rate(1, 512, 100, 100) == np.inf
    assert staleness.steps_between_versions(1) == 1
    assert staleness.steps_between_versions(6) == 5


def test_no_accelerator_of_a_large_fleet_has_less_than_a_sequence():
    flop = np.array([1e18, 1e22, 1e26])
    taken = batch.batch_tokens(0.2920, flop, 0.3271, 1e6)
    assert taken[0] == 1e6
    assert np.all(np.diff(taken[1:]) > 0)
    assert taken[2] == batch.optimal_tokens(0.2920, 1e26, 0.3271)
