"""Attention of the exact contract (clause 6), over cached integers.

What is kept of a position and key head: its key and value as integers, and the scale of each. Narrow
integers multiply in f32, wide ones in f64: either holds every partial sum exactly.
"""

import torch
from torch import Tensor

from archipel.engine.exact.rows import number, quantise, quantise_by_length, scale_of
from archipel.engine.exact.tables import STEPS_PER_UNIT, tables
from archipel.engine.exact.variants import Variant

_END = 16 * STEPS_PER_UNIT
CHUNK = 128
"""Keys whose narrow weighted values are summed in f32: 128 x 127 x 1023 < 2^24."""
_HALF = 1024
"""Weights of 20 bits are multiplied in f32 as two of 10, one below the other: the values are read once."""


class ExactAttention:
    """Queries over keys and values, for one variant."""

    def __init__(self, variant: Variant, device: torch.device) -> None:
        self._top, self._weight_top = variant.attention_top, variant.attention_weight_top
        self._wide, self._by_length = variant.wide_attention, variant.by_length
        self.dtype = torch.float64 if self._wide else torch.float32
        """What integers multiply in."""
        fewest = torch.int16 if self._wide else torch.int8
        self.small = (torch.int16 if self._by_length else fewest, fewest)
        """What holds keys and values in as few bytes as they fill."""
        self._exp = torch.from_numpy(tables().exp).to(device).float()

    def cut_keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Integers and scales (..., 1) of queries or keys (..., D)."""
        return quantise_by_length(x) if self._by_length else self._cut(x)

    def _cut(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, m = quantise(x, self._top)
        return q, scale_of(m, self._top)

    def held(self, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """Integers and scales of keys and values (..., D): (k, s_k, v, s_v), scales (..., 1)."""
        (key, key_scale), (value, value_scale) = self.cut_keys(k), self._cut(v)
        # A row with an infinity keeps a scale that is no number: as an integer it would look sound.
        for scale in (key_scale, value_scale):
            scale.add_(scale * 0)
        return key, key_scale, value, value_scale

    def __call__(self, q: Tensor, seen: tuple[Tensor, ...], bias: Tensor, scale: Tensor) -> Tensor:
        """Q (N, R, D) over keys (N, D, L), scales (N, 1, L), values (N, L, D), scales (N, 1, L).

        bias (N or 1, R, L) is 0 where a query may look and -inf elsewhere; scale is t. -> (N, R, D).
        """
        keys, key_scales, values, value_scales = seen
        query, query_scale = self.cut_keys(q)
        scores = torch.bmm(query.to(self.dtype), keys.to(self.dtype)).float()
        scores.mul_(query_scale.mul_(scale)).mul_(key_scales).add_(bias)
        scores.sub_(scores.amax(-1, keepdim=True))
        # What is no number gets no weight; a row of such has none at all, and stays no number.
        places = scores.mul_(-STEPS_PER_UNIT).clamp_(max=_END).nan_to_num_(_END)
        places = places.round_().to(torch.int32).view(-1)
        exp = self._exp.index_select(0, places).view(scores.shape)
        total = exp.sum(-1, keepdim=True, dtype=torch.float64).float()
        weights = exp.mul_(value_scales)
        largest = weights.amax(-1, keepdim=True)
        top = number(self._weight_top, weights.dtype, weights.device)
        weights.mul_(torch.div(top, largest)).round_()
        mixed = self._mixed(weights, values)
        return mixed.mul_(torch.div(largest, total.mul_(top)))

    def _mixed(self, weights: Tensor, values: Tensor) -> Tensor:
        if not self._by_length:
            return self._summed(weights, values).float()
        high = (weights * (1 / _HALF)).floor_()
        both = torch.cat((high, weights - high * _HALF), 1)
        high, low = self._summed(both, values).double().chunk(2, 1)
        return (high * _HALF).add_(low).float()

    def _summed(self, weights: Tensor, values: Tensor) -> Tensor:
        """The exact sums, as f32 or f64."""
        weights, values = weights.to(self.dtype), values.to(self.dtype)
        length = weights.shape[-1]
        if self._wide or length <= CHUNK:
            return torch.bmm(weights, values)
        mixed = torch.bmm(weights[..., :CHUNK], values[:, :CHUNK]).double()
        for start in range(CHUNK, length, CHUNK):
            end = min(start + CHUNK, length)
            mixed.add_(torch.bmm(weights[..., start:end], values[:, start:end]))
        return mixed
