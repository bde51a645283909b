"""Advantages into a gradient: what each loss does with the ratio of new to behaviour policy.

For a sampled token, pi is its probability now, mu the one recorded when it was sampled, r = pi / mu,
A its completion's advantage. The textbook policy gradient for stale samples is -r A; each loss
below is that, guarded in one way. All give one number per token; the trainer sums them, times the
token's weight, and divides by what the recipe's `mean_over` says of the whole step (`training.means`), over all
micro-batches and ranks. A token that a loss clips or masks stays in that number: it was looked at, and
found to need no push. A token without a usable mu is not valid and is in neither.

| loss | -objective per token | gradient vanishes when |
|---|---|---|
| ppo_clip | -min(r A, clip(r, 1 - low, 1 + high) A) | r has moved past the clip in A's direction |
| tis | -stop(min(r, cap)) A log pi | never; its size is capped |
| cispo | -stop(clip(r, low, high)) A log pi | never; its size is bounded on both sides |
| trust_region | -keep r A + kl (log r)^2 | pi - mu has moved past delta in A's direction |
| gspo | -min(s A, clip(s, 1 - low, 1 + high) A), s = exp(mean log r of the completion) | s has moved past the clip in A's direction |

Token-level `cispo` with low = 0 and `tis` are one formula with different caps; both names are kept
because their literature differs (Yao et al. 2025 for truncation; MiniMax-M1, arXiv 2506.13585, for
CISPO). `ppo_clip` with a higher upper bound is DAPO's (arXiv 2503.14476). The trust region bounds the
change of probability and not of its ratio, since a rare token's ratio is mostly noise. GSPO (arXiv 2507.18071)
clips whole completions, by the ratio of their likelihoods, one length-th root of it; its bounds are a thousandth
of a token's, because a mean over many tokens moves little.
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
    divergence_N: Tensor | None = None
    """Estimate of the divergence from the reference, in nats; None without one."""
    teacher_kl_N: Tensor | None = None
    """log pi - log teacher of each token, in nats; None without one."""


Objective = Callable[[Tensor, Tensor, Tensor, Tensor], TokenLoss]
"""(logprobs_N, behaviour_logprobs_N, advantages_N, sequences_N) -> TokenLoss; gradients flow into logprobs_N.

sequences_N: the completion that a token belongs to; -1: a token that is not valid, whose value means nothing.
"""


def make_objective(section: LossSection) -> Objective:
    """The loss that a recipe names, with the recipe's constants."""
    losses = {"ppo_clip": ppo_clip, "tis": tis, "cispo": cispo, "trust_region": trust_region}

    def objective(
        logprobs_N: Tensor, behaviour_N: Tensor, advantages_N: Tensor, sequences_N: Tensor
    ) -> TokenLoss:
        if section.name == "gspo":
            return gspo(logprobs_N, behaviour_N, advantages_N, sequences_N, section)
        return losses[section.name](logprobs_N, behaviour_N, advantages_N, section)

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


def gspo(
    logprobs_N: Tensor,
    behaviour_N: Tensor,
    advantages_N: Tensor,
    sequences_N: Tensor,
    section: LossSection,
) -> TokenLoss:
    """The pessimistic clip of PPO on whole completions; with `mean_over = "sequences"`, GSPO's equation 5.

    Each token of a completion has the completion's value; over them, weighted by 1 / their number, it is one.
    """
    is_valid_N = sequences_N >= 0
    numbers_V = sequences_N[is_valid_N]
    num_sequences = int(numbers_V.max()) + 1 if len(numbers_V) else 0
    counts_S = torch.bincount(numbers_V, minlength=num_sequences).clamp(min=1)
    log_ratio_V = clamped_log_ratio(logprobs_N, behaviour_N)[is_valid_N]
    sums_S = log_ratio_V.new_zeros(num_sequences).index_add(0, numbers_V, log_ratio_V)
    ratio_S = (sums_S / counts_S).exp()
    ratio_N = torch.ones_like(logprobs_N).masked_scatter(is_valid_N, ratio_S[numbers_V])
    plain_N = ratio_N * advantages_N
    bounds = (1.0 - section.sequence_clip_low, 1.0 + section.sequence_clip_high)
    clipped_N = ratio_N.clamp(*bounds) * advantages_N
    return TokenLoss(-torch.minimum(plain_N, clipped_N), clipped_N < plain_N)


def _weighted_reinforce(
    logprobs_N: Tensor, behaviour_N: Tensor, advantages_N: Tensor, bounds: tuple[float, float]
) -> TokenLoss:
    with torch.no_grad():
        ratio_N = clamped_log_ratio(logprobs_N, behaviour_N).exp()
        bounded_N = ratio_N.clamp(*bounds)
    return TokenLoss(-bounded_N * advantages_N * logprobs_N, bounded_N != ratio_N)
