"""Sampling noise as a pure function of (work seed, rollout index, position).

Source: Philox4x32-10, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC11).
Law: no state; any element can be computed alone, anywhere, and is the same.
"""

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 10
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], dtype=np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], dtype=np.uint64)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)

_SAMPLING_STREAM = 0x53414D50
"""Last counter word, so that other uses of the same seed draw other numbers."""

Words = NDArray[np.uint64]


def philox4x32(counter: tuple[Words, ...], key: tuple[Words, Words]) -> tuple[Words, ...]:
    """Ten rounds over arrays of 32-bit words held in uint64; four counter words, two key words.

    All arrays broadcast together; returns four arrays of 32-bit words.
    """
    # Words (0, 2) and (1, 3) take the same path; paired, they cost half as many array operations.
    even = np.stack(np.broadcast_arrays(counter[0], counter[2]))
    odd = np.stack(np.broadcast_arrays(counter[1], counter[3]))
    keys = np.stack(np.broadcast_arrays(*key))
    ones = (1,) * (even.ndim - 1)
    multipliers, weyl = _MULTIPLIERS.reshape(2, *ones), _WEYL.reshape(2, *ones)
    for _ in range(_ROUNDS):
        # A 32 x 32 bit product fits 64 bits exactly: high and low half by shift and mask.
        products = even * multipliers
        even = (products[::-1] >> _32) ^ odd ^ keys
        odd = products[::-1] & _LOW
        keys = (keys + weyl) & _LOW
    return even[0], odd[0], even[1], odd[1]


def uniforms(
    seeds_N: NDArray[np.uint64], rollouts_N: NDArray[np.uint64], num_positions: int
) -> NDArray[np.float64]:
    """Draws (N, num_positions) in the open interval (0, 1), 50 bits each.

    Row n belongs to rollout `rollouts_N[n]` of the group with seed `seeds_N[n]`; column p to the
    p-th sampled token. One Philox block serves two positions.
    """
    seeds, rollouts = seeds_N[:, None], rollouts_N[:, None]
    blocks = np.arange((num_positions + 1) // 2, dtype=np.uint64)[None, :]
    counter = (blocks, rollouts, np.zeros_like(blocks), np.full_like(blocks, _SAMPLING_STREAM))
    w0, w1, w2, w3 = philox4x32(counter, (seeds & _LOW, seeds >> _32))
    even, odd = (w0 << _32) | w1, (w2 << _32) | w3
    bits = np.stack((even, odd), axis=-1).reshape(len(seeds_N), -1)[:, :num_positions]
    # Half a step above the grid point: never 0, and below 1 by more than float64 rounding.
    return ((bits >> np.uint64(14)).astype(np.float64) + 0.5) * 2.0**-50


def random_tokens(seed: int, stream: int, length: int, vocab_size: int) -> tuple[int, ...]:
    """Uniform token ids for tests and benchmarks, from the same generator."""
    draws = uniforms(np.array([seed], np.uint64), np.array([stream], np.uint64), length)
    return tuple((draws[0] * vocab_size).astype(np.int64).tolist())
