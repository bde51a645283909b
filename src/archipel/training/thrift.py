"""What a recipe's [memory] section does to a network that learns or is scored with.

Parts: `dtype_of` and `narrow` (the type that is computed in), `recompute` (layers that are computed again instead of
kept). Law: a layer computed again is computed by the same products, so its gradient is the same bit for bit.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

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
    """From now on, of each layer only the input is kept for the backward pass (Chen et al. 2016, arXiv 1604.06174).

    torch has the same, at the price of loading its compiler: 2 s of processor time and 80 MB.
    """
    for layer in layers:
        layer.forward = _again(layer.forward)  # type: ignore[method-assign]  # an instance's own


def _again(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def once_more(*given: Any) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*given)
        frame = _Frame(forward, given)
        with saved_tensors_hooks(frame.count, frame.give):
            return forward(*given)

    return once_more


class _Frame:
    """One layer's way through: what its backward pass asks for is a number until it asks."""

    def __init__(self, forward: Callable[..., Tensor], given: tuple[Any, ...]) -> None:
        self._forward, self._given = forward, given
        self._num_saved = 0
        self._made: list[Tensor] = []
        self._asked: set[int] = set()

    def count(self, tensor: Tensor) -> int:
        """In place of a tensor that would be kept: which of them it is."""
        del tensor
        self._num_saved += 1
        return self._num_saved - 1

    def give(self, place: int) -> Tensor:
        """That tensor; all are made when the first is asked for, and go when the last was."""
        if not self._made:
            self._make()
        tensor = self._made[place]
        self._asked.add(place)
        if len(self._asked) == self._num_saved:
            self._made, self._asked = [], set()
        return tensor

    def _make(self) -> None:
        given = [
            each.detach().requires_grad_(each.requires_grad) if isinstance(each, Tensor) else each
            for each in self._given
        ]
        # the scorer's products, though the backward pass runs outside of it
        with torch.enable_grad(), FastLinear(), saved_tensors_hooks(self._keep, _never):
            self._forward(*given)

    def _keep(self, tensor: Tensor) -> int:
        self._made.append(tensor.detach())
        return len(self._made) - 1


def _never(place: int) -> Tensor:
    raise RuntimeError(f"tensor {place} of a layer computed again has no gradient of its own")
