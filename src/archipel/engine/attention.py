"""Attention over cached keys whose result does not depend on how much padding follows them.

Found on x86 with MKL and oneDNN (see the tests): a batched product sums over keys in one fixed
order as long as (a) the sum is at most 128 long (from about 192 on, MKL splits it into equal
parts), (b) masked tails are exact zeros and lengths are multiples of 16, (c) the product stays
above the size below which torch uses another kernel, and (d) every matrix of the batch begins at a
multiple of 16 bytes, which fp32 rows of 10, 18 or 22 by odd numbers do not. Longer sums are accumulated over chunks of
128; trailing chunks of zeros then change nothing.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 128
"""Keys that one product sums over."""
_LANES = 16
"""Softmax sums whole vectors of 16 floats; a ragged tail would be added in another order."""
_SMALL_PRODUCT = 400
"""Below rows x inner x columns = 400, `torch.bmm` leaves BLAS for a plain loop."""


_ALIGNED = 4
"""Numbers of four bytes in the 16 that a matrix must begin at a multiple of; head sizes are even, so an
odd number of queries is all that can break it."""


def window_granule(head_dim: int, queries_per_key: int) -> int:
    """Key windows are multiples of this many positions: a power-of-two divisor of `CHUNK`."""
    granule = _LANES
    while granule * head_dim * queries_per_key < _SMALL_PRODUCT:
        granule *= 2
    return min(granule, CHUNK)


def round_up(length: int, granule: int) -> int:
    """Smallest multiple of `granule` that holds `length`."""
    return -(-length // granule) * granule


def attend(q: Tensor, k_transposed: Tensor, v: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Attention of q (N, R, D) over k_transposed (N, D, L) and v (N, L, D) -> (N, R, D).

    bias (N or 1, R, L) is 0 where a query may look and -inf elsewhere. Softmax in fp32.
    """
    if q.shape[1] * q.shape[2] % _ALIGNED:
        # One row more puts every matrix, and with it every slot, at an aligned place.
        return attend(_row_more(q), k_transposed, v, _row_more(bias), scale)[:, :-1].contiguous()
    scores = torch.baddbmm(bias, q, k_transposed, alpha=scale)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    length = weights.shape[-1]
    if length <= CHUNK:
        return torch.bmm(weights, v)
    mixed = torch.bmm(weights[..., :CHUNK], v[:, :CHUNK])
    for start in range(CHUNK, length, CHUNK):
        end = min(start + CHUNK, length)
        mixed = torch.baddbmm(mixed, weights[..., start:end], v[:, start:end])
    return mixed


def _row_more(x: Tensor) -> Tensor:
    """A further row of zeros behind the rows of x (..., R, columns); what has no rows serves all."""
    return x if x.dim() == 1 else F.pad(x, (0, 0, 0, 1))
