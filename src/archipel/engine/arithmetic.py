"""How the engine computes with numbers: what a network, its cache and its sampler are made of.

Parts: `Arithmetic` (what the engine asks of one), `Plane` (what the cache keeps of a position),
`FloatArithmetic` (fp32 or bf16 products); `exact.arithmetic` has the other one. The network in `fused`,
the cache, prompts and decode steps are the same for both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from archipel.engine.attention import attend
from archipel.engine.projection import Projection
from archipel.engine.sampler import Draw, sample
from archipel.model.config import DecoderConfig
from archipel.model.rotary import RotaryTable

MIN_ROWS = 4
"""Fewer rows make BLAS choose kernels that sum in another order."""


@dataclass(frozen=True)
class Plane:
    """One of the things that the cache keeps of each position and key head."""

    width: int
    """Numbers of one position and head."""
    by_position: bool
    """Rows are positions (length, width); else columns are (width, length)."""
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Memory of one position and head."""
        return self.width * self.dtype.itemsize


class Product(Protocol):
    """A linear layer; x is what `Arithmetic.fed` made, or rows of the arithmetic's dtype."""

    def __call__(self, x: Any) -> Tensor:
        """X W^T + b, (N, in) -> (N, out)."""

    def silu(self, x: Any) -> Tensor:
        """Silu(x W^T + b)."""

    def plus(self, x: Any, other: Tensor) -> Tensor:
        """X W^T + b + other."""

    def times(self, x: Any, other: Tensor) -> Tensor:
        """(x W^T + b) * other, elementwise."""


class Gated(Product, Protocol):
    """Gate and up of a SwiGLU as one product, the gate's outputs first."""

    def glu(self, x: Any) -> Tensor:
        """Silu of the first half of x W^T times the second."""


