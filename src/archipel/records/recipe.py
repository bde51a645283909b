"""The recipe of reinforcement learning: a TOML file that defines a run, closed and total.

Every section is frozen and refuses unknown keys, so a typo is an error and not a silent default.
The lab, the update role and the planner read the same recipe; nodes never need it.
Laws: no I/O here (`parse` takes text); a recipe's digest is over its canonical JSON, so that the
file's comments and layout do not matter.
"""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from archipel.records.canonical import MAX_SAFE_INTEGER, NotCanonical, canonical_json
from archipel.records.fields import MAX_GROUPS_PER_WORK
from archipel.records.recipe_form import (
    RecipeForm,
    RunHeader,
    Section,
    read_canonical,
    read_toml,
    without_floats,
)

MICRO = 1_000_000

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


class RunSection(RunHeader):
    """How the run is paced."""

    programme: Literal["rl"] = "rl"
    versions: Annotated[int, Field(ge=1, le=1_000_000)]
    """Number of updates; the last policy version has this number."""
    groups_per_update: Annotated[int, Field(ge=1, le=65_536)] = 32
    """B: groups that one update consumes."""
    group_size: Annotated[int, Field(ge=2, le=1024)] = 8
    """G: rollouts of one prompt."""
    max_staleness: Annotated[int, Field(ge=0, le=64)] = 1
    """S: an update never sees a rollout more than S versions old."""
    seed: Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)] = 0
    """Everything random in the run follows from it."""
    anchor_every: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Every K-th version is also published whole, so a late joiner replays at most K deltas."""
    checkpoint_every: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Every K-th version also brings the learner's checkpoint; older rollouts may then go."""
    keep_versions: Annotated[int, Field(ge=1, le=100_000)] = 256
    """So many of the newest versions stay fetchable, with the anchor that leads to them."""


class ModelSection(Section):
    """Architecture of a model that starts from random weights (ignored when weights are given)."""

    family: Literal["llama", "qwen2", "qwen3", "olmo2"] = "llama"
    hidden_size: Annotated[int, Field(ge=8, le=65_536)] = 128
    num_layers: Annotated[int, Field(ge=1, le=512)] = 2
    num_heads: Annotated[int, Field(ge=1, le=1024)] = 4
    num_kv_heads: Annotated[int, Field(ge=1, le=1024)] = 4
    head_dim: Annotated[int, Field(ge=2, le=1024)] | None = None
    """hidden_size / num_heads unless given."""
    intermediate_size: Annotated[int, Field(ge=8, le=1_048_576)] = 352
    max_position_embeddings: Annotated[int, Field(ge=8, le=4_194_304)] = 256
    tie_embeddings: bool = True
    rope_theta: Positive = 10_000.0
    tokenizer: Literal["characters", "bytes"] = "characters"
    """`characters` is a 64-symbol alphabet for small verifiable tasks; `bytes` covers any text."""


class PromptSection(Section):
    """How a task's text becomes a prompt; the supervised stage, training and evaluation all follow it."""

    chat_template: Literal["auto", "always", "never"] = "auto"
    """auto: the model's own template where it has one, as in `archipel chat`; always: refuse models without; never: the bare text."""
    system: Annotated[str, Field(max_length=16_384)] | None = None
    """Message of the system before each task; needs a chat template."""
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    """The day (YYYY-MM-DD) that a template which asks for the date is told; without it, it is told none."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.chat_template == "never" and (self.system or self.date):
            raise ValueError(
                'system and date need a chat template, but chat_template is "never"; '
                "remove one of them"
            )
        if self.date is not None:
            try:
                date.fromisoformat(self.date)
            except ValueError as error:
                raise ValueError(f"date is {self.date}: {error}") from None
        return self


class EnvironmentSection(Section):
    """Where tasks and rewards come from."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    """`secret_order`, `reasoning_gym`, `jsonl`, `verifiers`."""
    parameters: dict[str, str | int | float | bool] = Field(default={})
    """The environment's own settings; it refuses those it does not know. A file that one names is read
    by the trusted role if the parameter is called `path` or `..._path`."""
    secret: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] | None = None
    """Name of a secret that only the trusted role holds; never its value."""
    time_limit_s: Positive = 5.0
    """One grading call may take this long; then the reward is 0 and the timeout is counted."""


class SamplingSection(Section):
    """How rollouts are sampled."""

    max_new_tokens: Annotated[int, Field(ge=1, le=1_048_576)] = 64
    temperature: Annotated[float, Field(ge=1 / MICRO, le=10.0)] = 1.0
    """A whole number of millionths, to which it is rounded: so it reaches nodes, who must sample from
    exactly the distribution that the trainer scores with."""

    @field_validator("temperature")
    @classmethod
    def _as_it_travels(cls, value: float) -> float:
        return round(value * MICRO) / MICRO


class AlgorithmSection(Section):
    """Rewards of a group into advantages."""

    name: Literal["grpo", "rloo"] = "grpo"
    scale_by_std: bool = False
    """GRPO only: divide by the group's standard deviation (else mean-centred only)."""


class LossSection(Section):
    """Advantages into a gradient."""

    name: Literal["trust_region", "ppo_clip", "tis", "cispo"] = "trust_region"
    clip_low: Positive = 0.2
    """ppo_clip: ratio below 1 - clip_low is clipped."""
    clip_high: Positive = 0.28
    """ppo_clip: ratio above 1 + clip_high is clipped."""
    ratio_cap: Positive = 2.0
    """tis: importance ratios are truncated here."""
    cispo_low: Annotated[float, Field(ge=0.0)] = 0.0
    cispo_high: Positive = 4.0
    """cispo: the detached ratio is clamped into [cispo_low, cispo_high]."""
    trust_delta: Positive = 0.2
    """trust_region: a token is masked once its probability has moved this far in its advantage's direction."""
    kl_coefficient: Annotated[float, Field(ge=0.0)] = 1e-3
    """trust_region: weight of the squared log ratio."""


