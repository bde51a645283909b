"""Sampling noise: the public vectors, and a pure function of seed, rollout and position."""

import numpy as np
import pytest

from archipel.engine.noise import philox4x32, uniforms

# Known answers for philox4x32-10 published with Random123 (kat_vectors): counter, key, result.
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text: str) -> tuple[np.ndarray, ...]:
    return tuple(np.array([int(word, 16)], dtype=np.uint64) for word in text.split())


def draws(seed: int, rollout: int, num_positions: int) -> np.ndarray:
    seeds, rollouts = np.array([seed], np.uint64), np.array([rollout], np.uint64)
    return uniforms(seeds, rollouts, num_positions)[0]


@pytest.mark.parametrize(("counter", "key", "result"), VECTORS)
def test_philox_gives_the_published_answers(counter: str, key: str, result: str) -> None:
    assert philox4x32(words(counter), words(key)) == words(result)


def test_a_draw_depends_on_seed_rollout_and_position_alone() -> None:
    many = uniforms(np.array([7, 2**64 - 1, 7], np.uint64), np.array([0, 5, 1], np.uint64), 33)
    for row, (seed, rollout) in enumerate([(7, 0), (2**64 - 1, 5), (7, 1)]):
        np.testing.assert_array_equal(many[row], draws(seed, rollout, 33))
        np.testing.assert_array_equal(many[row, :10], draws(seed, rollout, 10))
    assert len(np.unique(many)) == many.size


def test_both_halves_of_the_seed_matter() -> None:
    assert not np.array_equal(draws(1, 0, 4), draws(1 + 2**32, 0, 4))
    assert not np.array_equal(draws(1, 0, 4), draws(2, 0, 4))


def test_draws_are_uniform_and_never_reach_the_ends() -> None:
    sample = uniforms(np.arange(64, dtype=np.uint64), np.zeros(64, np.uint64), 1000).ravel()
    assert sample.min() > 0.0
    assert sample.max() < 1.0
    counts, _ = np.histogram(sample, bins=64, range=(0.0, 1.0))
    chi_squared = float(((counts - 1000.0) ** 2 / 1000.0).sum())
    assert chi_squared < 120.0  # 63 degrees of freedom: P(above) < 2e-5, and the draws are fixed