class Arithmetic(Protocol):
    """Everything that computes. Rows are flat, (N, d), in `dtype`."""

    config: DecoderConfig
    device: torch.device
    dtype: torch.dtype
    """Of rows between products, and of masks."""
    embedding_dtype: torch.dtype
    planes: tuple[Plane, ...]
    max_positions: int
    """No sequence may be longer, with its prompt."""
    takes_bends: bool
    """Whether it samples from logits that were bent, or distributions that were cut, before."""
    takes_adapters: bool
    """Whether a low-rank product can stay apart from the weight that it belongs to."""

    def min_rows(self) -> int:
        """Fewest rows that a product may have on this machine."""

    def min_attended(self) -> int:
        """Fewest rows whose attention may be computed together; at most `min_rows`."""

    def check_weights(self, state: Mapping[str, Tensor]) -> None:
        """Refuse weights that this arithmetic cannot hold.

        Raises:
            WrongWeights: says which, and what is expected.
        """

    def projection(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        """A linear layer with weight (out, in)."""

    def gated(self, gate: Tensor, up: Tensor) -> Gated | None:
        """Gate and up (out, in) of a SwiGLU as one; None: they are two `projection`s here."""

    def full(self, weight: Tensor) -> Product:
        """A linear layer (out, in) that is never held in fewer bits: a router, or part of a low-rank adapter."""

    def fed(self, x: Tensor, norm: Tensor | None) -> Any:
        """Rows ready for products, after RMS norm with this weight if there is one."""

    def normed(self, x: Tensor, norm: Tensor) -> Tensor:
        """RMS norm over the last dimension."""

    def scales(self, x: Tensor) -> Tensor:
        """1 / rms over the last dimension, (..., 1) fp32."""

    def rotations(self, length: int) -> Tensor:
        """Rotary table (length, 2, D): cosines and signed sines of positions 0 .. length-1."""

    def rotated(self, x: Tensor, rotations: Tensor) -> Tensor:
        """X (N, H, D) fp32 turned by rows (N or 1, 2, D) of `rotations`."""

    def held(self, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """What the cache keeps of keys and values (..., D): one (..., width) for each plane."""

    def attend(self, q: Tensor, seen: tuple[Tensor, ...], bias: Tensor) -> Tensor:
        """Q (N, R, D) over the planes of N key heads -> (N, R, D); bias 0 or -inf, (N or 1, R, L)."""

    def sample(self, logits: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Tokens (B,) and log-probabilities (B,) fp32 from logits (B, V)."""


class FloatArithmetic:
    """Products in fp32 or bf16; norms, rotation, softmax and sampling in fp32."""

    takes_adapters = takes_bends = True

    def __init__(self, config: DecoderConfig, dtype: torch.dtype, device: torch.device) -> None:
        self.config, self.dtype, self.device = config, dtype, device
        self.embedding_dtype = dtype
        self.max_positions = config.max_position_embeddings
        self.planes: tuple[Plane, ...] = (
            Plane(config.head_dim, False, dtype),
            Plane(config.head_dim, True, dtype),
        )
        self._epsilon = torch.tensor(config.norm_epsilon, device=device)
        self._scale = config.attention_scale

    def min_rows(self) -> int:
        """See `Arithmetic`."""
        # With fewer matrices than threads, BLAS would split one of them into too few rows.
        return max(MIN_ROWS, torch.get_num_threads())

    def min_attended(self) -> int:
        """See `Arithmetic`."""
        return self.min_rows()

    def check_weights(self, state: Mapping[str, Tensor]) -> None:
        """See `Arithmetic`."""

    def projection(self, weight: Tensor, bias: Tensor | None = None) -> Product:
        """See `Arithmetic`."""
        return Projection(weight, bias)

    def gated(self, gate: Tensor, up: Tensor) -> Gated | None:
        """See `Arithmetic`: the gate's silu is an epilogue of its own product."""
        return None

    def full(self, weight: Tensor) -> Product:
        """See `Arithmetic`."""
        return Projection(weight)

    def fed(self, x: Tensor, norm: Tensor | None) -> Tensor:
        """See `Arithmetic`."""
        return x if norm is None else self.normed(x, norm)

    def normed(self, x: Tensor, norm: Tensor) -> Tensor:
        """See `Arithmetic`."""
        return as_dtype(x * self.scales(x) * norm, self.dtype)

    def scales(self, x: Tensor) -> Tensor:
        """See `Arithmetic`; fewer passes than `F.rms_norm` on a CPU."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return torch.addcmul(self._epsilon, norm, norm, value=1 / x.shape[-1]).rsqrt_()

    def rotations(self, length: int) -> Tensor:
        """See `Arithmetic`."""
        positions = torch.arange(length, device=self.device)
        # The cache may be rounded up beyond the model's last position; nothing real lies there.
        positions = positions.clamp_(max=self.config.max_position_embeddings - 1).unsqueeze(0)
        return torch.stack([table[0, 0] for table in RotaryTable(self.config).at(positions)], dim=1)

    def rotated(self, x: Tensor, rotations: Tensor) -> Tensor:
        """As `model.rotary.rotate`, without joining the swapped halves.

        One complex product would be faster, but torch rounds its vector lanes and its scalar tail
        differently, so a row's value would depend on where the row lies.
        """
        rotated = x * rotations[:, :1]
        (first, second), (signed_first, signed_second) = halves(x), halves(rotations[:, 1:])
        rotated_first, rotated_second = halves(rotated)
        rotated_first.addcmul_(second, signed_first)
        rotated_second.addcmul_(first, signed_second)
        return rotated

    def held(self, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """See `Arithmetic`."""
        return k, v

    def attend(self, q: Tensor, seen: tuple[Tensor, ...], bias: Tensor) -> Tensor:
        """See `Arithmetic`."""
        keys, values = seen
        return attend(q, keys, values, bias, self._scale)

    def sample(self, logits: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """See `Arithmetic`."""
        return sample(logits, draw)


def as_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x.to(dtype)` without the cost of a call that changes nothing."""
    return x if x.dtype == dtype else x.to(dtype)


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs that rotation turns: number i of the first half with number i of the second."""
    first, second = x.chunk(2, dim=-1)
    return first, second
