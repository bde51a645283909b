"""Sampling of the exact contract (clauses 7 and 8)."""

from functools import cache

import torch
from torch import Tensor

from archipel.engine.exact.rows import number
from archipel.engine.exact.tables import tables
from archipel.engine.sampler import Draw

_STEPS = 1 << 20
"""Steps of the exponent in a nat."""
_LAST = (1 << 25) - 2
"""As `2^25 - 1`, which is no f32: either has no chance."""
_UNIT = 1 << 30
"""A probability of 1, relative to the likeliest token."""


def sample(logits_BV: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Tokens (B,) int64 and their log-probabilities (B,) f32; logits are f32."""
    if draw.temperature is not None:
        logits_BV = torch.div(logits_BV, draw.temperature)
    distance_BV = logits_BV - logits_BV.amax(-1, keepdim=True)
    cumulative_BV = _weights(distance_BV).cumsum_(-1)
    total_B1 = cumulative_BV[:, -1:]
    tokens_B1 = torch.searchsorted(cumulative_BV, draw.uniform * total_B1, right=True)
    # Only a row that is not finite finds no place; its log-probability is refused.
    tokens_B1.clamp_(max=logits_BV.shape[1] - 1)
    if draw.greedy is not None:
        best_B1 = logits_BV.argmax(-1, keepdim=True)
        tokens_B1 = torch.where(draw.greedy, best_B1, tokens_B1)
    chosen_B1 = distance_BV.gather(1, tokens_B1).double()
    return tokens_B1.squeeze(1), chosen_B1.sub_(logarithm(total_B1)).float().squeeze(1)


def logarithm(total: Tensor) -> Tensor:
    """ln(P / 2^30) of integers P, held as f64 (clause 8)."""
    device, double = total.device, torch.float64
    _, _, table = _constants(device)
    half, power = torch.frexp(total)  # 1/2 <= half < 1, total = half * 2^power
    f = half * 2
    place = (f - 1).mul_(1024).floor_().clamp_(0, 1023).nan_to_num_(0.0)
    centre = (place * 2).add_(1).mul_(2.0**-11).add_(1)
    d = torch.div(f - centre, centre)
    h = (d * -0.25).add_(number(1 / 3, double, device))
    h = h.mul_(d).add_(-0.5).mul_(d).add_(1)
    whole = (power - 31).double().mul_(tables().ln2)
    whole.add_(table.index_select(0, place.to(torch.int64).view(-1)).view(total.shape))
    return whole.add_(h.mul_(d))


def _weights(distance_BV: Tensor) -> Tensor:
    """Chances (B, V): integers held as f64."""
    coarse, fine, _ = _constants(distance_BV.device)
    last = number(_LAST, distance_BV.dtype, distance_BV.device)
    steps = torch.fmin(distance_BV * -_STEPS, last).round_().to(torch.int32).view(-1)
    p = coarse.index_select(0, steps >> 10).mul_(fine.index_select(0, steps & 1023))
    return p.mul_(_UNIT).round_().view(distance_BV.shape)


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    made = tables()
    coarse, fine, ln = (
        torch.from_numpy(each).to(device) for each in (made.coarse, made.fine, made.ln)
    )
    return coarse, fine, ln
