"""Keys and values of every sequence that is being generated.

One slot is one sequence, contiguous; position p of a sequence is column p of its slot, so the
order of every sum over keys follows from the sequence alone. Keys are stored transposed, because
a decode step reads them as the right-hand side of a product and must not copy them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_LINE = 16
"""Elements added to lengths that would put all rows of a head on the same cache sets."""


@dataclass(frozen=True)
class CacheShape:
    """Geometry of the cache."""

    num_layers: int
    num_slots: int
    num_kv_heads: int
    head_dim: int
    length: int
    """Positions per slot."""

    def bytes_per_slot(self, dtype: torch.dtype) -> int:
        """Memory of one slot over all layers."""
        per_position = 2 * self.num_layers * self.num_kv_heads * self.head_dim * dtype.itemsize
        return per_position * self.length


class Cache:
    """Per layer, keys (slots, Hkv, D, length) and values (slots, Hkv, length, D)."""

    def __init__(self, shape: CacheShape, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        layers = [self._blank(shape) for _ in range(shape.num_layers)]
        self.keys = [keys for keys, _ in layers]
        self.values = [values for _, values in layers]
        self._take(shape)

    def reshape(self, shape: CacheShape, rows: int) -> None:
        """Have other slots and positions; slots 0 .. rows-1 keep what fits of their contents.

        One layer after the other, so that never two whole caches exist.
        """
        length = min(shape.length, self.shape.length)
        for layer in range(shape.num_layers):
            keys, values = self._blank(shape)
            keys[:rows, :, :, :length] = self.keys[layer][:rows, :, :, :length]
            values[:rows, :, :length] = self.values[layer][:rows, :, :length]
            self.keys[layer], self.values[layer] = keys, values
        self._take(shape)

    def _blank(self, shape: CacheShape) -> tuple[Tensor, Tensor]:
        slots, heads, dim = shape.num_slots, shape.num_kv_heads, shape.head_dim
        length = _padded(shape)
        # Zeros, not empty: masked positions are multiplied by 0, and 0 x NaN is NaN.
        keys = torch.zeros((slots, heads, dim, length), dtype=self._dtype, device=self._device)
        values = torch.zeros((slots, heads, length, dim), dtype=self._dtype, device=self._device)
        return keys, values

    def _take(self, shape: CacheShape) -> None:
        self.shape = shape
        self._windows_of = (0, 0)
        self._windows: list[tuple[Tensor, Tensor]] = []
        slots, heads = shape.num_slots, shape.num_kv_heads
        rows = torch.arange(slots * heads * shape.head_dim, device=self._device) * _padded(shape)
        self._key_rows_SHD = rows.view(slots, -1)
        self._value_rows_SH = rows[: slots * heads].view(slots, heads)

    def window(self, layer: int, first: int, end: int, length: int) -> tuple[Tensor, Tensor]:
        """Views of slots [first, end): keys (n * Hkv, D, length), values (n * Hkv, length, D)."""
        keys = self.keys[layer][first:end, :, :, :length].flatten(0, 1)
        return keys, self.values[layer][first:end, :, :length].flatten(0, 1)

    def windows(self, rows: int, length: int) -> list[tuple[Tensor, Tensor]]:
        """`window` of slots 0 .. rows-1 at every layer; kept, as it rarely changes."""
        if self._windows_of != (rows, length):
            self._windows_of = (rows, length)
            layers = range(self.shape.num_layers)
            self._windows = [self.window(layer, 0, rows, length) for layer in layers]
        return self._windows

    def decode_places(self, positions_B: Tensor) -> tuple[Tensor, Tensor]:
        """Flat places of position `positions_B[b]` in slot b, for `append` at any layer."""
        rows = positions_B.shape[0]
        keys = self._key_rows_SHD[:rows] + positions_B.unsqueeze(1)
        values = self._value_rows_SH[:rows] + positions_B.unsqueeze(1)
        return keys.view(-1), values.view(-1)

    def append(self, layer: int, k: Tensor, v: Tensor, places: tuple[Tensor, Tensor] | int) -> None:
        """Write one position of slots 0..B-1 from k and v (B, Hkv, D).

        `places` comes from `decode_places`, or is the position when all slots share it.
        """
        keys, values = self.keys[layer], self.values[layer]
        if isinstance(places, int):
            rows = k.shape[0]
            keys[:rows, :, :, places] = k
            values[:rows, :, places] = v
            return
        keys.view(-1).index_copy_(0, places[0], k.reshape(-1))
        values.view(-1, self.shape.head_dim).index_copy_(
            0, places[1], v.reshape(-1, self.shape.head_dim)
        )

    def write(self, layer: int, k: Tensor, v: Tensor, slots: Tensor, start: int) -> None:
        """Write k (n, Hkv, D, R) and v (n, Hkv, R, D) at positions [start, start + R) of n slots."""
        end = start + k.shape[-1]
        self.keys[layer][:, :, :, start:end].index_copy_(0, slots, k)
        self.values[layer][:, :, start:end].index_copy_(0, slots, v)

    def move(self, sources: Tensor, targets: Tensor, length: int) -> None:
        """Copy the first `length` positions of slots `sources` over slots `targets`."""
        for keys, values in zip(self.keys, self.values, strict=True):
            live_keys, live_values = keys[:, :, :, :length], values[:, :, :length]
            live_keys.index_copy_(0, targets, live_keys.index_select(0, sources))
            live_values.index_copy_(0, targets, live_values.index_select(0, sources))


def _padded(shape: CacheShape) -> int:
    """Positions between the rows of one head."""
    # A power-of-two row stride makes the rows of one head evict each other from the L1 cache.
    return shape.length + (_LINE if shape.length % 256 == 0 else 0)
