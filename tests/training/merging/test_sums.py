"""Sums have the same bits however numbers lie in memory, and are as near to the true sum as is said."""

import math
from fractions import Fraction

import numpy as np
import pytest

from archipel.training.merging import sums
from archipel.training.merging.sums import dot, norm, norm_of, squared_distance, total

SIZES = (0, 1, 2, 3, 5, 31, 64, 1000)


def numbers(size: int, seed: int = 0) -> np.ndarray:
    """Of both signs and magnitudes that differ by eighteen decimals."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(size) * 10.0 ** rng.uniform(-9, 9, size)).astype(np.float32)


def by_law(values: list[float]) -> float:
    """The order as it is described, in plain Python."""
    while len(values) > 1:
        half = (len(values) + 1) // 2
        values = [
            values[at] + values[half + at] if half + at < len(values) else values[at]
            for at in range(half)
        ]
    return values[0] if values else 0.0


@pytest.mark.parametrize("size", SIZES)
def test_a_sum_follows_the_law_and_stays_within_its_bound(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "CHUNK", 48)
    values = numbers(size)
    stretches = [values[at : at + 48].tolist() for at in range(0, size, 48)]
    assert total(values) == by_law([by_law(each) for each in stretches])
    exact = sum(map(Fraction, values.tolist()), Fraction(0))
    magnitude = sum(map(abs, map(Fraction, values.tolist())), Fraction(0))
    bound = Fraction((math.log2(size or 1) + 2) * 2.0**-53) * magnitude
    assert abs(Fraction(total(values)) - exact) <= bound
    squares = sum((Fraction(each) ** 2 for each in values.tolist()), Fraction(0))
    assert (
        abs(Fraction(dot(values, values)) - squares)
        <= Fraction((math.log2(size or 1) + 2) * 2.0**-53) * squares
    )


@pytest.mark.parametrize(
    "lay", [np.asfortranarray, lambda x: x[::-1].copy()[::-1], lambda x: np.pad(x, 1)[1:-1, 1:-1]]
)
def test_bits_do_not_depend_on_how_numbers_lie(lay) -> None:  # type: ignore[no-untyped-def]
    values, other = numbers(30 * 37).reshape(30, 37), numbers(30 * 37, 1).reshape(30, 37)
    assert np.array_equal(lay(values), values)
    assert not lay(values).flags.c_contiguous
    assert (total(lay(values)), norm(lay(values))) == (total(values), norm(values))
    assert dot(lay(values), other) == dot(values, lay(other)) == dot(values, other)
    assert total(values) != total(values.T), "this case would not notice another order"


def test_lengths_of_several_tensors_are_those_of_one_vector() -> None:
    a, b = {"x": numbers(9), "y": numbers(4, 1)}, {"x": numbers(9, 2), "y": numbers(4, 3)}
    together = np.concatenate([a["x"], a["y"]])
    assert norm_of(a) == pytest.approx(norm(together), rel=1e-15)
    apart = sum((float(p) - float(q)) ** 2 for n in a for p, q in zip(a[n], b[n], strict=True))
    assert squared_distance(a, b) == pytest.approx(apart, rel=1e-14)
    assert norm_of(dict(reversed(a.items()))) == norm_of(a)


def test_squares_of_the_largest_numbers_are_summed() -> None:
    huge = np.full(1000, np.finfo(np.float32).max, np.float32)
    assert math.isfinite(norm(huge))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the same"):
        dot(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))
