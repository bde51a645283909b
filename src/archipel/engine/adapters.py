"""Low-rank adapters beside the engine's own weights: each row of a pass has one of them, or none.

y = xW^T + s (xA^T)B^T, in the trainer's order of operations; `model.adapter` says what A, B and s are.
Parts: `Adapters` (what is loaded, by name), `Company` (whose rows a pass has), `Adapted` (a linear layer in such
company). Law: an adapter's products see its own rows alone, and epilogues are never fused, so that a row's bits do
not depend on the adapters beside it; a decoder that has adapters computes rows without one in the same way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from archipel.engine.arithmetic import Arithmetic, Gated, Product, as_dtype
from archipel.engine.protocol import WrongWeights
from archipel.model.adapter import Adapter, check_adapter
from archipel.model.config import DecoderConfig
from archipel.model.manifest import WrongTensors

NONE = -1
"""Number of no adapter."""

JOINED: Mapping[str, tuple[str, ...]] = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate": ("mlp.gate_proj",),
    "up": ("mlp.up_proj",),
    "down": ("mlp.down_proj",),
}
"""Linear layers that are one product in the engine, in the order of their outputs."""
HEAD = "lm_head"
"""The linear layer that gives logits; where it is the embedding, too, what an adapter adds is to the logits alone."""


class LowRank:
    """What one adapter adds to one product of the engine."""

    def __init__(
        self, parts: Sequence[tuple[int, Tensor, Tensor]], scale: float, numbers: Arithmetic
    ) -> None:
        """`parts`: (first output, A (r, in), B (out, r)) of each linear layer that is joined there."""
        self._low = numbers.full(torch.cat([low for _, low, _ in parts]))
        self._high = [(start, high.shape[0], numbers.full(high)) for start, _, high in parts]
        self._scale, self._rank = scale, parts[0][1].shape[0]

    def of(self, x: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        """(first output, number of outputs, what is added there (N, outputs)) for rows x (N, in)."""
        low = self._low(x).mul_(self._scale)
        for index, (start, size, high) in enumerate(self._high):
            yield start, size, high(low.narrow(1, index * self._rank, self._rank).contiguous())


@dataclass(frozen=True)
class Loaded:
    """One adapter, laid out."""

    layers: tuple[Mapping[str, LowRank], ...]
    """Of each decoder layer: what is added to its products."""
    head: LowRank | None
    """What is added to the logits."""


@dataclass(frozen=True)
class Share:
    """The rows of one adapter in a pass."""

    adapter: Loaded
    rows: Tensor | None
    """Which ones, the last repeated up to the smallest number of rows of a product; None: all, in order."""
    count: int
    """Without repetition."""


class Adapted:
    """See `engine.arithmetic.Product`: the decoder's own product, and what adapters add to some of its rows."""

    def __init__(self, own: Product, added: Sequence[tuple[int, LowRank, Share]]) -> None:
        """added: beginning at which output, what, and whose."""
        self._own, self._added = own, added

    def __call__(self, x: Tensor) -> Tensor:
        """See `Product`."""
        y = self._own(x)
        for first, low_rank, share in self._added:
            if share.rows is None:
                for start, size, more in low_rank.of(x):
                    y.narrow(1, first + start, size).add_(more)
            else:
                rows = share.rows.narrow(0, 0, share.count)
                for start, size, more in low_rank.of(x.index_select(0, share.rows)):
                    y.narrow(1, first + start, size).index_add_(
                        0, rows, more.narrow(0, 0, share.count)
                    )
        return y

    def silu(self, x: Tensor) -> Tensor:
        """See `Product`."""
        return _silu(self(x))

    def glu(self, x: Tensor) -> Tensor:
        """See `Gated`."""
        gate, up = self(x).chunk(2, dim=1)
        return _silu(gate).mul_(up)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """See `Product`."""
        return self(x).add_(other)

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """See `Product`."""
        return self(x).mul_(other)


def _silu(y: Tensor) -> Tensor:
    wide = y.float()
    # As in `projection`: these operators round alike in every place of a tensor.
    return as_dtype(wide / (1 + torch.exp(-wide)), y.dtype)


