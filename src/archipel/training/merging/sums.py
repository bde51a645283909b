"""Sums, products and lengths whose bits are the same on any processor, with any build of numpy.

A sum runs in float64 over stretches of `CHUNK` numbers in C order: the second half is added to the first, number by
number, until one is left; then the stretches' sums likewise. Law: elementwise additions alone, which IEEE 754 rounds
the same everywhere; never numpy.sum, numpy.dot or a product of matrices, whose order is the machine's.
The error is at most (log2(n) + 2) * 2^-53 of the sum of absolute values.
"""

import math
from collections.abc import Iterator

import numpy as np

from archipel.training.exchange.codec import Tensors

CHUNK = 1 << 16
"""Numbers of one stretch: half a megabyte of float64, which stays in a processor's cache. Part of the law: another
number gives other bits."""


def chunks(size: int) -> Iterator[slice]:
    """The stretches of so many numbers, in order."""
    return (slice(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK))


def flat(values: np.ndarray) -> np.ndarray:
    """(n,) in C order of the indices, however it lies in memory."""
    return np.ascontiguousarray(values).reshape(-1)


def total(values: np.ndarray) -> float:
    """Sum of all numbers; 0 of none."""
    line = flat(values)
    return halved(np.array([halved(line[part].astype(np.float64)) for part in chunks(line.size)]))


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of products of two tensors of one shape.

    Raises:
        ValueError: their shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"shapes are {a.shape} and {b.shape}; expected the same")
    one, other = flat(a), flat(b)
    products = (np.multiply(one[part], other[part], dtype=np.float64) for part in chunks(one.size))
    return halved(np.array([halved(each) for each in products]))


def norm(values: np.ndarray) -> float:
    """Euclidean length of all numbers together."""
    return math.sqrt(dot(values, values))


def norm_of(tensors: Tensors) -> float:
    """Euclidean length of all tensors together, which are added in the order of their names."""
    return math.sqrt(
        halved(np.array([dot(tensors[name], tensors[name]) for name in sorted(tensors)]))
    )


def squared_distance(a: Tensors, b: Tensors) -> float:
    """Squared length of a - b, both with the same names and shapes; differences are float64."""
    return halved(np.array([_apart(flat(a[name]), flat(b[name])) for name in sorted(a)]))


def halved(values: np.ndarray) -> float:
    """Sum of (n,) float64, which it takes to work in; 0 of none."""
    count = values.size
    while count > 1:
        half = (count + 1) // 2
        first = values[: count - half]
        np.add(first, values[half:count], out=first)
        count = half
    return float(values[0]) if count else 0.0


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    parts = []
    for part in chunks(a.size):
        difference = np.subtract(a[part], b[part], dtype=np.float64)
        parts.append(halved(np.multiply(difference, difference, out=difference)))
    return halved(np.array(parts))
