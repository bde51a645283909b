"""Published figures of training, scaling laws, synchronisation and the frontier, recomputed by the planner."""

import re
from collections.abc import Callable

import pytest

from archipel.planning.laws import (
    distinguish,
    frontier,
    inference_aware,
    repeated_data,
    scaling,
    site_penalty,
    synchronisation,
)
from archipel.planning.laws.batch import optimal_tokens
from archipel.planning.units import factor, unit
from planning.asked import constant, data, figures, value

LEARNING, FRONTIER = figures("learning"), figures("frontier")
GOPHER_FLOP = 5.76e23


def _fit(name: str) -> scaling.Fit:
    return scaling.Fit(
        *(constant(f"law.chinchilla.{name}.{key}") for key in ("E", "A", "B", "alpha", "beta"))
    )


HOFFMANN, TEX, REFIT = _fit("hoffmann"), _fit("hoffmann-tex"), _fit("besiroglu")
MUENNIGHOFF = _fit("muennighoff")
DECAY = repeated_data.Decay(
    constant("law.muennighoff.rd_star"), constant("law.muennighoff.rn_star")
)


def _train(quantity: str, **request: str) -> Callable[[str], float]:
    """One answer of `plan train`, in the unit of the published figure."""
    return lambda name: value(data("train", **request), quantity, LEARNING[name]["unit"])


def _optimal(name: str) -> float:
    """Approach 3 of the paper: the size of least loss for the printed compute."""
    found = re.search(r"([\d.]+e\+?\d+) FLOP", LEARNING[name]["inputs"])
    assert found is not None
    return float(scaling.optimal_params(float(found[1]), TEX))


def _tokens_of_row(name: str) -> float:
    """Approaches 1 and 2 print parameters and compute; tokens are C/6N."""
    found = re.match(r"([\d.e+]+) parameters, ([\d.e+]+) FLOP", LEARNING[name]["inputs"])
    assert found is not None
    return float(found[2]) / (6 * float(found[1]))


def _llama3_tokens(_: str) -> float:
    return float(
        optimal_tokens(
            constant("law.llama3.tokens_coefficient"),
            3.8e25,
            constant("law.llama3.tokens_exponent"),
        )
    )


def _sardana() -> tuple[float, float]:
    """Lifetime compute of the best 13B, and what training 7B longer saves of it."""
    served = 2e12
    least = scaling.flop_where_optimal(13e9, TEX)
    quality = scaling.best_loss(least, TEX)
    usual = inference_aware.lifetime_flop(13e9, least / 6 / 13e9, served)
    small = inference_aware.lifetime_flop(7e9, scaling.tokens_for_loss(quality, 7e9, TEX), served)
    return float(usual), float(usual - small)


def _four_epochs_excess(_: str) -> float:
    fresh = repeated_data.repeated_loss(8.7e9, 178e9, 178e9, MUENNIGHOFF, DECAY)
    again = repeated_data.repeated_loss(8.7e9, 178e9, 44.5e9, MUENNIGHOFF, DECAY)
    return float(again / fresh - 1)


def _deepseek_v3_naive(name: str) -> float:
    exchange_s = synchronisation.naive_seconds(671e9, 32, 60e6)
    return exchange_s * 14.8e12 / 62.9e6 * factor(unit("s"), unit(LEARNING[name]["unit"]))


def _sparse(bits_per_kept: float) -> Callable[[str], float]:
    kept = constant("method.sparseloco.density")
    return lambda _: 32 / synchronisation.sparse_bits_per_param(kept, bits_per_kept)


def _penalty(sites: float) -> Callable[[str], float]:
    exponent = constant("method.diloco.penalty_exponent")
    return lambda _: float(site_penalty.penalty(sites, exponent))


