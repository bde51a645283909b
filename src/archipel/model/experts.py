"""Feed-forward layers: SwiGLU, and mixtures of experts with their router.

Parts: `FeedForward`, `JoinedFeedForward` (one weight for gate and up), `MixtureOfExperts`; `Routing` says which
experts each token is sent to, and `best` is the router's own choice.
Sources: SwiGLU, arXiv 2002.05202; experts, arXiv 1701.06538 and 2101.03961; routing as an argument, so that what a
sampler chose can be taken again by a trainer, arXiv 2510.11370.
Law: parameter names are the Hugging Face names; shares are a softmax in fp32; a token's sum over its experts runs
in the order of their numbers, so that a row knows nothing of the rows beside it.
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archipel.model.families import TRAITS, Experts, Family

NAMES = ("gate_proj", "up_proj", "down_proj")


class Routing(Protocol):
    """Who chooses the experts of every token and layer."""

    def __call__(self, layer: int, shares_NE: Tensor, chosen: int) -> Tensor:
        """The numbers (N, chosen) int64 of different experts for each of N tokens.

        shares_NE: what the router gives each expert, fp32, adding up to one. Tokens are those of a pass in
        order, rows flattened.
        """


def best(layer: int, shares_NE: Tensor, chosen: int) -> Tensor:
    """The experts with the largest shares; see `Routing`."""
    del layer
    return shares_NE.topk(chosen, dim=-1).indices


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, hidden: int, width: int, names: tuple[str, ...] = NAMES) -> None:
        """names: of the weights for gate, up and down, where a family has others (Mixtral)."""
        super().__init__()
        self.names = names
        sizes = ((hidden, width), (hidden, width), (width, hidden))
        for name, (inputs, outputs) in zip(self.names, sizes, strict=True):
            self.add_module(name, nn.Linear(inputs, outputs, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        gate, up, down = (getattr(self, name) for name in self.names)
        fed: Tensor = down(F.silu(gate(x)) * up(x))
        return fed


class JoinedFeedForward(nn.Module):
    """SwiGLU with one weight for gate and up (Phi-3)."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(hidden, 2 * width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        fed: Tensor = self.down_proj(F.silu(gate) * up)
        return fed


class MixtureOfExperts(nn.Module):
    """Each token goes through a few of many feed-forward layers, weighed by what the router gives them."""

    def __init__(self, experts: Experts, family: Family, hidden: int, layer: int) -> None:
        super().__init__()
        self.layer, self.chosen, self.normalised = layer, experts.chosen, experts.normalised
        self.gate = nn.Linear(hidden, experts.count, bias=False)
        names = expert_names(family)
        self.experts = nn.ModuleList(
            FeedForward(hidden, experts.width, names) for _ in range(experts.count)
        )

    def forward(self, x_BTd: Tensor, routing: Routing | None = None) -> Tensor:
        x = x_BTd.flatten(0, -2)
        shares_NE = torch.softmax(self.gate(x), dim=-1, dtype=torch.float32)
        chosen_NK = (routing or best)(self.layer, shares_NE.detach(), self.chosen)
        weights_NK = weights_of(shares_NE, chosen_NK, self.normalised).to(x.dtype)
        total = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows, slots = (chosen_NK == number).nonzero(as_tuple=True)
            # Even without rows: every rank and every optimiser step sees the same parameters.
            fed = expert(x.index_select(0, rows)) * weights_NK[rows, slots].unsqueeze(1)
            total = total.index_add(0, rows, fed)
        return total.view_as(x_BTd)


def weights_of(shares_NE: Tensor, chosen_NK: Tensor, normalised: bool) -> Tensor:
    """What the chosen experts' results are multiplied by, fp32."""
    weights_NK = shares_NE.gather(1, chosen_NK)
    return weights_NK / weights_NK.sum(-1, keepdim=True) if normalised else weights_NK


def expert_names(family: Family) -> tuple[str, ...]:
    """What a family's files call an expert's gate, up and down."""
    return ("w1", "w3", "w2") if TRAITS[family].experts == "block_sparse_moe" else NAMES
