"""Memory, speed, cascades and specialists: published figures, limits, and what may never get worse."""

import numpy as np
import pytest

from archipel.planning.laws import cascade, roofline, scaling, specialists
from archipel.planning.laws.specialists import Fields

BESIROGLU = scaling.Fit(1.8172, 482.01, 2085.43, 0.3478, 0.3658)
GOLDEN = (
    # Llama 2 70B in 16 bit: 140 GB, and 320 KB of keys and values per token (Cursor, 2023)
    (roofline.weight_bytes(70e9, 2), 140e9, 1e-9),
    (roofline.kv_bytes_per_token(80, 8, 128, 2), 320 * 1024, 1e-9),
    # PagedAttention (Kwon et al. 2023): 800 KB per token of OPT-13B
    (roofline.kv_bytes_per_token(40, 40, 128, 2), 800 * 1024, 1e-9),
    # kipply, Transformer inference arithmetic (2022): 208 streams on an A100
    (roofline.balanced_streams(2, 312e12, 1.5e12), 208, 1e-3),
    # How to scale your model (Google DeepMind 2025): 240 streams on a TPU v5e
    (roofline.balanced_streams(2, 1.97e14, 8.2e11), 240, 5e-3),
    # llama.cpp: Llama 3.1 70B in q4_k_m is 43.1 GB
    (roofline.weight_bytes(70.55e9, 4.8944 / 8), 43.1e9, 0.01),
    # dai-gpu-benchmarks: 60.78 token/s of 13.48 GB on an RTX 4090 is 81% of its bandwidth
    (1 / roofline.memory_seconds(13.48e9, 1008e9, 0.81), 60.78, 0.02),
    # RouteLLM: 85% saved with 14% of calls, 45% with 54%, at 24.70 and 0.24 USD per million
    (cascade.saving(cascade.router_cost(0.24, 24.7, 0.14), 24.7), 0.85, 0.01),
    (cascade.saving(cascade.router_cost(0.24, 24.7, 0.54), 24.7), 0.45, 0.02),
)


@pytest.mark.parametrize(("computed", "published", "tolerance"), GOLDEN)
def test_published_figures_follow(computed, published, tolerance):
    assert computed == pytest.approx(published, rel=tolerance)


def test_two_measured_speeds_of_a_machine_predict_its_third():
    """dai-gpu-benchmarks, M2 Ultra: 7B f16 40.68 and q4 91.89 token/s give 70B q4, measured 14.37."""
    slow, fast = 1 / 40.68, 1 / 91.89
    share = (13.48e9 - 3.826e9) / 800e9 / (slow - fast)
    layer_s = (fast - roofline.memory_seconds(3.826e9, 800e9, share)) / 32
    large = roofline.step_seconds(roofline.memory_seconds(38.87e9, 800e9, share), 0.0, 80, layer_s)
    assert 1 / large == pytest.approx(14.37, rel=0.02)


def test_all_experts_active_is_a_dense_model_and_many_streams_touch_them_all():
    assert roofline.touched_share(8e9, 8e9, 1) == 1
    assert roofline.touched_share(5e9, 100e9, 1) == pytest.approx(0.05)
    assert roofline.touched_share(5e9, 100e9, 1e4) == pytest.approx(1)


@pytest.mark.parametrize("evenness", [0.1, 0.4, 1.0, 8.0, np.inf])
def test_one_stream_reads_its_own_experts_and_many_never_more_than_all(evenness):
    """However unevenly experts are picked; another stream reads more, and less than another one would alone."""
    streams = np.arange(1, 400)
    read = roofline.touched_share(4.0, 128.0, streams, evenness)
    assert read[0] == pytest.approx(4 / 128)
    assert np.all(np.diff(read) > 0)
    assert np.all(np.diff(read, 2) < 1e-12)
    assert np.all(read <= roofline.touched_share(4.0, 128.0, streams) + 1e-12)
    assert read[-1] < 1


def test_picked_evenly_streams_are_independent():
    assert roofline.touched_share(4.0, 128.0, 32, 1e7) == pytest.approx(1 - (1 - 1 / 32) ** 32)


@pytest.mark.parametrize("experts", [0.0, 115e9])
def test_one_more_stream_never_lowers_what_all_write(experts):
    """gpt-oss-120b, and a dense model; keys and values of each stream read too."""
    streams = np.arange(1, 300)
    read = 1.6e9 + streams * 40e6
    if experts:
        read = read + experts * 0.53 * roofline.touched_share(3.6e9, experts, streams, 0.4)
    memory = roofline.memory_seconds(read, 273e9, 0.85)
    computing = roofline.compute_seconds(5e9, streams, 62e12, 0.26)
    speed = streams / roofline.step_seconds(memory, computing, 36, 8e-5)
    assert np.all(np.diff(speed) > 0)


def test_a_step_adds_memory_arithmetic_and_layers():
    assert roofline.step_seconds(2.0, 1.0) == 3
    assert roofline.step_seconds(1.0, 2.0, 10, 0.1) == 4


