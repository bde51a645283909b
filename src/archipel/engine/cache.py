"""What is kept of every sequence that is being generated: keys and values, in planes.

One slot is one sequence, contiguous; position p of a sequence is column p of its slot, so the
order of every sum over keys follows from the sequence alone. What `Arithmetic.planes` has as columns is
stored transposed, because a decode step reads it as the right-hand side of a product and must not copy it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from archipel.engine.arithmetic import Plane

_LINE = 16
"""Elements added to lengths that would put all rows of a head on the same cache sets."""

Window = tuple[Tensor, ...]
"""One tensor for each plane."""


@dataclass(frozen=True)
class CacheShape:
    """Geometry of the cache."""

    num_layers: int
    num_slots: int
    num_kv_heads: int
    planes: tuple[Plane, ...]
    length: int
    """Positions per slot."""

    @property
    def bytes_per_slot(self) -> int:
        """Memory of one slot over all layers."""
        per_position = sum(plane.bytes for plane in self.planes)
        return self.num_layers * self.num_kv_heads * per_position * self.length


class Cache:
    """Per layer and plane (slots, Hkv, length, width), or (slots, Hkv, width, length)."""

    def __init__(self, shape: CacheShape, device: torch.device) -> None:
        self.device = device
        self.layers = [self._blank(shape) for _ in range(shape.num_layers)]
        self._take(shape)

    def reshape(self, shape: CacheShape, rows: int) -> None:
        """Have other slots and positions; slots 0 .. rows-1 keep what fits of their contents.

        One layer after the other, so that never two whole caches exist.
        """
        length = min(shape.length, self.shape.length)
        self._arrays.clear()  # which would hold the old layers
        for layer in range(shape.num_layers):
            blank = self._blank(shape)
            for plane, new, old in zip(shape.planes, blank, self.layers[layer], strict=True):
                _cut(plane, new, length)[:rows] = _cut(plane, old, length)[:rows]
            self.layers[layer] = blank
        self._take(shape)

    def _blank(self, shape: CacheShape) -> Window:
        # Zeros, not empty: masked positions are multiplied by 0, and 0 x NaN is NaN.
        return tuple(
            torch.zeros(_extent(shape, plane), dtype=plane.dtype, device=self.device)
            for plane in shape.planes
        )

    def _take(self, shape: CacheShape) -> None:
        self.shape = shape
        self._windows_of = (0, 0)
        self._windows: list[Window] = []
        self._arrays: list[tuple[np.ndarray, ...] | None] = [
            _arrays(layer) for layer in self.layers
        ]
        self._first_places = [self._places(shape, plane) for plane in shape.planes]

    def _places(self, shape: CacheShape, plane: Plane) -> Tensor:
        """Where position 0 of each slot is written: (slots, Hkv), or (slots, Hkv * width)."""
        per_head = 1 if plane.by_position else plane.width
        count = shape.num_slots * shape.num_kv_heads * per_head
        rows = torch.arange(count, device=self.device) * _padded(shape)
        return rows.view(shape.num_slots, -1)

    def window(self, layer: int, first: int, end: int, length: int) -> Window:
        """Views of slots [first, end): (n * Hkv, length, width) or (n * Hkv, width, length)."""
        planes = zip(self.shape.planes, self.layers[layer], strict=True)
        return tuple(_cut(plane, held, length)[first:end].flatten(0, 1) for plane, held in planes)

    def windows_of(self, layer: int, slots_N: Tensor, length: int) -> Window:
        """Copies of the windows of these slots, one after the other: as `window`."""
        planes = zip(self.shape.planes, self.layers[layer], strict=True)
        return tuple(
            _cut(plane, held, length).index_select(0, slots_N).flatten(0, 1)
            for plane, held in planes
        )

    def windows(self, rows: int, length: int) -> list[Window]:
        """`window` of slots 0 .. rows-1 at every layer; kept, as it rarely changes."""
        if self._windows_of != (rows, length):
            self._windows_of = (rows, length)
            layers = range(self.shape.num_layers)
            self._windows = [self.window(layer, 0, rows, length) for layer in layers]
        return self._windows

    def decode_places(self, positions_B: Tensor) -> Window:
        """Flat places of position `positions_B[b]` in slot b, for `append` at any layer."""
        rows, positions_B1 = positions_B.shape[0], positions_B.unsqueeze(1)
        return tuple((first[:rows] + positions_B1).view(-1) for first in self._first_places)

    def places(self, slots_N: Tensor, positions_N: Tensor) -> Window:
        """Flat places of position `positions_N[n]` in slot `slots_N[n]`, for `append` at any layer."""
        at_N1 = positions_N.unsqueeze(1)
        return tuple(
            (first.index_select(0, slots_N) + at_N1).view(-1) for first in self._first_places
        )

    def append(
        self, layer: int, held: Sequence[Tensor], places: Window | int, rows: int | None = None
    ) -> None:
        """Write one position of slots 0..B-1, or of whose `places` are given: each plane's part (B, Hkv, width).

        `places` comes from `decode_places` or `places`, or is the position when all slots share it; rows: how many of
        the parts' rows are written there (None: all).
        """
        arrays = self._arrays[layer]
        if arrays is not None and isinstance(places, int):
            # numpy's assignments begin sooner than torch's.
            for plane, array, part in zip(self.shape.planes, arrays, held, strict=True):
                place = (..., places, slice(None)) if plane.by_position else (..., places)
                array[: rows if rows is not None else len(part)][place] = part.numpy()[:rows]
            return
        each = enumerate(zip(self.shape.planes, self.layers[layer], held, strict=True))
        for index, (plane, kept, part) in each:
            if rows is not None:
                part = part.narrow(0, 0, rows)
            if isinstance(places, int):
                kept.narrow(0, 0, part.shape[0]).select(
                    2 if plane.by_position else 3, places
                ).copy_(part)
                continue
            part = part.to(plane.dtype)
            if plane.by_position:
                flat = part.reshape(-1, plane.width)
                kept.view(-1, plane.width).index_copy_(0, places[index], flat)
            else:
                kept.view(-1).index_copy_(0, places[index], part.reshape(-1))

    def laid(self, held: Sequence[Tensor]) -> Window:
        """Parts (n, R, Hkv, width) of R positions as the planes have them, beside one another."""
        return tuple(
            (part.transpose(1, 2) if plane.by_position else part.permute(0, 2, 3, 1))
            .contiguous()
            .to(plane.dtype)
            for plane, part in zip(self.shape.planes, held, strict=True)
        )

    def write(self, layer: int, laid: Window, owners: Tensor, slots: Tensor, start: int) -> None:
        """Write R positions from `start` on: slot `slots[i]` gets row `owners[i]` of each of `laid`."""
        for plane, kept, part in zip(self.shape.planes, self.layers[layer], laid, strict=True):
            axis = 2 if plane.by_position else 3
            room = kept.narrow(axis, start, part.shape[axis])
            room.index_copy_(0, slots, part.index_select(0, owners))

    def copied(self, slot: int, start: int, end: int) -> list[Window]:
        """Of each layer, positions [start, end) of one slot as `laid` has them: (1, Hkv, R, width) or transposed."""
        return [
            tuple(
                kept[slot : slot + 1]
                .narrow(2 if plane.by_position else 3, start, end - start)
                .clone(memory_format=torch.contiguous_format)
                for plane, kept in zip(self.shape.planes, layer, strict=True)
            )
            for layer in self.layers
        ]

    def paste(self, layers: Sequence[Window], slots: Tensor, start: int) -> None:
        """Write what `copied` gave into each of `slots` from position `start` on."""
        owners = torch.zeros_like(slots)
        for layer, laid in enumerate(layers):
            self.write(layer, laid, owners, slots, start)

    def move(self, sources: Tensor, targets: Tensor, length: int) -> None:
        """Copy the first `length` positions of slots `sources` over slots `targets`."""
        for layer in self.layers:
            for plane, kept in zip(self.shape.planes, layer, strict=True):
                live = _cut(plane, kept, length)
                live.index_copy_(0, targets, live.index_select(0, sources))


def _arrays(layer: Window) -> tuple[np.ndarray, ...] | None:
    """The same memory for numpy, which has neither bf16 nor other devices."""
    if any(each.device.type != "cpu" or each.dtype == torch.bfloat16 for each in layer):
        return None
    return tuple(each.numpy() for each in layer)


def _cut(plane: Plane, kept: Tensor, length: int) -> Tensor:
    """The first `length` positions."""
    return kept[:, :, :length] if plane.by_position else kept[..., :length]


def _extent(shape: CacheShape, plane: Plane) -> tuple[int, ...]:
    rows = (_padded(shape), plane.width)
    return (shape.num_slots, shape.num_kv_heads, *(rows if plane.by_position else rows[::-1]))


def _padded(shape: CacheShape) -> int:
    """Positions between the rows of one head."""
    # A power-of-two row stride makes the rows of one head evict each other from the L1 cache.
    return shape.length + (_LINE if shape.length % 256 == 0 else 0)
