"""What a recipe says of learning: rewards into advantages, advantages into a gradient, gradients into weights,
and the supervised stage before all that. Part of `recipe`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archipel.records.recipe_form import Section

MAX_REFILL = 7
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
PartName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Positive = Annotated[float, Field(gt=0.0)]


class AlgorithmSection(Section):
    """Rewards of a group into advantages."""

    LATER = frozenset(
        {"overlong_tokens", "overlong_penalty", "length_weight", "part_weights", "refill"}
    )

    name: Literal["grpo", "rloo", "reinforce", "reinforce_group"] = "grpo"
    """Which baseline a reward is compared with."""
    scale_by_std: bool = False
    """GRPO only: divide by the group's standard deviation (else mean-centred only)."""
    overlong_tokens: Annotated[int, Field(ge=0, le=1_048_576)] = 0
    """The last so many tokens before sampling.max_new_tokens cost more and more of the reward; 0: none do."""
    overlong_penalty: Positive = 1.0
    """What a completion of max_new_tokens loses, with `overlong_tokens`."""
    length_weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Of a bonus for right answers that are shorter, and a malus for answers that are longer, than their group's."""
    part_weights: Annotated[
        dict[PartName, Annotated[float, Field(ge=-1000.0, le=1000.0)]], Field(max_length=32)
    ] = Field(default={})
    """Of a reward that an environment gives in parts: each brought to one scale in its group, then added with these
    weights (GDPO); empty: the reward as the environment adds it."""

    refill: Annotated[int, Field(ge=0, le=MAX_REFILL)] = 0
    """A batch takes up to so many times run.groups_per_update further groups until that many of its groups have an
    advantage (DAPO's dynamic sampling); 0: none, and groups whose rewards are equal cost their place."""

    @model_validator(mode="after")
    def _one_scale(self) -> Self:
        if self.scale_by_std and self.name in ("reinforce", "reinforce_group"):
            raise ValueError(
                f'{self.name} scales by the batch\'s standard deviation; scale_by_std = true is for name = "grpo": '
                "remove one of them"
            )
        if self.refill and self.name == "reinforce":
            raise ValueError(
                "refill asks for groups whose rewards differ, and reinforce compares with the whole batch, where equal "
                'ones teach, too; take name = "grpo", "rloo" or "reinforce_group", or leave refill out'
            )
        if self.part_weights and (self.name != "grpo" or not self.scale_by_std):
            raise ValueError(
                "part_weights divides each part by its standard deviation in the group: it needs "
                'name = "grpo" and scale_by_std = true'
            )
        if self.part_weights and (self.overlong_tokens or self.length_weight):
            raise ValueError(
                "part_weights has no place for overlong_tokens and length_weight, which change the sum; "
                "let the environment give length as a part of its own"
            )
        return self


class LossSection(Section):
    """Advantages into a gradient."""

    LATER = frozenset({"sequence_clip_low", "sequence_clip_high", "mean_over", "entropy_bonus"})

    name: Literal["trust_region", "ppo_clip", "tis", "cispo", "gspo"] = "trust_region"
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
    sequence_clip_low: Positive = 3e-4
    """gspo: ratio of a whole completion below 1 - sequence_clip_low is clipped."""
    sequence_clip_high: Positive = 4e-4
    """gspo: ratio of a whole completion above 1 + sequence_clip_high is clipped."""
    mean_over: Literal["tokens", "sequences", "constant"] = "tokens"
    """What a step's sum is divided by: its tokens (DAPO); each completion's own tokens, then completions (GRPO, GSPO);
    or completions x sampling.max_new_tokens, whatever their length (Dr. GRPO)."""
    entropy_bonus: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Weight of the policy's entropy at the sampled places, which is then kept high."""

    @model_validator(mode="after")
    def _whole_sequences(self) -> Self:
        if self.name == "gspo" and self.mean_over != "sequences":
            raise ValueError(
                f'gspo weighs whole completions; mean_over = "{self.mean_over}" would weigh their tokens: give '
                'mean_over = "sequences"'
            )
        return self


class ReferenceSection(Section):
    """A policy that the learner is kept near, by KL(learner || reference); its log-probabilities are the learner's own work."""

    coefficient: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    """Weight of the divergence in nats per token; 0: there is no reference, and no memory is spent on one."""
    version: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """The policy version that is the reference; before the run gets there, there is none."""
    every: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Only every K-th update has the term."""


class TeacherSection(Section):
    """A model whose log-probabilities teach each sampled token (on-policy distillation); the trusted role reads it."""

    LATER = frozenset({"hears"})

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    """Its model directory on the trusted role's machine, relative to the recipe's file; the vocabulary is the learner's."""
    weights: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """State digest of its weights in bfloat16; other weights are then refused."""
    weight: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0
    """What a nat of log teacher - log policy counts for, beside the reward's advantage."""
    rewards: Literal["kept", "ignored"] = "kept"
    """Whether the reward teaches, too, or is only measured."""
    hears: Literal["samples", "all"] = "samples"
    """What it says at each place: of the token that was sampled there, or of all that could have been, which has less
    noise and is computed in one process."""


class CurriculumSection(Section):
    """Which training tasks come next: mostly those that the policy solves sometimes."""

    pool: Annotated[int, Field(ge=1, le=65_536)]
    """Tasks 0 .. pool - 1 of the training part are chosen from."""
    low: Probability = 0.1
    """Lower end of the band: a task that earned less lately is too hard for now."""
    high: Probability = 0.9
    """Upper end of the band: a task that earned more lately is solved."""
    fresh: Probability = 0.25
    """Share of a batch for tasks that were never tried, then for those outside the band, the longest untried first."""
    memory: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Weight of the newest try in what a task earned lately; 1: it alone."""

    @model_validator(mode="after")
    def _is_a_band(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low = {self.low} is above high = {self.high}; swap them")
        return self


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


class MemorySection(Section):
    """How learning fits into the memory of the trusted role's machine; each costs time or some of the numbers' last bits."""

    compute: Literal["float32", "bfloat16"] = "float32"
    """Type of weights and activations while learning; masters, the sum of gradients and the loss stay float32."""
    recompute_layers: bool = False
    """Keep only each layer's input and compute the layer again for its gradient: a third more arithmetic, same numbers."""
    moments: Literal["float32", "8bit"] = "float32"
    """Of AdamW, for matrices: 8bit keeps both in a byte each and a scale for every 256 at most, instead of 4 bytes each."""
    offload: bool = False
    """Masters, moments and the sum of gradients lie in the processor's memory while another device computes; on a
    processor they do anyway."""


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
