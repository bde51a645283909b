"""Feed-forward layers as the engine computes them: SwiGLU, and mixtures of experts.

Parts: `SwiGlu`, `GatedFeed` (the same with gate and up as one product); `FusedExperts` (router and experts of one layer), `Note` (who wants to know what was chosen).
Law: an expert's products see its own rows, at least as many as a product needs, and a row's sum over its experts
runs in the order of their numbers: a row's bits do not depend on the rows beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from archipel.engine.arithmetic import Arithmetic, Gated, Product, as_dtype
from archipel.model.config import DecoderConfig
from archipel.model.experts import best, expert_names, weights_of
from archipel.model.families import Experts


class Note(Protocol):
    """Told which experts were chosen."""

    def __call__(self, layer: int, rows: Tensor | None, chosen_NK: Tensor) -> None:
        """`rows` of the pass went through the layer, in order; None: all of them."""


Around = Callable[[str, Product], Gated]
"""What is beside the product of that name: see `adapters.Company`."""


@dataclass(frozen=True)
class SwiGlu:
    """Silu(x G^T) * (x U^T), and that times D^T."""

    gate: Product
    up: Product
    down: Product

    def __call__(self, h: Any) -> Tensor:
        """Rows (N, d)."""
        return self.down(self._within(h))

    def plus(self, h: Any, x: Tensor) -> Tensor:
        """X and the result."""
        return self.down.plus(self._within(h), x)

    def beside(self, around: Around) -> Self:
        """With what adapters add."""
        return type(self)(
            around("gate", self.gate), around("up", self.up), around("down", self.down)
        )

    def _within(self, h: Any) -> Tensor:
        return self.up.times(h, self.gate.silu(h))


@dataclass(frozen=True)
class GatedFeed:
    """As `SwiGlu`."""

    gate_up: Gated
    down: Product

    def __call__(self, h: Any) -> Tensor:
        """Rows (N, d)."""
        return self.down(self.gate_up.glu(h))

    def plus(self, h: Any, x: Tensor) -> Tensor:
        """X and the result."""
        return self.down.plus(self.gate_up.glu(h), x)

    def beside(self, around: Around) -> Self:
        """With what adapters add."""
        return type(self)(around("gate_up", self.gate_up), around("down", self.down))


class FusedExperts:
    """A mixture of experts: each row goes through those that the router likes best."""

    def __init__(self, experts: Experts, router: Product, parts: list[SwiGlu], rows: int) -> None:
        """rows: fewest that a product may have."""
        self._form, self._router, self._parts, self._rows = experts, router, parts, rows

    def __call__(self, layer: int, h: Tensor, rows: Tensor | None, note: Note | None) -> Tensor:
        """Results (N, d). rows: which rows of the pass these are, for `note`."""
        shares_NE = torch.softmax(self._router(h), dim=-1, dtype=torch.float32)
        chosen_NK = best(layer, shares_NE, self._form.chosen)
        if note is not None:
            note(layer, rows, chosen_NK)
        weights_NK = as_dtype(weights_of(shares_NE, chosen_NK, self._form.normalised), h.dtype)
        total, chosen = torch.zeros_like(h), chosen_NK.cpu().numpy()
        for number in np.unique(chosen).tolist():
            sent, slots = np.nonzero(chosen == number)
            self._send(number, h, sent, weights_NK[sent, slots], total)
        return total

    def _send(
        self, number: int, h: Tensor, sent: np.ndarray, weights: Tensor, total: Tensor
    ) -> None:
        """Add what an expert makes of the rows that are `sent` to it, times their weights."""
        count = len(sent)
        # Repeating the last row keeps products at the smallest number of rows.
        padded = sent[np.minimum(np.arange(max(count, self._rows)), count - 1)]
        at = torch.from_numpy(padded).to(h.device)
        fed = self._parts[number](h.index_select(0, at)).narrow(0, 0, count)
        total.index_add_(0, at.narrow(0, 0, count), fed * weights.unsqueeze(1))


Feed = SwiGlu | GatedFeed | FusedExperts


def feeding(
    config: DecoderConfig, layer: str, weight: Callable[[str], Tensor], numbers: Arithmetic
) -> Feed:
    """The feed-forward layer of `layer` ("model.layers.<i>."), from weights by name."""

    def project(name: str) -> Product:
        return numbers.projection(weight(f"{name}.weight"))

    if config.experts is not None:
        block = f"{layer}{config.traits.experts}."
        router = numbers.full(weight(f"{block}gate.weight"))
        parts = [
            SwiGlu(*(project(f"{block}experts.{i}.{name}") for name in expert_names(config.family)))
            for i in range(config.experts.count)
        ]
        return FusedExperts(config.experts, router, parts, numbers.min_rows())
    if config.traits.joined:
        gate, up = weight(f"{layer}mlp.gate_up_proj.weight").chunk(2)
    else:
        gate, up = (weight(f"{layer}mlp.{name}_proj.weight") for name in ("gate", "up"))
    both, down = numbers.gated(gate, up), project(f"{layer}mlp.down_proj")
    if both is not None:
        return GatedFeed(both, down)
    return SwiGlu(numbers.projection(gate), numbers.projection(up), down)
