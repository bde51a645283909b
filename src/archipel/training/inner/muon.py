"""Muon: matrices inside the layers move by their momentum with all singular values made about equal.

A step is -rate * sqrt(rows / columns) * UV', where USV' is the momentum: its spectral norm is that of the rate whatever
the matrix's shape. Embeddings, the head and vectors are AdamW's. Momentum is a plain decaying mean, as in MuLoCo
(arXiv 2505.23725), without Nesterov's look ahead. Source: K. Jordan, Muon (2024); the quintic's constants are theirs.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from archipel.training.inner.terms import InnerTerms
from archipel.training.sharding import own_part, whole

ITERATIONS = 5
"""Of Newton and Schulz: singular values end in about [0.7, 1.2]."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""x -> ax + bx^3 + cx^5: steepest at 0 among those that keep [0, 1] near 1."""
SMALLEST = 1e-7
"""Added to a norm that is divided by."""


def is_moved_by_muon(name: str, shape: tuple[int, ...], terms: InnerTerms) -> bool:
    """Matrices of the layers, where the terms say muon."""
    return terms.optimiser == "muon" and len(shape) == 2 and name.startswith("model.layers.")


class Muon:
    """Moves some parameters of a network; each has a momentum of its shape."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], terms: InnerTerms) -> None:
        self._parameters, self._terms = dict(parameters), terms
        self.momenta = {name: torch.zeros_like(p.detach()) for name, p in parameters.items()}

    def forget(self) -> None:
        """Begin anew."""
        for each in self.momenta.values():
            own_part(each).zero_()

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Apply the gradients, which the caller drops. Of a sharded matrix every rank computes the whole step."""
        for name, parameter in self._parameters.items():
            if parameter.grad is None:
                continue
            momentum, own = self.momenta[name], own_part(parameter)
            own_part(momentum).lerp_(own_part(parameter.grad), 1.0 - self._terms.momentum)
            direction = orthogonal(whole(momentum))
            factor = rate * (direction.shape[0] / direction.shape[1]) ** 0.5
            own.mul_(1.0 - rate * self._terms.weight_decay)
            own.sub_(own_part(laid_out(direction, parameter)), alpha=factor)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix to it with singular values of about 1, in float32."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    X = (matrix.T if is_tall else matrix) / (matrix.norm() + SMALLEST)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        A = X @ X.T
        X = torch.addmm(X, torch.addmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X.T if is_tall else X


def laid_out(full: Tensor, tensor: Tensor) -> Tensor:
    """`full`, shared out over ranks as `tensor` is; a plain one as it is."""
    mesh = getattr(tensor, "device_mesh", None)
    if mesh is None:
        return full
    from torch.distributed.tensor import distribute_tensor

    placements = tensor.placements  # type: ignore[attr-defined]  # a DTensor, as device_mesh shows
    return distribute_tensor(full.contiguous(), mesh, placements)
