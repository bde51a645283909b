"""The oracle is sane: it is close to real arithmetic and to the floating network, and makes the golden vectors."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy import float32 as f32

from archipel.engine.noise import uniforms
from archipel.model.config import EXACT_FAMILIES, DecoderConfig, Family, Llama3Scaling
from archipel.model.network import Decoder, causal_attention
from archipel.model.rotary import RotaryTable
from exact import oracle, vectors
from exact.oracle import VARIANTS, Floats, NotFinite
from exact.oracle_tables import PI, identity, tables

W7A8, W12A13, W7A15, W13A15 = VARIANTS.values()


# Close to the floating network.


def floating_logprobs(config: DecoderConfig, tokens: list[int]) -> torch.Tensor:
    """(T, V) f64 of the fp32 network with the weights of the vectors."""
    model = Decoder(config)
    state = {name: torch.tensor(tensor) for name, tensor in vectors.weights(config).items()}
    model.load_state_dict(state)
    with torch.inference_mode():
        positions = torch.arange(len(tokens))[None]
        hidden = model(torch.tensor(tokens)[None], positions, causal_attention)
        return model.logits(hidden)[0].log_softmax(-1).double()


def divergence(config: DecoderConfig, variant: str, expected: torch.Tensor) -> float:
    """Mean KL over the positions of the prompt."""
    row = oracle.logits(config, vectors.weights(config), VARIANTS[variant], vectors.PROMPT)
    found = torch.tensor(row).double().log_softmax(-1)
    return float((expected.exp() * (expected - found)).sum(-1).mean())


@pytest.mark.parametrize("family", EXACT_FAMILIES)
def test_logits_are_close_to_the_floating_network_and_closer_with_more_digits(
    family: Family,
) -> None:
    config = vectors.CONFIGS[family]
    expected = floating_logprobs(config, vectors.PROMPT)
    kl = {name: divergence(config, name, expected) for name in VARIANTS}
    assert kl["w7a8"] < 0.02
    assert kl["w7a15"] < 0.02
    assert kl["w13a15"] < kl["w7a8"] / 100


@pytest.mark.parametrize("family", EXACT_FAMILIES)
def test_a_pass_is_causal(family: Family) -> None:
    config = vectors.CONFIGS[family]
    state = vectors.weights(config)
    whole = oracle.logits(config, state, W7A15, vectors.PROMPT)
    assert np.array_equal(oracle.logits(config, state, W7A15, vectors.PROMPT[:4]), whole[:4])


@pytest.mark.parametrize("family", EXACT_FAMILIES)
def test_the_vectors_name_the_weights_of_the_network(family: Family) -> None:
    config = vectors.CONFIGS[family]
    shapes = {name: tuple(each.shape) for name, each in Decoder(config).state_dict().items()}
    assert vectors.shapes(config) == shapes
    for each in vectors.weights(config).values():
        assert not (each.view(np.uint32) & 0xFFFF).any()  # bf16


def test_generation_ends_with_a_stop_token() -> None:
    config = vectors.CONFIGS["qwen2"]
    greedy = {"seed": 1, "rollout": 0, "temperature": 0.0}
    state = vectors.weights(config)
    tokens, _ = oracle.generate(config, state, W7A8, vectors.PROMPT, num_new=3, **greedy)  # type: ignore[arg-type]
    stop = tokens[2:]
    assert oracle.generate(
        config, state, W7A8, vectors.PROMPT, num_new=9, stop=stop, **greedy  # type: ignore[arg-type]
    )[0] == tokens[: tokens.index(stop[0]) + 1]  # fmt: skip


# Products, norms and attention against real arithmetic.


@pytest.mark.parametrize(("variant", "bound"), [(W7A8, 2e-2), (W7A15, 1.5e-2), (W13A15, 2e-4)])
def test_a_product_is_close_to_the_real_one(variant: oracle.Variant, bound: float) -> None:
    w, x, b = vectors.matrix(1, 24, 64), vectors.row(2, 5, 64), vectors.matrix(3, 24)
    real = (x[:, None].astype(float) * w).sum(-1) + b
    assert abs(oracle.product(w, x, variant, b) - real).max() < bound * abs(real).max()


def test_digits_are_small_and_make_the_number() -> None:
    q = np.arange(-8001, 8002)
    hi, lo = oracle.digits(q, 2)
    assert max(abs(hi).max(), abs(lo).max()) == 63
    assert np.array_equal(127 * hi + lo, q)


def test_an_integer_is_rounded_once_to_f32() -> None:
    just_above_half = 2**60 + 2**36 + 1
    found = oracle.summed(np.array([just_above_half]), np.array([[1], [-1]]))
    assert found.tolist() == [2.0**60 + 2.0**37, -(2.0**60) - 2.0**37]


def test_normed_rows_are_the_formula() -> None:
    x, g = vectors.row(4, 3, 50), vectors.gains(5, 50)
    real = x / np.sqrt((x.astype(float) ** 2).mean(-1, keepdims=True) + 1e-6) * g
    assert abs(oracle.normed(x, g, 1e-6) - real).max() < 1e-4
    q, s = oracle.normed_and_quantised(x, g, 1e-6, W7A15)
    assert abs(q * s[:, None] - real).max() < 1e-3


@pytest.mark.parametrize(("variant", "bound"), [(W7A8, 0.05), (W13A15, 5e-4)])
def test_attention_is_close_to_softmax(variant: oracle.Variant, bound: float) -> None:
    q, k, v = vectors.row(6, 16), vectors.row(7, 9, 16), vectors.row(8, 9, 16)
    a = (k.astype(float) * q).sum(-1) / 4
    p = np.exp(a - a.max()) / np.exp(a - a.max()).sum()
    parts = [oracle.quantised(x, variant.attention_top) for x in (q, k, v)]
    assert abs(oracle.attention(*parts, variant)[1] - (p[:, None] * v).sum(0)).max() < bound


# Tables and functions against the math module.


def test_exponentials_are_the_nearest_integers() -> None:
    real = [math.exp(-i / 4096) * 2**24 for i in range(65536)]
    assert abs(tables().E[:-1] - real).max() < 0.5 + 1e-6
    assert tables().E[-1] == 0
    t = tables()
    assert [math.exp(-i / 1024) for i in range(32768)] == pytest.approx(t.A, rel=2**-52)
    assert [math.exp(-i / 2**20) for i in range(1024)] == pytest.approx(t.B, rel=2**-52)


def test_sigmoids_are_within_half_a_step_of_f32() -> None:
    real = np.array([1 / (1 + math.exp(-i / 2048)) for i in range(-32768, 32769)])
    assert abs(tables().S / real - 1).max() < 2**-24 + 2**-50


def test_logarithms_are_close() -> None:
    assert math.log(2) == tables().LN2
    real = [math.log(1 + (2 * j + 1) / 2048) for j in range(1024)]
    assert real == pytest.approx(tables().L, rel=2**-52)
    for p in (1, 3, 2**30, 2**30 + 1, 2**31 - 1, 12_345_678_901_234, 2**50):
        assert oracle.logarithm(p) == pytest.approx(math.log(p / 2**30), abs=2**-50, rel=2**-50)


def test_arcs_are_the_nearest_points_of_the_circle() -> None:
    assert math.pi == PI / 2**128
    for bits, (c, s) in zip((11, 22, 32), tables().arcs, strict=True):
        angles = [2 * math.pi * k / 2**bits for k in range(len(c))]
        assert abs(c - [math.cos(x) * 2**30 for x in angles]).max() < 0.5 + 1e-5
        assert abs(s - [math.sin(x) * 2**30 for x in angles]).max() < 0.5 + 1e-5


def test_rotations_are_within_a_millionth_of_the_circle() -> None:
    config = replace(vectors.CONFIGS["qwen3"], head_dim=16, rope_theta=10_000.0)
    positions = [0, 1, 2, 77, 4095, 131_071]
    c, s = oracle.rotation(config, positions)
    for p, cosines, sines in zip(positions, c, s, strict=True):
        angles = [p * 10_000.0 ** (-2 * i / 16) for i in range(8)]
        assert cosines == pytest.approx([math.cos(x) for x in angles], abs=1e-6)
        assert sines == pytest.approx([math.sin(x) for x in angles], abs=1e-6)


@pytest.mark.parametrize("scaling", [None, Llama3Scaling(8.0, 1.0, 4.0, 64)])
def test_rotations_are_those_of_the_floating_network(scaling: Llama3Scaling | None) -> None:
    config = replace(vectors.CONFIGS["llama"], head_dim=32, rope_theta=5e5, rope_scaling=scaling)
    c, s = oracle.rotation(config, range(100))
    cosines, sines = RotaryTable(config).at(torch.arange(100)[None])
    assert c == pytest.approx(cosines[0, 0, :, :16].numpy(), abs=2e-5)
    assert s == pytest.approx(sines[0, 0, :, 16:].numpy(), abs=2e-5)


# Sampling.


def test_uniform_numbers_are_those_of_the_engine() -> None:
    seeds, rollouts = [0, 7, 2**64 - 1], [0, 2**32 - 1, 5]
    expected = uniforms(np.array(seeds, np.uint64), np.array(rollouts, np.uint64), 7)
    for seed, rollout, numbers in zip(seeds, rollouts, expected, strict=True):
        assert [oracle.uniform(seed, rollout, p) for p in range(7)] == numbers.tolist()


def logit_rows() -> Iterator[Floats]:
    for start in (1, 2, 3):
        yield vectors.row(start, 40) * f32(4)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.5])
def test_chances_are_softmax_and_logprobs_are_theirs(temperature: float) -> None:
    for row in logit_rows():
        real = torch.tensor(row / f32(temperature)).double().log_softmax(-1).numpy()
        _, _, p = oracle.chances(row, temperature)
        total = int(p.sum())
        assert p / total == pytest.approx(np.exp(real), abs=2e-6)
        starts = (np.cumsum(p) - p / 2) / total
        drawn = [oracle.sample(row, u, temperature, greedy=False) for u in starts[p > 0]]
        assert [token for token, _ in drawn] == np.flatnonzero(p).tolist()
        assert [x for _, x in drawn] == pytest.approx(real[p > 0], abs=2e-6)
        assert sum(math.exp(x) for _, x in drawn) == pytest.approx(1, abs=1e-6)


def test_greedy_takes_the_first_of_the_largest_whatever_the_temperature() -> None:
    row = np.array([0, 3, -1, 3], f32)
    token, logprob = oracle.sample(row, 0.99, 0.5, greedy=True)
    assert token == 1
    assert oracle.sample(row, 0.3, 1.0, greedy=False) == (1, logprob)


@pytest.mark.parametrize("spoilt", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_is_refused(spoilt: float) -> None:
    with pytest.raises(NotFinite):
        oracle.sample(np.array([0, spoilt, 1], f32), 0.5, 1.0, greedy=False)
    config = vectors.CONFIGS["llama"]
    state = {name: each.copy() for name, each in vectors.weights(config).items()}
    state["model.layers.0.mlp.up_proj.weight"][3, 4] = spoilt
    with pytest.raises(NotFinite):
        oracle.logits(config, state, W7A8, vectors.PROMPT)


# The golden vectors.


def test_the_oracle_makes_the_golden_vectors() -> None:
    kept, made = json.loads(vectors.FILE.read_text()), vectors.made()
    assert kept.keys() == made.keys()
    for part in made:
        assert kept[part] == made[part], part
    assert vectors.FILE.read_text() == vectors.as_text(made)


def test_vectors_are_read_back() -> None:
    for row in (vectors.row(1, 3, 4), np.zeros((3, 4)), np.full((3, 4), np.nan, f32)):
        assert np.array_equal(vectors.floats(vectors.bits(row), 3, 4), row, equal_nan=True)
    assert vectors.whole("3 -1*2").tolist() == [3, -1, -1]


def test_each_variant_has_its_own_identity() -> None:
    assert len({identity(name) for name in VARIANTS}) == len(VARIANTS)
