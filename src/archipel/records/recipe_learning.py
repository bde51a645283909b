"""What a recipe says of learning: rewards into advantages, advantages into a gradient, gradients into weights,
and the supervised stage before all that. Part of `recipe`.
"""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.recipe_form import Section

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class AlgorithmSection(Section):
    """Rewards of a group into advantages."""

    name: Literal["grpo", "rloo"] = "grpo"
    """Which baseline a reward is compared with."""
    scale_by_std: bool = False
    """GRPO only: divide by the group's standard deviation (else mean-centred only)."""


class LossSection(Section):
    """Advantages into a gradient."""

    name: Literal["trust_region", "ppo_clip", "tis", "cispo"] = "trust_region"
    """How the gradient is kept from moving too far on stale samples."""
    clip_low: Positive = 0.2
    """ppo_clip: ratio below 1 - clip_low is clipped."""
    clip_high: Positive = 0.28
    """ppo_clip: ratio above 1 + clip_high is clipped."""
    ratio_cap: Positive = 2.0
    """tis: importance ratios are truncated here."""
    cispo_low: Annotated[float, Field(ge=0.0)] = 0.0
    """cispo: lower bound of the detached ratio."""
    cispo_high: Positive = 4.0
    """cispo: the detached ratio is clamped into [cispo_low, cispo_high]."""
    trust_delta: Positive = 0.2
    """trust_region: a token is masked once its probability has moved this far in its advantage's direction."""
    kl_coefficient: Annotated[float, Field(ge=0.0)] = 1e-3
    """trust_region: weight of the squared log ratio."""


class OptimiserSection(Section):
    """AdamW over fp32 masters."""

    learning_rate: Positive = 1e-6
    """Peak rate, reached after warm-up."""
    beta1: Probability = 0.9
    """Decay of the mean of gradients."""
    beta2: Probability = 0.99
    """Decay of the mean of squared gradients."""
    epsilon: Positive = 1e-8
    """Added to the root of the second mean."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    """Decoupled from the gradient."""
    warmup_steps: Annotated[int, Field(ge=0)] = 5
    """Optimiser steps in which the rate rises from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After warm-up: constant, or decay over the run's updates to `final_fraction`."""
    final_fraction: Probability = 0.0
    """Of the peak rate, at the end of the schedule."""
    clip_norm: Positive = 1.0
    """Gradients are scaled down to this global norm."""
    minibatches: Annotated[int, Field(ge=1, le=256)] = 1
    """Optimiser steps per update; each sees a disjoint part of the batch."""
    micro_batch_tokens: Annotated[int, Field(ge=64)] = 16_384
    """Gradient accumulation: at most this many padded tokens go through the network at once."""


class SupervisedSection(Section):
    """The supervised stage that precedes reinforcement learning."""

    steps: Annotated[int, Field(ge=1)] = 600
    """Upper bound on steps before the final decay."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Examples of one step."""
    learning_rate: Positive = 3e-3
    """Peak rate, reached after warm-up."""
    beta1: Probability = 0.9
    """Decay of the mean of gradients."""
    beta2: Probability = 0.98
    """Decay of the mean of squared gradients."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """Decoupled from the gradient."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Steps in which the rate rises from 0."""
    decay_steps: Annotated[int, Field(ge=0)] = 80
    """Linear decay to 5 percent of the learning rate at the end."""
    gate: Annotated[float, Field(gt=1.0)] | None = None
    """End early once the smoothed loss falls below gate x the entropy floor that the environment states."""
    clip_norm: Positive = 1.0
    """Gradients are scaled down to this global norm."""
