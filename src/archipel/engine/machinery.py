"""What every step of a generation runs on: network, cache, rotary tables, and their geometry.

Parts: `Machinery`, and `assemble`, which derives the tables from a network and a cache.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from archipel.engine.adapters import Adapters, Company
from archipel.engine.arithmetic import Arithmetic
from archipel.engine.cache import Cache, CacheShape
from archipel.engine.feeding import Note
from archipel.engine.fingerprints import Seen
from archipel.engine.passing import Attend
from archipel.model.config import DecoderConfig


class Network(Protocol):
    """What tokens go through: `fused.FusedDecoder`, or ends alone, whose layers are elsewhere (`serve.pool`)."""

    @property
    def config(self) -> DecoderConfig:
        """The architecture."""

    @property
    def arithmetic(self) -> Arithmetic:
        """How it is computed."""

    @property
    def adapters(self) -> Adapters:
        """What may lie over its weights."""

    def forward(
        self,
        tokens_N: Tensor,
        rotations_N2D: Tensor,
        attend: Attend,
        wanted: Tensor | None = None,
        company: Company | None = None,
        note: Note | None = None,
    ) -> Tensor:
        """See `FusedDecoder.forward`."""

    def logits(
        self, x_Nd: Tensor, seen: Seen | None = None, company: Company | None = None
    ) -> Tensor:
        """See `FusedEnds.logits`."""

    def new_cache(self, shape: CacheShape) -> Cache:
        """An empty cache for its layers."""


@dataclass(frozen=True)
class Machinery:
    """Held together until the weights or the shape of the cache change."""

    decoder: Network
    cache: Cache
    rotations: Tensor
    """(cache length, 2, D): see `Arithmetic.rotations`."""
    columns: Tensor
    """0 .. cache length - 1."""
    ramp: Tensor
    """Cache length zeros, then as many -inf: every causal mask row is a slice of it."""
    min_rows: int
    """Smallest number of rows that a product may have."""
    min_attended: int
    """Smallest number of rows whose attention is computed together."""
    max_prefill_tokens: int

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        return self.columns.device

    @property
    def kv_heads(self) -> int:
        """Hkv."""
        return self.decoder.config.num_kv_heads

    @property
    def group(self) -> int:
        """Query heads per key head."""
        return self.decoder.config.num_heads // self.decoder.config.num_kv_heads

    @property
    def head_dim(self) -> int:
        """D."""
        return self.decoder.config.head_dim

    def mask(self, last_seen_N: Tensor, window: int) -> Tensor:
        """(N, window): 0 up to each row's last visible position, -inf after it."""
        starts_N1 = (self.cache.shape.length - 1 - last_seen_N).unsqueeze(1)
        return self.ramp[starts_N1 + self.columns[:window]]

    def mask_row(self, last_seen: int, window: int) -> Tensor:
        """(window,): one row of `mask`, without computing anything."""
        return self.ramp.narrow(0, self.cache.shape.length - 1 - last_seen, window)


def assemble(decoder: Network, cache: Cache, max_prefill_tokens: int) -> Machinery:
    """Tables for every position of the cache, beside what they belong to."""
    length, numbers = cache.shape.length, decoder.arithmetic
    ramp = torch.zeros(2 * length, dtype=numbers.dtype, device=cache.device)
    ramp[length:] = -torch.inf
    return Machinery(
        decoder=decoder,
        cache=cache,
        rotations=numbers.rotations(length),
        columns=torch.arange(length, device=cache.device),
        ramp=ramp,
        min_rows=numbers.min_rows(),
        min_attended=numbers.min_attended(),
        max_prefill_tokens=max_prefill_tokens,
    )