def test_a_mixtures_prompts_reach_the_share_of_slow_machines_and_the_ceiling_of_fast_ones():
    assert roofline.mixture_share(0.8, 1e9, 180e12) == pytest.approx(0.8, rel=1e-4)
    assert 1e18 * roofline.mixture_share(0.8, 1e18, 180e12) == pytest.approx(180e12, rel=1e-3)


def test_full_tiles_add_nothing():
    assert roofline.padding_params(115e9, 1e12, 40) == pytest.approx(0, abs=5)
    assert roofline.padding_params(0.0, 512, 40) == 0


def test_at_the_ridge_reading_takes_as_long_as_computing():
    streams = roofline.balanced_streams(0.6, 165e12, 1.008e12)
    reading = roofline.memory_seconds(0.6 * 8e9, 1.008e12, 1)
    computing = roofline.compute_seconds(8e9, streams, 165e12, 1)
    assert computing == pytest.approx(reading)


def test_nothing_fits_into_no_memory():
    assert roofline.most_streams(-1.0, 1e5, 8192) == 0
    assert roofline.largest_params(-1.0, 2) == 0


def test_a_cascade_always_pays_the_small_model_and_a_router_does_not():
    calls = np.linspace(0, 1, 11)
    first = cascade.cascade_cost(1.0, 10.0, calls)
    routed = cascade.router_cost(1.0, 10.0, calls)
    assert first - routed == pytest.approx(calls * 1.0)
    assert routed[0] == 1
    assert routed[-1] == 10


def test_a_cascade_breaks_even_at_the_largest_escalation():
    calls = cascade.largest_escalation(1.0, 10.0)
    assert cascade.cascade_cost(1.0, 10.0, calls) == pytest.approx(10)


def test_a_coin_recovers_what_it_sends_and_skill_recovers_more():
    calls = np.linspace(0.01, 0.99, 50)
    assert cascade.recovered(calls, 1.0) == pytest.approx(calls)
    assert np.all(cascade.recovered(calls, 3.0) > calls)


def test_the_skill_through_a_point_meets_it_and_nearly_routellms_next():
    """RouteLLM, table 1, MT-Bench: half the gap at 13.4% of calls, four fifths at 31.3%."""
    skill = np.log(0.5) / np.log(1.0 - 0.134)
    assert cascade.recovered(0.134, skill) == pytest.approx(0.5)
    assert cascade.recovered(0.3131, skill) == pytest.approx(0.8, rel=0.06)


def fields(count, **changes):
    usual = {
        "transfer": 0.4, "size_factor": 8.0, "base_share": 0.9, "router_accuracy": 0.92,
        "inside": 0.9,
    } | changes  # fmt: skip
    return Fields(count, **usual)


def test_one_field_and_a_perfect_router_is_the_generalist():
    flop = 1e22
    alone = scaling.optimal_params(flop, BESIROGLU)
    one = fields(1.0, inside=1.0, base_share=0.5)
    loss = specialists.together_loss(alone, flop, one, BESIROGLU)
    assert loss == pytest.approx(scaling.best_loss(flop, BESIROGLU))
    assert specialists.best_params(alone, flop, one, BESIROGLU) == pytest.approx(alone, rel=0.08)


def test_without_gain_in_capacity_specialists_never_win():
    """Each sees fewer tokens than the generalist; only capacity can pay for that."""
    flop = 1e22
    alone = scaling.optimal_params(flop, BESIROGLU)
    best = scaling.best_loss(flop, BESIROGLU)
    for count in (2.0, 8.0, 64.0):
        for transfer in (0.0, 0.5, 1.0):
            split = fields(
                count, size_factor=1.0, transfer=transfer, router_accuracy=1.0, inside=1.0
            )
            size = specialists.best_params(alone, flop, split, BESIROGLU)
            assert specialists.together_loss(size, flop, split, BESIROGLU) >= best - 1e-9


def test_a_better_router_never_hurts():
    flop = 1e22
    accuracy = np.linspace(0.3, 1.0, 20)
    lost = specialists.together_loss(4e9, flop, fields(8.0, router_accuracy=accuracy), BESIROGLU)
    assert np.all(np.diff(lost) < 0)


def test_unrelated_fields_make_own_tokens_worth_most():
    assert specialists.worth(8.0, 0.0) == pytest.approx(8)
    assert specialists.worth(8.0, 1.0) == pytest.approx(1)
    assert specialists.focus(4.0, 8.0) == 4
    assert specialists.base_share(8.0, 0.0) == 1


def test_the_best_size_is_found_for_every_world_at_once():
    worlds = np.array([[2.0], [8.0]])
    accuracy = np.array([0.8, 0.9, 1.0])
    found = specialists.best_params(9e9, 1e22, fields(worlds, router_accuracy=accuracy), BESIROGLU)
    assert found.shape == (2, 3)
    single = specialists.best_params(9e9, 1e22, fields(8.0, router_accuracy=0.9), BESIROGLU)
    assert found[1, 1] == single
