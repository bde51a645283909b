"""Advantages into a gradient: what each loss does with the ratio of new to behaviour policy.

For a sampled token, pi is its probability now, mu the one recorded when it was sampled, r = pi / mu,
A its completion's advantage. The textbook policy gradient for stale samples is -r A; each loss
below is that, guarded in one way. All give one number per token; the trainer sums them, times the
token's weight, and divides by the number of valid tokens of the whole step, over all micro-batches
and ranks. A token that a loss clips or masks stays in that number: it was looked at, and
found to need no push. A token without a usable mu is not valid and is in neither.

| loss | -objective per token | gradient vanishes when |
|---|---|---|
| ppo_clip | -min(r A, clip(r, 1 - low, 1 + high) A) | r has moved past the clip in A's direction |
| tis | -stop(min(r, cap)) A log pi | never; its size is capped |
| cispo | -stop(clip(r, low, high)) A log pi | never; its size is bounded on both sides |
| trust_region | -keep r A + kl (log r)^2 | pi - mu has moved past delta in A's direction |

Token-level `cispo` with low = 0 and `tis` are one formula with different caps; both names are kept
because their literature differs (Yao et al. 2025 for truncation; MiniMax-M1, arXiv 2506.13585, for
CISPO). `ppo_clip` with a higher upper bound is DAPO's (arXiv 2503.14476). The trust region bounds the
change of probability and not of its ratio, since a rare token's ratio is mostly noise.
"""
# ruff: noqa: N815 - shape suffixes: tokens_BT

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from archipel.records.recipe import LossSection

MAX_LOG_RATIO = 20.0
"""Log ratios are clamped here, so that exp stays finite in float32; beyond it there is no gradient."""


@dataclass(frozen=True)
class TokenLoss:
    """Loss of N sampled tokens, before weights and before the mean."""

    values_N: Tensor
    held_back_N: Tensor
    """bool, true where the guard (clip, cap or mask) was in force."""


Objective = Callable[[Tensor, Tensor, Tensor], TokenLoss]
"""(logprobs_N, behaviour_logprobs_N, advantages_N) -> TokenLoss; gradients flow into logprobs_N."""


def make_objective(section: LossSection) -> Objective:
    """The loss that a recipe names, with the recipe's constants."""
    losses = {"ppo_clip": ppo_clip, "tis": tis, "cispo": cispo, "trust_region": trust_region}
    loss = losses[section.name]

    def objective(logprobs_N: Tensor, behaviour_N: Tensor, advantages_N: Tensor) -> TokenLoss:
        return loss(logprobs_N, behaviour_N, advantages_N, section)

    return objective


def clamped_log_ratio(logprobs_N: Tensor, behaviour_N: Tensor) -> Tensor:
    return (logprobs_N - behaviour_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def ppo_clip(
    logprobs_N: Tensor, behaviour_N: Tensor, advantages_N: Tensor, section: LossSection
) -> TokenLoss:
    """The pessimistic one of the plain and the clipped objective (arXiv 1707.06347, eq. 7)."""
    ratio_N = clamped_log_ratio(logprobs_N, behaviour_N).exp()
    plain_N = ratio_N * advantages_N
    clipped_N = ratio_N.clamp(1.0 - section.clip_low, 1.0 + section.clip_high) * advantages_N
    return TokenLoss(-torch.minimum(plain_N, clipped_N), clipped_N < plain_N)


def tis(
    logprobs_N: Tensor, behaviour_N: Tensor, advantages_N: Tensor, section: LossSection
) -> TokenLoss:
    """REINFORCE with the importance ratio truncated from above."""
    return _weighted_reinforce(logprobs_N, behaviour_N, advantages_N, (0.0, section.ratio_cap))


def cispo(
    logprobs_N: Tensor, behaviour_N: Tensor, advantages_N: Tensor, section: LossSection
) -> TokenLoss:
    """REINFORCE with the importance ratio clamped; no token is ever dropped."""
    bounds = (section.cispo_low, section.cispo_high)
    return _weighted_reinforce(logprobs_N, behaviour_N, advantages_N, bounds)


def trust_region(
    logprobs_N: Tensor, behaviour_N: Tensor, advantages_N: Tensor, section: LossSection
) -> TokenLoss:
    """Plain importance sampling until a token's probability has moved `trust_delta` its way."""
    log_ratio_N = clamped_log_ratio(logprobs_N, behaviour_N)
    moved_N = logprobs_N.detach().exp() - behaviour_N.exp()
    masked_N = torch.where(
        advantages_N > 0,
        moved_N > section.trust_delta,
        (advantages_N < 0) & (moved_N < -section.trust_delta),
    )
    push_N = (log_ratio_N.exp() * advantages_N).masked_fill(masked_N, 0.0)
    return TokenLoss(section.kl_coefficient * log_ratio_N.square() - push_N, masked_N)


def _weighted_reinforce(
    logprobs_N: Tensor, behaviour_N: Tensor, advantages_N: Tensor, bounds: tuple[float, float]
) -> TokenLoss:
    with torch.no_grad():
        ratio_N = clamped_log_ratio(logprobs_N, behaviour_N).exp()
        bounded_N = ratio_N.clamp(*bounds)
    return TokenLoss(-bounded_N * advantages_N * logprobs_N, bounded_N != ratio_N)
