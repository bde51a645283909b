"""The largest values of each tile: exactly those, where they are, in four levels that keep their sums."""

from functools import partial
from itertools import product

import numpy as np
import pytest

from archipel.training.exchange import BadContribution, CodecTerms, codec_of
from archipel.training.exchange.ascending import num_index_bytes, packed_indices, unpacked_indices
from archipel.training.exchange.tiles import Tiling, largest
from archipel.training.exchange.top_k import TopK, four_levels
from training.exchange.deltas import SHAPES, drawn, kinds

CODEC = codec_of(CodecTerms("top_k", kept=100))
TILES = {
    "model.embed.weight": (48, 35),
    "model.layers.0.down.weight": (64, 64),
    "model.layers.1.experts.weight": (64, 48),
}
"""Height and width; the other tensors have none."""


def by_hand(tile: np.ndarray, kept: int) -> set[int]:
    """Places of the largest, of equal ones the first, by sorting in plain Python."""
    order = sorted(range(tile.size), key=lambda place: (-abs(float(tile[place])), place))
    return set(order[:kept])


def test_of_each_tile_exactly_the_largest_are_sent() -> None:
    for delta in kinds(4):
        sent = CODEC.decode(CODEC.encode(delta), SHAPES).sent
        assert sent is not None
        for name, shape in SHAPES.items():
            if name not in TILES:
                assert sent[name].all()
                continue
            height, width = TILES[name]
            kept = round(height * width * 100 / 4096)
            wanted, got = (each[name].reshape(-1, shape[-1]) for each in (delta, sent))
            for row, column in product(range(0, len(wanted), height), range(0, shape[-1], width)):
                at = np.s_[row : row + height, column : column + width]
                found = set(np.flatnonzero(got[at].reshape(-1)).tolist())
                assert found == by_hand(wanted[at].reshape(-1), kept)


def test_a_tensor_without_tiles_of_64_values_is_sent_whole() -> None:
    for shape in ((71,), (3, 5), (), (2, 1, 1), (1, 640), (640, 1), (67, 67), (7, 8), (101, 63)):
        assert Tiling.of(shape) is None, shape
    for shape, area in (((8, 8), 64), ((640, 2), 128), ((29 * 1733, 768), 29 * 64)):
        tiling = Tiling.of(shape)
        assert tiling is not None
        assert tiling.area == area


def test_levels_are_the_means_of_their_values_and_zero_where_there_are_none() -> None:
    for seed in range(10):
        values = drawn(seed, {"a": (300,)})["a"] + np.float32(1e-4 * seed)
        levels, codes = four_levels(values)
        assert list(levels) == sorted(levels)
        for code in range(4):
            some = values[codes == code].astype(np.float64)
            assert np.isclose(levels[code], some.mean(), rtol=1e-6)
        assert (values[codes >= 2] > 0).all()
        assert (values[codes < 2] <= 0).all()
        assert np.abs(values[codes == 0]).min() > np.abs(values[codes == 1]).max()
    for values in (np.zeros(5), np.full(5, 3.0), np.full(5, -3.0), np.array([2.0**-120])):
        levels, codes = four_levels(values.astype(np.float32))
        assert np.array_equal(levels[codes], np.where(np.abs(values) < 2.0**-100, 0, values))
        assert not levels[np.bincount(codes, minlength=4) == 0].any()


def test_a_value_that_is_far_larger_than_all_has_a_level_of_its_own() -> None:
    values = np.array([1.0] * 90 + [30.0] * 10 + [1000.0], np.float32)
    levels, _ = four_levels(values)
    assert levels.tolist() == [0.0, 0.0, np.float32(3.9), 1000.0]


def test_two_levels_a_side_lose_less_than_four_steps_around_the_mean() -> None:
    """What the codes are made by instead of SparseLoCo's rule, on large values of several distributions."""
    rng = np.random.default_rng(1)
    for draw in (rng.normal, rng.laplace, partial(rng.standard_t, 4)):
        tiles = draw(size=(40, 4096))
        values = np.take_along_axis(tiles, largest(tiles, 64).astype(np.intp), 1).reshape(-1)
        middle, step = values.mean(), 6 * values.std() / 4
        codes = np.clip(np.rint((values - middle) / step) + 2, 0, 3)
        even = np.select(
            [codes == c for c in range(4)],
            [values[codes == c].mean() if (codes == c).any() else 0 for c in range(4)],
        )
        levels, sides = four_levels(values.astype(np.float32))
        assert np.linalg.norm(values - levels[sides]) < np.linalg.norm(values - even) * 0.8


@pytest.mark.parametrize(
    ("kept", "below"), [(1, 64), (64, 4096), (190, 3360), (1000, 4096), (5, 5)]
)
def test_ascending_numbers_come_back(kept: int, below: int) -> None:
    rng = np.random.default_rng(kept)
    ends = [np.arange(kept), np.arange(below - kept, below)]
    rows = [np.sort(rng.choice(below, kept, replace=False)) for _ in range(5)]
    indices = np.array(rows + ends, np.uint16)
    data = packed_indices(indices, below)
    assert data.size == num_index_bytes(len(indices), kept, below)
    assert np.array_equal(unpacked_indices(data, len(indices), kept, below), indices)


def test_whatever_is_read_as_ascending_numbers_is_their_only_writing() -> None:
    sound = 0
    for first, second in product(range(16), range(256)):
        data = np.array([first, second], np.uint8)
        try:
            indices = unpacked_indices(data, 1, 3, 11)
        except BadContribution:
            continue
        sound += 1
        assert np.array_equal(packed_indices(indices, 11), data)
    assert sound == 11 * 10 * 9 // 6, "the subsets of 3 of 11"


def test_a_share_of_a_tile_is_kept_and_at_least_one() -> None:
    form = TopK(64)
    kept = [form.kept_of(area) for area in (64, 95, 96, 2048, 3360, 4096)]
    assert kept == [1, 1, 2, 32, 53, 64]
    assert TopK(1024).kept_of(64) == 16