class Company:
    """Whose rows a pass has."""

    def __init__(self, numbers_N: np.ndarray, adapters: "Adapters") -> None:
        """`numbers_N`: each row's adapter, by its number among `adapters`; `NONE` for none."""
        self._numbers_N, self._adapters = numbers_N, adapters

    def at(self, wanted: Tensor) -> "Company":
        """Of these rows alone."""
        return Company(self._numbers_N[wanted.cpu().numpy()], self._adapters)

    def around(self, layer: int, name: str, own: Product) -> Gated:
        """The product `name` of a layer in this company; "gate_up" is both, one behind the other."""
        config = self._adapters.config
        parts = (("gate", 0), ("up", config.intermediate_size))
        added = [
            (first, share.adapter.layers[layer][part], share)
            for share in self._shares
            for part, first in (parts if name == "gate_up" else ((name, 0),))
            if part in share.adapter.layers[layer]
        ]
        return Adapted(own, added)

    def around_head(self, own: Product) -> Product:
        """The product that gives logits, in this company."""
        added = [(0, head, share) for share in self._shares if (head := share.adapter.head)]
        return Adapted(own, added) if added else own

    @cached_property
    def _shares(self) -> tuple[Share, ...]:
        present = np.unique(self._numbers_N)
        return tuple(
            self._adapters.share(int(number), self._numbers_N) for number in present if number >= 0
        )


class Adapters:
    """Those that a decoder has, by the names that requests give them; each is laid out once."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        self._arithmetic = arithmetic
        self._numbers: dict[str, int] = {}
        self._loaded: dict[int, Loaded] = {}
        self._given = 0

    @property
    def config(self) -> DecoderConfig:
        """The architecture that they fit."""
        return self._arithmetic.config

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def put(self, name: str, adapter: Adapter) -> None:
        """Take an adapter under this name, in place of the one that had it.

        Raises:
            WrongWeights: it is not of this architecture, or cannot stay beside weights of this arithmetic.
        """
        numbers = self._arithmetic
        if not numbers.takes_adapters:
            raise WrongWeights(
                "the exact contract quantises one weight for each layer; load the merged weights instead"
            )
        shapes = {key: tuple(tensor.shape) for key, tensor in adapter.state.items()}
        try:
            check_adapter(shapes, numbers.config, adapter.form)
        except WrongTensors as error:
            raise WrongWeights(f"{error}; load an adapter of the same model") from None
        layers = range(numbers.config.num_layers)
        loaded = Loaded(
            tuple(_layer(index, adapter, numbers) for index in layers), _head(adapter, numbers)
        )
        self.drop(name)
        self._numbers[name] = self._given
        self._loaded[self._given] = loaded
        self._given += 1

    def drop(self, name: str) -> None:
        """Forget it, if it is there."""
        number = self._numbers.pop(name, None)
        if number is not None:
            del self._loaded[number]

    def number_of(self, name: str | None) -> int:
        """Of the adapter that has this name now."""
        return NONE if name is None else self._numbers[name]

    def company(self, numbers_N: np.ndarray) -> Company | None:
        """The rows of a pass; None while there are no adapters at all."""
        return Company(numbers_N, self) if self._numbers else None

    def share(self, number: int, numbers_N: np.ndarray) -> Share:
        """Which of the rows have this adapter."""
        rows = np.flatnonzero(numbers_N == number)
        if len(rows) == len(numbers_N):
            return Share(self._loaded[number], None, len(rows))
        padded = rows[
            np.minimum(np.arange(max(len(rows), self._arithmetic.min_rows())), len(rows) - 1)
        ]
        return Share(
            self._loaded[number], torch.from_numpy(padded).to(self._arithmetic.device), len(rows)
        )


def _layer(index: int, adapter: Adapter, numbers: Arithmetic) -> dict[str, LowRank]:
    return {
        name: LowRank(parts, adapter.form.scale, numbers)
        for name in JOINED
        if (parts := list(_parts(index, name, adapter, numbers)))
    }


def _head(adapter: Adapter, numbers: Arithmetic) -> LowRank | None:
    pair = _held(adapter, HEAD, numbers)
    return None if pair is None else LowRank([(0, *pair)], adapter.form.scale, numbers)


def _held(adapter: Adapter, layer: str, numbers: Arithmetic) -> tuple[Tensor, Tensor] | None:
    pair = adapter.pair(layer)
    if pair is None:
        return None
    low, high = (each.detach().to(device=numbers.device, dtype=numbers.dtype) for each in pair)
    return low, high


def _parts(
    index: int, name: str, adapter: Adapter, numbers: Arithmetic
) -> Iterator[tuple[int, Tensor, Tensor]]:
    config, start = numbers.config, 0
    sizes = (config.num_heads * config.head_dim, *(config.num_kv_heads * config.head_dim,) * 2)
    for part, size in zip(JOINED[name], sizes, strict=False):
        pair = _held(adapter, f"model.layers.{index}.{part}", numbers)
        if pair is not None:
            yield start, *pair
        start += size