LEARNT: dict[str, Callable[[str], float]] = {
    "gpt3-training-flop": _train("train.flop", params="174.6B", tokens="300B"),
    "palm-training-flop": _train("train.flop", params="540.35B", tokens="780B"),
    "palm-chip-hours": lambda _: 6144 * 1200 + 3072 * 336,
    "llama3-405b-training-flop": _train("train.flop", params="405B", tokens="15.6T"),
    "llama3-optimal-tokens": _llama3_tokens,
    "llama3-optimal-params": lambda name: 3.8e25 / 6 / _llama3_tokens(name),
    "chinchilla-gopher-budget-params": lambda _: float(scaling.optimal_params(GOPHER_FLOP, TEX)),
    "chinchilla-tokens-per-param-rounded": _train(
        "train.tokens_per_param", budget="5.76e23 FLOP", fit="hoffmann"
    ),
    "chinchilla-tokens-per-param-refit": _train(
        "train.tokens_per_param", budget="5.76e23 FLOP", fit="besiroglu"
    ),
    "sardana-saved-flop": lambda _: _sardana()[1],
    "sardana-saved-share": lambda _: _sardana()[1] / _sardana()[0],
    "muennighoff-worth-of-4-epochs": lambda _: float(
        repeated_data.effective_tokens(4.0, 1.0, DECAY) / 4.0
    ),
    "muennighoff-8.7b-loss-excess": _four_epochs_excess,
    "llama-65b-days": lambda _: 1.4e12 / (2048 * 380) / 86_400,
    "tinyllama-days": lambda _: 3e12 / (16 * 24_000) / 86_400,
    "deepseek-v3-cost": lambda _: constant("run.deepseek-v3.accelerator_hours") * 2,
    "deepseek-v3-days-per-trillion": lambda _: 180_000 / 2048 / 24,
    "deepseek-r1-zero-hours": lambda _: 512 * 198,
    "deepseek-r1-cost": lambda _: 147_000 * 2,
    "minimax-m1-cost": lambda _: 512 * 21 * 24 * 2,
    "deepseek-inference-cost-per-day": lambda _: 226.75 * 8 * 2 * 24,
    "deepseek-inference-income-per-day": lambda _: 342e3 * 0.14 + 266e3 * 0.55 + 168e3 * 2.19,
    "covenant-72b-training-flop": _train("train.flop", params="72B", tokens="1.1T"),
    "covenant-72b-utilisation": lambda _: float(synchronisation.utilisation(20 * 60, 70)),
    "intellect-1-communication-reduction": lambda _: 100 * 32 / constant("method.diloco.wire"),
    "diloco-communication-reduction": lambda _: 500,
    "intellect-2-broadcast": lambda _: float(
        synchronisation.broadcast_seconds(62e9 * 8, 590e6) / 60
    ),
    "sparseloco-compression-advertised": _sparse(12 + 2),
    "sparseloco-compression-stored": _sparse(12 + 8),
    "pulse-compression": lambda _: 14e9 / 108e6,
    "epoch-penalty-8": _penalty(8),
    "epoch-penalty-10000": _penalty(10_000),
    "epoch-naive-bound": lambda _: synchronisation.largest_params(600, 32, 60e6),
    "epoch-deepseek-v3-naive": _deepseek_v3_naive,
    "q8-bytes-per-param": lambda _: constant("serving.bytes_per_param.q8_0"),
    "llama31-70b-q4-size": lambda _: 70.55e9 * constant("serving.bytes_per_param.q4_k_m") / 1e9,
    "rtx4090-decode-bandwidth-share": lambda _: (
        60.78 * 13.48e9 / constant("accelerator.rtx4090.bandwidth", "byte/s/accelerator")
    ),
}


def _growth(*names: str) -> float:
    product = 1.0
    for name in names:
        product *= constant(name)
    return product


SHARED = _growth("frontier.meek.g_alg", "frontier.meek.g_h")
OWN = constant("frontier.meek.g_i")
ALPHA = constant("frontier.meek.alpha")


def _widest_gap(_: str) -> float:
    start = frontier.reducible_loss(1e17, constant("frontier.meek.A"), ALPHA)
    when = frontier.widest_after(ALPHA, SHARED, OWN)
    return float(frontier.loss_gap(when, start, ALPHA, SHARED, OWN))


def _coefficient(_: str) -> float:
    """What A C^-alpha must be at C = 1 for the compute-optimal path of the rounded fit."""
    return float(scaling.best_loss(1.0, HOFFMANN) - HOFFMANN.E)


LEAD: dict[str, Callable[[str], float]] = {
    "meek-peak-years": lambda _: float(frontier.widest_after(ALPHA, SHARED, OWN)),
    "meek-peak-years-refit": lambda _: float(
        frontier.widest_after(scaling.gamma(REFIT), SHARED, OWN)
    ),
    "meek-coefficient": _coefficient,
    "meek-exponent": lambda _: float(scaling.gamma(TEX)),
    "meek-peak-gap": _widest_gap,
    "sprt-tokens": lambda _: float(distinguish.tokens_needed(0.05, 0.1)),
    "algorithmic-rate": lambda _: 2 ** (12 / 8),
    "algorithmic-rate-headline": lambda _: 22_000 ** (1 / 11),
    "algorithmic-rate-frontier": lambda _: 6_930 ** (1 / 11),
    "algorithmic-rate-small-bound": lambda _: 100 ** (1 / 11),
    "gpt35-price-decline": lambda _: 20 / 0.07,
    "price-performance": lambda _: 10 ** constant("hardware.price_performance.orders"),
    "open-lag-mmlu": lambda _: 497 / 30.4375,
}


def _learnt(name: str) -> float:
    if name in LEARNT:
        return LEARNT[name](name)
    return _optimal(name) if "approach3" in name else _tokens_of_row(name)


@pytest.mark.parametrize("name", LEARNING)
def test_training_is_computed_as_published(name: str) -> None:
    figure = LEARNING[name]
    assert _learnt(name) == pytest.approx(figure["published"], rel=figure["tolerance"]), figure[
        "source"
    ]


@pytest.mark.parametrize("name", FRONTIER)
def test_the_frontier_is_computed_as_published(name: str) -> None:
    figure = FRONTIER[name]
    assert LEAD[name](name) == pytest.approx(figure["published"], rel=figure["tolerance"]), figure[
        "source"
    ]


@pytest.mark.parametrize(
    ("fit", "ratio", "served"), [(HOFFMANN, 2.52, 69e12), (REFIT, 5.22, 190e12)]
)
def test_llama3_8b_reveals_the_tokens_it_was_meant_to_serve(
    fit: scaling.Fit, ratio: float, served: float
) -> None:
    """8B on 15T tokens is the best choice only for a lifetime of so many served tokens."""
    assert float(inference_aware.balance(8.03e9, 15e12, fit)) == pytest.approx(ratio, rel=0.02)
    assert float(inference_aware.revealed_tokens(8.03e9, 15e12, fit)) == pytest.approx(
        served, rel=0.03
    )