class OptimiserSection(Section):
    """AdamW over fp32 masters."""

    learning_rate: Positive = 1e-6
    beta1: Probability = 0.9
    beta2: Probability = 0.99
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 5
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After warm-up: constant, or decay over the run's updates to `final_fraction`."""
    final_fraction: Probability = 0.0
    clip_norm: Positive = 1.0
    """Gradients are scaled down to this global norm."""
    minibatches: Annotated[int, Field(ge=1, le=256)] = 1
    """Optimiser steps per update; each sees a disjoint part of the batch."""
    micro_batch_tokens: Annotated[int, Field(ge=64)] = 16_384
    """Gradient accumulation: at most this many padded tokens go through the network at once."""


class EvaluationSection(Section):
    """Held-out tasks during training, pinned to a policy version."""

    every: Annotated[int, Field(ge=1)] = 20
    """Evaluate version 0, every K-th version and the last."""
    num_tasks: Annotated[int, Field(ge=1, le=65_536)] = 256
    samples_per_task: Annotated[int, Field(ge=1, le=1024)] = 1
    """Sampled completions per task for pass@k (1: greedy pass@1 only)."""


class SupervisedSection(Section):
    """The supervised stage that precedes reinforcement learning."""

    steps: Annotated[int, Field(ge=1)] = 600
    """Upper bound on steps before the final decay."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Positive = 3e-3
    beta1: Probability = 0.9
    beta2: Probability = 0.98
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    decay_steps: Annotated[int, Field(ge=0)] = 80
    """Linear decay to 5 percent of the learning rate at the end."""
    gate: Annotated[float, Field(gt=1.0)] | None = None
    """End early once the smoothed loss falls below gate x the entropy floor that the environment states."""
    clip_norm: Positive = 1.0


class LeaseSection(Section):
    """What is asked of a node at a time, and for how long."""

    min_deadline_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 30.0
    slack: Annotated[float, Field(ge=1.0, le=100.0)] = 4.0
    """Deadline = max(min_deadline_s, slack x the node's expected time)."""
    update_deadline_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 600.0
    """How long an update or an evaluation may take before another trusted process may try."""
    max_groups: Annotated[int, Field(ge=1, le=MAX_GROUPS_PER_WORK)] = 64
    price_micro: Annotated[int, Field(ge=0, le=10**12)] = 1000
    """Micro-credits for one accepted group."""


class Recipe(RecipeForm):
    """A whole run of reinforcement learning."""

    run: RunSection
    environment: EnvironmentSection
    model: ModelSection = ModelSection()
    prompt: PromptSection = PromptSection()
    sampling: SamplingSection = SamplingSection()
    algorithm: AlgorithmSection = AlgorithmSection()
    loss: LossSection = LossSection()
    optimiser: OptimiserSection = OptimiserSection()
    evaluation: EvaluationSection = EvaluationSection()
    supervised: SupervisedSection | None = None
    lease: LeaseSection = LeaseSection()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.optimiser.minibatches > self.run.groups_per_update:
            raise ValueError(
                f"optimiser.minibatches is {self.optimiser.minibatches}, more than "
                f"run.groups_per_update = {self.run.groups_per_update}; lower it"
            )
        heads, kv_heads = self.model.num_heads, self.model.num_kv_heads
        if heads % kv_heads:
            raise ValueError(
                f"model.num_heads = {heads} is not a multiple of num_kv_heads = {kv_heads}"
            )
        try:
            self.canonical_bytes()
        except NotCanonical as error:
            raise ValueError(f"a value has no place in a record: {error}") from None
        return self

    def canonical_bytes(self) -> bytes:
        """The recipe with every default filled in (but for a `prompt` that says nothing), as canonical JSON."""
        sections = self.model_dump(mode="json")
        parameters = {
            key: {"float": repr(value)} if isinstance(value, float) else value
            for key, value in sections["environment"]["parameters"].items()
        }
        sections["environment"]["parameters"] = parameters
        if self.prompt == PromptSection():
            # Recipes older than this section keep their digests.
            del sections["prompt"]
        return canonical_json(without_floats(sections))

    @property
    def secret_name(self) -> str | None:
        """`environment.secret`."""
        return self.environment.secret

    @property
    def data_paths(self) -> tuple[str, ...]:
        """Parameters of the environment that are called `path` or `..._path`."""
        parameters = self.environment.parameters.items()
        return tuple(
            value
            for key, value in parameters
            if names_file(key) and isinstance(value, str) and value
        )


def names_file(key: str) -> bool:
    """Whether this parameter of an environment says where a file is."""
    return key == "path" or key.endswith("_path")


def parse_recipe(text: str) -> Recipe:
    """Read a recipe of reinforcement learning from TOML text.

    Raises:
        InvalidRecipe: not TOML, an unknown key, a value out of bounds, or parts that do not fit.
    """
    return read_toml(text, Recipe)


def recipe_from_canonical(data: bytes) -> Recipe:
    """Read back what `Recipe.canonical_bytes` wrote.

    Raises:
        InvalidRecipe: too large, not JSON, or not a recipe.
    """
    return read_canonical(data, Recipe)
