"""What one update did, as plain numbers for logs and curves.

Parts: `UpdateReport`; `TokenSums`, which gathers it micro-batch by micro-batch; `make_report`.
Law: gathering never touches the gradient.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from archipel.model.devices import float64_place
from archipel.training.batch import Batch, Group
from archipel.training.losses import TokenLoss, clamped_log_ratio
from archipel.training.routing import RoutingReport, RoutingSums
from archipel.training.sharding import Site, max_over_ranks, sum_over_ranks


@dataclass(frozen=True)
class UpdateReport:
    """One update of the policy. Means over tokens are over valid sampled tokens; 0 when none."""

    version: int
    """Policy version that the update made."""
    groups: int
    zero_advantage_groups: int
    """Groups whose rewards were all equal: left out, since they carry no gradient."""
    reward_mean: float
    """Over all rollouts, those of left-out groups included."""
    finished_fraction: float
    """Share of all rollouts that the model ended by itself; the others were cut off at their limit."""
    distinct_fraction: float
    """Different completions of a group, of all that it has: 1/G when all are alike, else up to 1."""
    commonest_fraction: float
    """Share of all rollouts that are the batch's most frequent completion: near 1 when the policy has
    collapsed to one answer whatever it is asked."""
    tokens: int
    """Valid sampled tokens that were trained on."""
    invalid_tokens: int
    """Sampled tokens left out for want of a usable behaviour log-probability."""
    optimiser_steps: int
    learning_rate: float
    """Rate of the last optimiser step; 0 when there was none."""
    loss: float
    """Mean over optimiser steps of each step's token mean."""
    grad_norm: float
    """Largest norm before clipping among the optimiser steps."""
    ratio_mean: float
    """Mean of pi / mu."""
    ratio_max: float
    mismatch_kl: float
    """KL(mu || pi) in nats per token by the estimator r - 1 - log r, never negative."""
    effective_sample_fraction: float
    """(sum r)^2 / (N sum r^2): 1 on policy, towards 0 as a few tokens dominate."""
    held_back_fraction: float
    """Share of tokens that the loss clipped, capped or masked."""
    entropy: float
    """Of the current policy at the sampled places, in nats per token."""
    staleness_mean: float
    staleness_max: int
    """Versions between the policy that sampled and the one being updated."""
    teacher_kl: float | None = None
    """KL(pi || teacher) in nats per token, estimated on these samples; None without a teacher."""
    reference_kl: float | None = None
    """KL(pi || reference) in nats per token, estimated on these samples; None in an update without that term."""
    routing: RoutingReport | None = None
    """What routers did; None in a model without experts."""


class TokenSums:
    """Running sums over the sampled tokens of one update; only `make_report` reads them."""

    def __init__(self) -> None:
        self.tokens = 0
        self.sampled = 0
        self.steps = 0
        self.learning_rate = 0.0
        self.grad_norm = 0.0
        self.step_losses = torch.zeros((), dtype=torch.float64)
        self.sums = torch.zeros(7, dtype=torch.float64)
        """ratio, ratio squared, k3 divergence, held back, entropy, divergences from reference and teacher."""
        self.has_reference = self.has_teacher = False
        self.ratio_max = torch.zeros((), dtype=torch.float64)
        self._loss = torch.zeros((), dtype=torch.float64)

    def count(self, num_valid: int, num_sampled: int) -> None:
        """Tokens of one optimiser step, over all ranks."""
        self.tokens += num_valid
        self.sampled += num_sampled

    @torch.no_grad()
    def add(self, batch: Batch, logprobs_N: Tensor, entropy_N: Tensor, loss: TokenLoss) -> None:
        """Take in what this rank saw of one micro-batch."""
        place = float64_place(logprobs_N.device)
        mask_N = batch.mask_N.to(place)
        gap_N = clamped_log_ratio(logprobs_N, batch.behaviour_logprobs_N)
        log_ratio_N = gap_N.to(place).double()
        ratio_N = log_ratio_N.exp() * mask_N
        columns = (
            ratio_N,
            ratio_N.square(),
            (ratio_N - 1.0 - log_ratio_N) * mask_N,
            loss.held_back_N.to(place) & mask_N,
            entropy_N.to(place) * mask_N,
            _or_nothing(loss.divergence_N, ratio_N).to(place) * mask_N,
            _or_nothing(loss.teacher_kl_N, ratio_N).to(place) * mask_N,
        )
        self.has_reference |= loss.divergence_N is not None
        self.has_teacher |= loss.teacher_kl_N is not None
        self.sums += torch.stack([column.sum(dtype=torch.float64) for column in columns]).cpu()
        self.ratio_max = torch.maximum(self.ratio_max, ratio_N.max().cpu())
        values_N = (loss.values_N * batch.weights_N).to(place)
        self._loss += values_N.sum(dtype=torch.float64).cpu()

    def stepped(self, grad_norm: float, learning_rate: float, divisor: float) -> None:
        """Close one optimiser step. divisor: of its loss, see `training.means`."""
        self.steps += 1
        self.learning_rate = learning_rate
        self.grad_norm = max(self.grad_norm, grad_norm)
        self.step_losses += self._loss / divisor
        self._loss = torch.zeros_like(self._loss)


def make_report(
    version: int,
    groups: Sequence[Group],
    num_kept: int,
    sums: TokenSums,
    site: Site,
    routing: RoutingSums | None = None,
) -> UpdateReport:
    """Close the account of the update that made policy `version + 1`. A collective.

    routing: of a mixture of experts; it begins again.
    """
    totals = sum_over_ranks(torch.cat((sums.sums, sums.step_losses.reshape(1))), site).tolist()
    ratio, ratio_squared, divergence, held_back, entropy, reference, teacher, loss = totals
    tokens = max(1, sums.tokens)
    rewards = [reward for group in groups for reward in group.rewards]
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    often = Counter(rollout.tokens for rollout in rollouts).most_common(1)[0][1]
    ages = [version - group.policy_version for group in groups]
    return UpdateReport(
        version=version + 1,
        groups=len(groups),
        zero_advantage_groups=len(groups) - num_kept,
        reward_mean=math.fsum(rewards) / len(rewards),
        finished_fraction=sum(rollout.finished for rollout in rollouts) / len(rollouts),
        distinct_fraction=sum(_distinct(group) for group in groups) / len(groups),
        commonest_fraction=often / len(rollouts),
        tokens=sums.tokens,
        invalid_tokens=sums.sampled - sums.tokens,
        optimiser_steps=sums.steps,
        learning_rate=sums.learning_rate,
        loss=loss / max(1, sums.steps),
        grad_norm=sums.grad_norm,
        ratio_mean=ratio / tokens,
        ratio_max=float(max_over_ranks(sums.ratio_max.reshape(1), site)),
        mismatch_kl=divergence / tokens,
        effective_sample_fraction=ratio * ratio / (tokens * ratio_squared)
        if ratio_squared
        else 0.0,
        held_back_fraction=held_back / tokens,
        entropy=entropy / tokens,
        staleness_mean=sum(ages) / len(ages),
        staleness_max=max(ages),
        teacher_kl=teacher / tokens if sums.has_teacher else None,
        reference_kl=reference / tokens if sums.has_reference else None,
        routing=None if routing is None else routing.take().report(site),
    )


def _distinct(group: Group) -> float:
    return len({rollout.tokens for rollout in group.rollouts}) / len(group.rollouts)


def _or_nothing(values_N: Tensor | None, like_N: Tensor) -> Tensor:
    return torch.zeros_like(like_N) if values_N is None else values_N
