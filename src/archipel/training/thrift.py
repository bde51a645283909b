"""What a recipe's [memory] section does to a network that learns or is scored with.

Parts: `dtype_of` and `narrow` (the type that is computed in), `recompute` (layers that are computed again instead of
kept). Law: a layer computed again is computed by the same products, so its gradient is the same bit for bit.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from archipel.records.recipe import MemorySection
from archipel.training.products import FastLinear
from archipel.training.sharding import Site

PLAIN = MemorySection()
"""float32 all through, everything kept."""


def dtype_of(memory: MemorySection) -> torch.dtype:
    """What weights and activations are while learning."""
    return torch.bfloat16 if memory.compute == "bfloat16" else torch.float32


def narrow(model: nn.Module, memory: MemorySection, site: Site) -> None:
    """Keep the model's numbers, bf16 values all, in the type that is computed in.

    Several processes keep their parts in float32 and gather them in that type (`sharding.shard`).
    """
    if site.world == 1:
        model.to(dtype_of(memory))


def recompute(layers: Iterable[nn.Module]) -> None:
    """From now on, of each layer only the input is kept for the backward pass."""
    for layer in layers:
        layer.forward = _again(layer.forward)  # type: ignore[method-assign]  # an instance's own


def _again(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def by_the_same_products(*given: Any) -> Tensor:
        with FastLinear():  # the backward pass runs outside of the scorer's
            return forward(*given)

    def once_more(*given: Any) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*given)
        found: Tensor = checkpoint(
            by_the_same_products, *given, use_reentrant=False, preserve_rng_state=False
        )
        return found

    return once_more
