"""The exact contract as an arithmetic of the engine."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from archipel.engine.arithmetic import Plane, Product, as_dtype, halves
from archipel.engine.exact.attention import ExactAttention
from archipel.engine.exact.projection import ExactProjection
from archipel.engine.exact.rows import Rows, cut, inverse_rms
from archipel.engine.exact.sampling import sample
from archipel.engine.exact.tables import rotary_table
from archipel.engine.exact.variants import Variant
from archipel.engine.protocol import WrongWeights
from archipel.engine.sampler import Draw
from archipel.model.config import EXACT_FAMILIES, DecoderConfig, InvalidConfig

LONGEST = 1 << 18
"""Positions whose sums surely stay exact (6.6)."""


class ExactArithmetic:
    """See `engine.arithmetic.Arithmetic`; any rows in any company give the same bits."""

    dtype = torch.float32
    embedding_dtype = torch.bfloat16
    takes_adapters = takes_bends = False

    def __init__(
        self,
        config: DecoderConfig,
        variant: Variant,
        device: torch.device,
        compact: bool = False,
    ) -> None:
        """With `compact`, the cache keeps integers in as few bytes as they fill, at some cost of time."""
        if config.family not in EXACT_FAMILIES:
            raise InvalidConfig(
                f"family is {config.family}; the exact contract describes {', '.join(EXACT_FAMILIES)} "
                "alone: sample without [exact]"
            )
        self.config, self.variant, self.device = config, variant, device
        self.max_positions = min(config.max_position_embeddings, LONGEST)
        self._attention = ExactAttention(variant, device)
        integers = self._attention.small if compact else (self._attention.dtype,) * 2
        size, scale = config.head_dim, torch.float32
        self.planes: tuple[Plane, ...] = (
            Plane(size, False, integers[0]), Plane(1, False, scale),
            Plane(size, True, integers[1]), Plane(1, False, scale),
        )  # fmt: skip
        self._epsilon = torch.tensor(config.norm_epsilon, dtype=torch.float64, device=device)
        self._scale = torch.tensor(1 / math.sqrt(size), dtype=torch.float64, device=device).float()

    def min_rows(self) -> int:
        """See `Arithmetic`."""
        return 1

    def min_attended(self) -> int:
        """See `Arithmetic`."""
        return 1

    def check_weights(self, state: Mapping[str, Tensor]) -> None:
        """See `Arithmetic`: every weight is finite and a bf16 number."""
        for name, weight in state.items():
            held = as_dtype(weight, torch.bfloat16)
            if not torch.equal(held.to(weight.dtype), weight):
                raise WrongWeights(
                    f"{name} holds numbers that are not bf16, or not numbers; the exact contract quantises "
                    "bf16 weights: publish the version in bf16, or use another engine"
                )
            if not bool(held.isfinite().all()):
                raise WrongWeights(f"{name} holds infinite numbers; load sound weights")

    def projection(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        """See `Arithmetic`."""
        return ExactProjection(weight, bias, self.variant)

    def gated(self, gate: Tensor, up: Tensor) -> None:
        """See `Arithmetic`: the contract knows two products."""

    def full(self, weight: Tensor) -> Product:
        """See `Arithmetic`; the contract knows no other product."""
        return self.projection(weight)

    def fed(self, x: Tensor, norm: Tensor | None) -> Rows:
        """See `Arithmetic`."""
        variant = self.variant
        return cut(x, variant) if norm is None else cut(x * norm, variant, self.scales(x))

    def normed(self, x: Tensor, norm: Tensor) -> Tensor:
        """See `Arithmetic`."""
        return (x * self.scales(x)).mul_(norm)

    def scales(self, x: Tensor) -> Tensor:
        """See `Arithmetic`."""
        return inverse_rms(x, self._epsilon)

    def rotations(self, length: int) -> Tensor:
        """See `Arithmetic`."""
        cos, sin = torch.from_numpy(rotary_table(self.config, length)).to(self.device)
        return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), dim=1)

    def rotated(self, x: Tensor, rotations: Tensor) -> Tensor:
        """See `Arithmetic`."""
        first, second = halves(x)
        return (x * rotations[:, :1]).add_(torch.cat((second, first), -1).mul_(rotations[:, 1:]))

    def cut_keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Integers and scales (..., 1) of queries or keys (..., D)."""
        return self._attention.cut_keys(x)

    def held(self, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """See `Arithmetic`."""
        return self._attention.held(k, v)

    def attend(self, q: Tensor, seen: tuple[Tensor, ...], bias: Tensor) -> Tensor:
        """See `Arithmetic`."""
        return self._attention(q, seen, bias, self._scale)

    def sample(self, logits: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Arithmetic`."""
        return sample(logits, draw)
