"""Sampling of the exact contract (clauses 7 and 8)."""

from functools import cache

import torch
from torch import Tensor

from archipel.engine.exact.rows import number
from archipel.engine.exact.tables import tables
from archipel.engine.sampler import Draw
from archipel.records.requests import InvalidRequest

_STEPS = 1 << 20
"""Steps of the exponent in a nat."""
_LAST = (1 << 25) - 2
"""As `2^25 - 1`, which is no f32: either has no chance."""
_UNIT = 1 << 30
"""A probability of 1, relative to the likeliest token."""
_BLOCK = 128
"""Vocabulary entries of one block of the search."""
_CACHED = 1 << 16
"""Logits that are worked on at a time: what is made of them stays in the cache."""


def sample(logits_BV: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Tokens (B,) int64 and their log-probabilities (B,) f32; logits are f32.

    Raises:
        InvalidRequest: a row's distribution is cut or bent, or some tokens alone are allowed.
    """
    if draw.hands:
        raise InvalidRequest(
            "a request bends the logits; the exact contract samples from them as they are: leave penalties and "
            "grammars out"
        )
    if draw.allowed is not None:
        raise InvalidRequest(
            "a request allows some tokens alone; the exact contract samples from the whole vocabulary: leave "
            "`allowed` out, or sample by another engine"
        )
    if draw.cut is not None:
        raise InvalidRequest(
            "a request cuts the distribution; the exact contract samples from all of it: leave top_k, top_p and "
            "min_p out"
        )
    if draw.temperature is not None:
        logits_BV = torch.div(logits_BV, draw.temperature)
    num_rows, vocab_size = logits_BV.shape
    step = max(1, _CACHED // vocab_size)
    parts = [
        _pick(logits_BV[at : at + step], draw.uniform[at : at + step])
        for at in range(0, num_rows, step)
    ]
    tokens_B1, total_B1, largest_B1 = (torch.cat(each) for each in zip(*parts, strict=True))
    if draw.greedy is not None:
        best_B1 = logits_BV.argmax(-1, keepdim=True)
        tokens_B1 = torch.where(draw.greedy, best_B1, tokens_B1)
    chosen_B1 = logits_BV.gather(1, tokens_B1).sub_(largest_B1).double()
    return tokens_B1.squeeze(1), chosen_B1.sub_(logarithm(total_B1)).float().squeeze(1)


def log_chances(logits_BV: Tensor, tokens_B: Tensor) -> Tensor:
    """Log-probabilities (B,) f32 of given tokens (B,) int64, at temperature 1 (7.2, 7.4); logits are f32.

    What `sample` says of a token that it draws.
    """
    largest_B1 = _largest(logits_BV)
    step = max(1, _CACHED // logits_BV.shape[1])
    totals = [
        _weights(part - largest).sum(-1, keepdim=True)
        for part, largest in zip(logits_BV.split(step), largest_B1.split(step), strict=True)
    ]
    chosen_B1 = logits_BV.gather(1, tokens_B.unsqueeze(1)).sub_(largest_B1).double()
    return chosen_B1.sub_(logarithm(torch.cat(totals))).float().squeeze(1)


def _pick(logits_BV: Tensor, uniform_B1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, P and the largest logit, (B, 1) each: blocks of the vocabulary first, then one of them.

    Sums of integers: in blocks or not, they are the same.
    """
    num_rows, vocab_size = logits_BV.shape
    largest_B1 = _largest(logits_BV)
    size = -(-vocab_size // _BLOCK) * _BLOCK
    distance_BV = torch.empty(num_rows, size, device=logits_BV.device)
    distance_BV[:, vocab_size:].fill_(-torch.inf)  # no chance beyond the vocabulary
    torch.sub(logits_BV, largest_B1, out=distance_BV[:, :vocab_size])
    chances_BNb = _weights(distance_BV).unflatten(1, (-1, _BLOCK))
    ends_BN = chances_BNb.sum(-1).cumsum_(-1)
    total_B1 = ends_BN[:, -1:]
    target_B1 = uniform_B1 * total_B1
    # Only a row that is not finite finds no place; its log-probability is refused.
    block_B1 = torch.searchsorted(ends_BN, target_B1, right=True).clamp_(max=ends_BN.shape[1] - 1)
    wanted_B1b = block_B1.unsqueeze(2).expand(-1, -1, _BLOCK)
    chosen_Bb = chances_BNb.gather(1, wanted_B1b).squeeze(1)
    before_B1 = ends_BN.gather(1, block_B1).sub_(chosen_Bb.sum(-1, keepdim=True))
    within_Bb = chosen_Bb.cumsum_(-1).add_(before_B1)
    place_B1 = torch.searchsorted(within_Bb, target_B1, right=True)
    tokens_B1 = block_B1.mul_(_BLOCK).add_(place_B1).clamp_(max=vocab_size - 1)
    return tokens_B1, total_B1, largest_B1


def _largest(logits_BV: Tensor) -> Tensor:
    """(B, 1); not finite where any of its row is not."""
    smallest_B1, largest_B1 = (each(-1, keepdim=True) for each in (logits_BV.amin, logits_BV.amax))
    # One of minus infinity, or infinitely far below, would only lose its chance: it spoils its row (1.3).
    return largest_B1 + (smallest_B1 - largest_B1).mul_(0)


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
    """Chances (B, V): integers held as f64; takes `distance_BV` to work in."""
    coarse, fine, _ = _constants(distance_BV.device)
    steps = distance_BV.mul_(-_STEPS).clamp_(max=_LAST).nan_to_num_(_LAST).round_()
    steps = steps.to(torch.int32).view(-1)
    p = coarse.index_select(0, steps >> 10).mul_(fine.index_select(0, steps & 1023))
    return p.round_().view(distance_BV.shape)


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    made = tables()
    coarse, fine, ln = (
        torch.from_numpy(each).to(device) for each in (made.coarse, made.fine, made.ln)
    )
    return coarse * _UNIT, fine, ln  # a power of two: the product's bits are the same
