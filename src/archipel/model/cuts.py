"""Leaving tokens out of a distribution, for an engine and for a learner alike: those that are not allowed
(`AllowedRows`), then unlikely ones (`CutRows`; `records.cuts` says which).

Sources: top-k, Fan et al. 2018 (arXiv 1805.04833); nucleus, Holtzman et al. 2020 (arXiv 1904.09751); min-p,
Nguyen et al. 2024 (arXiv 2407.01082). Law: a row's cut depends on that row alone, so a batch changes nothing.
"""
# ruff: noqa: N815 - shape suffixes: top_k_B1

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from archipel.model.devices import float64_place, running_sums
from archipel.records.cuts import Cut
from archipel.records.requests import Allowed

GAP = 1e5
"""A token that is left out is so far below the likeliest one that is not: its chance is 0 in fp32, and its logit
finite, so that 0 times its logarithm is 0."""


def leave_out(logits_BV: Tensor, keeps_BV: Tensor) -> Tensor:
    """The logits with those that are not kept far below the others. keeps_BV: bool, at least one in each row."""
    with torch.no_grad():
        largest_B1 = logits_BV.detach().masked_fill(~keeps_BV, -torch.inf).amax(-1, keepdim=True)
    return torch.where(keeps_BV, logits_BV, largest_B1 - GAP)


@dataclass(frozen=True)
class AllowedRows:
    """Which tokens each of B rows may have."""

    choices: tuple[Allowed | None, ...]
    """The different ones; None: all tokens."""
    choice_B: Tensor | None
    """(B,) int64, which of them; None: every row has the only one."""

    def leave(self, logits_BV: Tensor) -> Tensor:
        """The logits with what is not allowed far below. logits_BV: fp32, over the temperature."""
        size, device = logits_BV.shape[1], logits_BV.device
        keeps_CV = torch.stack([_mask(each, size, device) for each in self.choices])
        if self.choice_B is None:
            return leave_out(logits_BV, keeps_CV.expand(logits_BV.shape))
        return leave_out(logits_BV, keeps_CV.index_select(0, self.choice_B))


@dataclass(frozen=True)
class Left:
    """What has a chance in every row alike."""

    cut: Cut | None = None
    allowed: Allowed | None = None

    def of(self, logits_BV: Tensor, kept_B1: Tensor) -> Tensor:
        """The logits with what has none far below the others. kept_B1: tokens that are left whatever the cut says."""
        if self.allowed is not None:
            logits_BV = AllowedRows((self.allowed,), None).leave(logits_BV)
        if self.cut is not None:
            logits_BV = CutRows.alike(self.cut, logits_BV.device).cut(logits_BV, kept_B1)
        return logits_BV


@lru_cache(64)
def _mask(allowed: Allowed | None, size: int, device: torch.device) -> Tensor:
    """(V,) bool."""
    if allowed is None:
        return torch.ones(size, dtype=torch.bool, device=device)
    mask_V = torch.zeros(size, dtype=torch.bool)
    mask_V[[token for token in sorted(allowed.tokens) if token < size]] = True
    return mask_V.to(device)


@dataclass(frozen=True)
class CutRows:
    """How each of B rows is cut."""

    top_k_B1: Tensor
    """(B, 1) int64; the size of the vocabulary leaves all."""
    top_p_B1: Tensor
    """(B, 1) float64, where there is such; more than 1 leaves all."""
    min_gap_B1: Tensor
    """(B, 1) fp32: log of min_p; -inf leaves all."""

    @classmethod
    def alike(cls, cut: Cut, device: torch.device) -> "CutRows":
        """One cut for every row."""
        place = float64_place(device)
        return cls(
            torch.tensor([[cut.top_k or 2**62]], device=device),
            torch.tensor([[cut.top_p if cut.top_p < 1.0 else 2.0]]).double().to(place),
            torch.tensor([[cut.min_p]], device=device).log(),
        )

    def keeps(self, logits_BV: Tensor) -> Tensor:
        """(B, V) bool: which tokens are left. logits_BV: fp32, over the temperature."""
        sorted_BV = logits_BV.sort(dim=-1, descending=True).values
        size = logits_BV.shape[1]
        place_B1 = (self.top_k_B1.clamp(max=size) - 1).expand(logits_BV.shape[0], 1)
        by_rank_B1 = sorted_BV.gather(1, place_B1)
        before_BV = running_sums(torch.softmax(sorted_BV, dim=-1).to(self.top_p_B1.device))
        # A token is left while those before it have not reached p; the first has none before it.
        within_BV = torch.nn.functional.pad(before_BV[:, :-1], (1, 0)) < self.top_p_B1
        last_B1 = (within_BV.sum(-1, keepdim=True) - 1).clamp(min=0).to(sorted_BV.device)
        by_mass_B1 = sorted_BV.gather(1, last_B1)
        by_peak_B1 = sorted_BV[:, :1] + self.min_gap_B1
        return logits_BV >= torch.maximum(torch.maximum(by_rank_B1, by_mass_B1), by_peak_B1)

    def cut(self, logits_BV: Tensor, kept_B1: Tensor | None = None) -> Tensor:
        """The logits with what is left out far below. kept_B1: tokens that are left whatever the bounds say."""
        with torch.no_grad():
            keeps_BV = self.keeps(logits_BV.detach())
            if kept_B1 is not None:
                keeps_BV.scatter_(1, kept_B1, value=True)
        return leave_out(logits_BV, keeps_BV)
