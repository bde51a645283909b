"""One token per row from logits and one uniform number per row.

Method: inverse of the cumulative distribution over ascending token ids, summed in float64.
Law: every reduction runs along one row in an order fixed by the vocabulary's size, so a row's
token and log-probability do not depend on the other rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from archipel.model.cuts import AllowedRows, CutRows
from archipel.model.devices import running_sums
from archipel.records.requests import Hand

_BLOCK = 128
"""Vocabulary entries per block of the two-level search."""
_SINGLE_LEVEL = 1024
"""Up to this vocabulary size, one cumulative sum is cheaper than two levels."""


@dataclass(frozen=True)
class Draw:
    """How each of B rows is sampled."""

    uniform: Tensor
    """(B, 1) float64 in (0, 1)."""
    temperature: Tensor | None
    """(B, 1) fp32, positive; None when every row has temperature 1."""
    greedy: Tensor | None
    """(B, 1) bool: take the likeliest token; None when no row does."""
    cut: CutRows | None = None
    """What is left of each row's distribution; None when every row keeps all."""
    allowed: AllowedRows | None = None
    """The tokens that each row may have; None when every row may have all."""
    hands: tuple[tuple[int, Hand], ...] = ()
    """(row, what bends its logits) of those that have one."""


def sample(logits_BV: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Tokens (B,) int64 and their log-probabilities (B,) fp32, in nats.

    logits_BV is fp32 or bf16. Probabilities are those of the temperature-scaled softmax over what is
    allowed, of what a cut leaves of it. What comes back lies where the draw does.
    """
    logits_BV = logits_BV.to(draw.uniform.device)
    if draw.hands:
        logits_BV = _steered(logits_BV, draw)
    elif draw.temperature is not None:
        logits_BV = logits_BV / draw.temperature
    if draw.allowed is not None:
        logits_BV = draw.allowed.leave(logits_BV.float())
    if draw.cut is not None:
        logits_BV = draw.cut.cut(logits_BV.float())
    probabilities_BV = torch.softmax(logits_BV, dim=-1, dtype=torch.float32)
    pick = _pick if probabilities_BV.shape[1] <= _SINGLE_LEVEL else _pick_by_blocks
    tokens_B1 = pick(probabilities_BV, draw.uniform)
    if draw.greedy is not None:
        best_B1 = logits_BV.argmax(dim=-1, keepdim=True)
        tokens_B1 = torch.where(draw.greedy, best_B1, tokens_B1)
    logprobs_B1 = probabilities_BV.gather(1, tokens_B1).log_()
    return tokens_B1.squeeze(1), logprobs_B1.squeeze(1)


def _steered(logits_BV: Tensor, draw: Draw) -> Tensor:
    """The logits (B, V) fp32 over the temperature, of which rows are bent; what was given stays as it is."""
    numbers = [row for row, _ in draw.hands]
    is_all = numbers == list(range(len(logits_BV)))
    rows = torch.tensor(numbers, device=logits_BV.device)
    # The whole vocabulary of every row: one copy of it, where all are bent, costs less than picking them.
    bent_HV = logits_BV.to(torch.float32, copy=True) if is_all else logits_BV[rows].float()
    for (_, hand), row_V in zip(draw.hands, bent_HV, strict=True):
        hand.steer(row_V)
    if draw.temperature is not None:
        bent_HV.div_(draw.temperature if is_all else draw.temperature[rows])
    if is_all:
        return bent_HV
    # The other rows are rounded as they are without these beside them.
    whole_BV = logits_BV if draw.temperature is None else logits_BV / draw.temperature
    is_own = draw.temperature is not None or whole_BV.dtype != torch.float32
    whole_BV = whole_BV.float()
    return (whole_BV if is_own else whole_BV.clone()).index_copy_(0, rows, bent_HV)


def _pick(probabilities_BV: Tensor, uniform_B1: Tensor) -> Tensor:
    """Return the first id whose cumulative probability exceeds the target, (B, 1)."""
    cumulative_BV = running_sums(probabilities_BV)
    # Scaling by the sum instead of 1 keeps rounding from pushing the target past the end.
    return _first_above(cumulative_BV, uniform_B1 * cumulative_BV[:, -1:])


def _pick_by_blocks(probabilities_BV: Tensor, uniform_B1: Tensor) -> Tensor:
    """As `_pick`, but sums blocks first and walks only the block that holds the target."""
    size = probabilities_BV.shape[1]
    if size % _BLOCK:
        probabilities_BV = F.pad(probabilities_BV, (0, _BLOCK - size % _BLOCK))
    blocks_BNb = probabilities_BV.unflatten(1, (-1, _BLOCK))
    cumulative_BN = running_sums(blocks_BNb.sum(dim=-1))
    target_B1 = uniform_B1 * cumulative_BN[:, -1:]
    block_B1 = _first_above(cumulative_BN, target_B1)
    before_B1 = F.pad(cumulative_BN, (1, 0)).gather(1, block_B1)
    chosen_Bb = blocks_BNb.take_along_dim(block_B1.unsqueeze(2), dim=1).squeeze(1)
    within_Bb = running_sums(chosen_Bb)
    # The fp32 block sum and the float64 walk differ in the last bits: stay inside the block.
    rest_B1 = torch.minimum(target_B1 - before_B1, within_Bb[:, -1:] * (1 - 2.0**-50))
    return block_B1 * _BLOCK + _first_above(within_Bb, rest_B1)


def _first_above(cumulative_BN: Tensor, target_B1: Tensor) -> Tensor:
    index_B1 = torch.searchsorted(cumulative_BN, target_B1, right=True)
    # NaN probabilities find no place; the caller refuses them by their log-probability.
    return index_B1.clamp_(max=cumulative_BN.shape[1] - 1)
