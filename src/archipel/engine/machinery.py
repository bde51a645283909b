"""What every step of a generation runs on: network, cache, rotary tables, and their geometry."""

from dataclasses import dataclass

import torch
from torch import Tensor

from archipel.engine.cache import Cache
from archipel.engine.fused import FusedDecoder


@dataclass(frozen=True)
class Machinery:
    """Held together for one call of `generate`."""

    decoder: FusedDecoder
    cache: Cache
    rotations: tuple[Tensor, Tensor]
    """Cos and signed sin, each (cache length, 1, D)."""
    columns: Tensor
    """0 .. cache length - 1."""
    min_rows: int
    """Smallest number of rows that a product may have."""
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

    @property
    def scale(self) -> float:
        """Of the scores."""
        return float(self.head_dim**-0.5)

    def rotations_at(self, positions_N: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the rotary tables, each (N, 1, D)."""
        cos, sin = self.rotations
        return cos.index_select(0, positions_N), sin.index_select(0, positions_N)

    def mask(self, last_seen_N: Tensor, window: int) -> Tensor:
        """(N, window): 0 up to each row's last visible position, -inf after it."""
        hidden = self.columns[:window] > last_seen_N.unsqueeze(1)
        bias = torch.zeros(hidden.shape, dtype=self.decoder.dtype, device=self.device)
        return bias.masked_fill_(hidden, -torch.inf)
