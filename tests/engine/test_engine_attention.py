"""Attention's bits depend on the keys a query may see, not on what lies behind or beside them."""

import pytest
import torch

from archipel.engine.arithmetic import FloatArithmetic
from archipel.engine.attention import attend, round_up, window_granule
from engine.engine_models import small_config


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("queries", [1, 2, 4, 6, 16])
@pytest.mark.parametrize("dim", [8, 64])
def test_padding_stride_and_batch_leave_every_bit(
    queries: int, dim: int, dtype: torch.dtype
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    granule = window_granule(dim, queries)
    for live in (3, 33, 130, 200, 300, 700):
        q, k = torch.randn(6, queries, dim), torch.randn(6, dim, live)
        v = torch.randn(6, live, dim)
        shortest = round_up(live, granule)
        expected = None
        for capacity in (shortest, shortest + 16, 1088):
            keys, values = torch.zeros(6, dim, capacity), torch.zeros(6, capacity, dim)
            keys[..., :live], values[:, :live] = k, v
            for window in {shortest, min(capacity // granule * granule, shortest + 2 * granule)}:
                bias = torch.where(torch.arange(window) < live, 0.0, -torch.inf)
                for batch in (2, 6):
                    mixed = attend(
                        q[:batch].to(dtype),
                        keys[:batch, :, :window].to(dtype),
                        values[:batch, :window].to(dtype),
                        bias.to(dtype),
                        dim**-0.5,
                    )
                    expected = mixed[:2] if expected is None else expected
                    assert torch.equal(mixed[:2], expected), (live, capacity, window, batch)


def test_attention_is_softmax_of_scaled_scores_times_values() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 16), torch.randn(3, 16, 320), torch.randn(3, 320, 16)
    bias = torch.where(torch.arange(320) < 290, 0.0, -torch.inf)
    scores = torch.einsum("nrd,ndl->nrl", q.double(), k.double()) * 0.25 + bias.double()
    expected = torch.einsum("nrl,nld->nrd", scores.softmax(-1), v.double())
    torch.testing.assert_close(attend(q, k, v, bias, 0.25).double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dim", [1, 8, 16, 25, 64, 128])
@pytest.mark.parametrize("queries", [1, 2, 3, 6])
def test_key_windows_grow_by_no_more_than_a_product_needs(dim: int, queries: int) -> None:
    granules = [g for g in (16, 32, 64, 128) if g * dim * queries >= 400]
    assert window_granule(dim, queries) == min(granules, default=128)


@pytest.mark.parametrize("heads", [1, 3])
def test_a_rotated_row_does_not_depend_on_where_it_lies(heads: int) -> None:
    torch.manual_seed(0)
    x, table = torch.randn(101, heads, 8), torch.randn(101, 2, 8)
    rotated = FloatArithmetic(small_config(), torch.float32, torch.device("cpu")).rotated
    together = rotated(x, table)
    for row in range(0, 101, 7):
        alone = rotated(x[row : row + 1], table[row : row + 1])
        assert torch.equal(together[row : row + 1], alone)


ODD_SHAPES = [(3, 3, 10), (1, 5, 6), (3, 1, 18), (1, 3, 22), (7, 1, 2), (1, 1, 62), (5, 2, 14)]
"""Queries per key head, key heads, head size: matrices that would begin between aligned places."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("queries", "heads", "dim"), ODD_SHAPES)
def test_a_slot_has_the_same_bits_at_any_place(
    queries: int, heads: int, dim: int, dtype: torch.dtype
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    granule = window_granule(dim, queries)
    for live in (3, 33, 130, 300):
        window = round_up(live, granule)
        q = torch.randn(heads, queries, dim)
        k, v = torch.zeros(heads, dim, window), torch.zeros(heads, window, dim)
        k[..., :live], v[:, :live] = torch.randn(heads, dim, live), torch.randn(heads, live, dim)
        row = torch.where(torch.arange(window) < live, 0.0, -torch.inf).to(dtype)
        expected = None
        for slots in (4, 5, 7):
            places = [part.repeat(slots, 1, 1).to(dtype) for part in (q, k, v)]
            for bias in (row, row.expand(slots * heads, queries, window)):
                mixed = attend(*places, bias, dim**-0.5).view(slots, heads, queries, dim)
                expected = mixed[0] if expected is None else expected
                assert all(torch.equal(one, expected) for one in mixed), (live, slots)
