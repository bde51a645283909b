"""What a recipe of pretraining says of inner steps, of what is sent, and of outer steps. Part of `recipe_pretrain`.

Floats that members or merges follow are rounded here to what a record says of them, so that everybody who reads the run
computes with the same numbers.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from archipel.records.pretraining import (
    MAX_COMMITMENTS,
    MAX_INNER_STEPS,
    MAX_KEPT,
    MAX_MEMBERS,
    MICRO,
    NANO,
    AggregateName,
    CodecName,
    Late,
    OptimiserName,
)
from archipel.records.recipe_form import Section

MAX_RATIO = 8
"""Steps of one contribution over those of another: a merge refuses what is ten times as long as the usual one."""


def _in_millionths(value: float) -> float:
    return round(value * MICRO) / MICRO


def _in_billionths(value: float) -> float:
    return round(value * NANO) / NANO


Rate = Annotated[float, Field(ge=1 / NANO, le=1.0), AfterValidator(_in_billionths)]
Share = Annotated[float, Field(ge=0.0, le=1.0), AfterValidator(_in_millionths)]
Decay = Annotated[float, Field(ge=0.0, le=0.999999), AfterValidator(_in_millionths)]
"""Of what is remembered from step to step; with 1 nothing new would count, and no optimiser takes it."""
Factor = Annotated[float, Field(ge=0.0, le=1000.0), AfterValidator(_in_millionths)]
Positive = Annotated[float, Field(ge=1 / MICRO, le=1000.0), AfterValidator(_in_millionths)]


class InnerSection(Section):
    """What a member does alone between two outer steps."""

    optimiser: OptimiserName = "adamw"
    """`muon`: for the matrices inside the layers; embeddings, output layer and norms follow AdamW beside it."""
    learning_rate: Rate = 1e-3
    """Peak rate, reached after warm-up; with muon that of the matrices inside the layers."""
    rest_factor: Factor = 1.0
    """With muon: rate of all that AdamW moves, as a multiple of `learning_rate`."""
    steps: Annotated[int, Field(ge=1, le=MAX_INNER_STEPS)] = 30
    """H: inner steps of one contribution."""
    min_steps: Annotated[int, Field(ge=0, le=MAX_INNER_STEPS)] = 0
    """A member that is slower than the others is asked for fewer, but not fewer than this, which is at least an eighth of
    `steps`; 0: for `steps`, all alike."""
    warmup_steps: Annotated[int, Field(ge=0, le=MAX_INNER_STEPS)] = 0
    """Inner steps of the run in which the rate rises from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """After warm-up: constant, or decay over all inner steps of the run to `final_fraction`."""
    final_fraction: Share = 0.1
    """Of the peak rate, at the end of the schedule."""
    beta1: Decay = 0.9
    """AdamW: decay of the mean of gradients."""
    beta2: Decay = 0.95
    """AdamW: decay of the mean of squared gradients."""
    momentum: Decay = 0.9
    """Muon: decay of the sum of gradients."""
    weight_decay: Factor = 0.1
    """Decoupled from the gradient, of matrices."""
    clip_norm: Positive = 1.0
    """Gradients are scaled down to this global norm."""
    micro_batch_tokens: Annotated[int, Field(ge=64, le=2**30)] = 16_384
    """At most this many tokens go through the network at once."""
    state: Literal["kept", "fresh"] = "kept"
    """`kept`: optimiser and what was not sent stay with the member from one contribution to its next; `fresh`: each
    begins anew, so that anybody can make a whole contribution again from public bytes."""
    commit_every: Annotated[int, Field(ge=1, le=MAX_INNER_STEPS)] = 10
    """K: a contribution commits to the member's state after every K steps."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.min_steps > self.steps:
            raise ValueError(
                f"min_steps = {self.min_steps} is above steps = {self.steps}; lower it"
            )
        if self.min_steps and self.min_steps * MAX_RATIO < self.steps:
            raise ValueError(
                f"min_steps = {self.min_steps} is less than 1/{MAX_RATIO} of steps = {self.steps}, and contributions that "
                "unequal cannot be told from wrong ones by their length; raise it"
            )
        if -(-self.steps // self.commit_every) > MAX_COMMITMENTS:
            raise ValueError(
                f"commit_every = {self.commit_every} commits to {-(-self.steps // self.commit_every)} states in "
                f"{self.steps} steps; at most {MAX_COMMITMENTS}: raise it"
            )
        return self


class ExchangeSection(Section):
    """How a contribution becomes bytes (docs/reference/pseudo-gradients.md)."""

    codec: CodecName = "int8"
    """`float32`, `int8`, `e3m0` (4 bits), `top_k` (2 bits and a place for the largest of each 4096)."""
    kept: Annotated[int, Field(ge=1, le=MAX_KEPT)] = 64
    """With `top_k`: values of each 4096 that are sent."""
    error_feedback: Share | None = None
    """Share of what was not sent that is carried on to the member's next contribution; 0: nothing. Unless given: 0.95
    with `top_k`, 0 with the others."""

    @property
    def feedback(self) -> float:
        """`error_feedback`, or what suits the codec."""
        if self.error_feedback is None:
            return 0.95 if self.codec == "top_k" else 0.0
        return self.error_feedback


class OuterSection(Section):
    """How the aggregate of the contributions moves the weights."""

    optimiser: Literal["nesterov", "sgd"] = "nesterov"
    """`sgd` has no memory; it suits `top_k`, whose members remember what was not sent."""
    learning_rate: Positive = 0.7
    """Multiple of the aggregate that the weights move by."""
    momentum: Annotated[float, Field(ge=0.0, le=0.999), AfterValidator(_in_millionths)] = 0.9
    """With `nesterov`: decay of the sum of aggregates."""


class MergeSection(Section):
    """When contributions are merged, which, and how (docs/explanation/merges.md)."""

    aggregate: AggregateName = "mean"
    """`mean`: by their tokens, each value over those who sent it; the others take no harm from `faulty` contributions."""
    faulty: Annotated[int, Field(ge=0, lt=MAX_MEMBERS)] = 0
    """f: contributions of one outer step that may be anything. A merge has to have 3 f + 3 with `multi_krum`, f + 1 with
    `mean`, which does not look at it, and 3 f + 1 with the others."""
    clip: bool = True
    """Each tensor is cut to the median norm that it has in all contributions."""
    loss_gate: bool = False
    """Contributions that do not make held-out text likelier are refused, and not paid."""
    gate_path: Annotated[str, Field(max_length=4096)] = ""
    """With `loss_gate`: the folder of held-out text, on the trusted machine; revealed piece by piece after each merge."""
    gate_secret: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] | None = None
    """With `loss_gate`: name of a secret of the trusted role, by which it chooses the pieces; never its value."""
    gate_sequences: Annotated[int, Field(ge=1, le=65_536)] = 16
    """With `loss_gate`: windows of one merge."""
    gate_share: Share = 0.25
    """With `loss_gate`: refused is who has less than this share of the median score."""
    gate_step: Annotated[float, Field(ge=1 / MICRO, le=1.0), AfterValidator(_in_millionths)] = 1.0
    """With `loss_gate`: how far a contribution is followed to score it, as a multiple of itself."""
    quorum: Annotated[int, Field(ge=0, le=MAX_MEMBERS)] = 0
    """So many contributions are merged once the deadline has passed; 0: all of `run.members` are waited for."""
    deadline_mads: Annotated[float, Field(ge=0.0, le=1000.0)] = 5.0
    """k: a contribution is waited for as long as its steps take at the median time of a step and k median absolute
    deviations more."""
    late: Late = "drop"
    """Of a contribution that comes after its merge has begun: `drop`, its lease ends then, unpaid; `use`, the next merge
    takes it in, for less the older it is."""

    @model_validator(mode="after")
    def _gate_is_whole(self) -> Self:
        given = (bool(self.gate_path), self.gate_secret is not None)
        if given != (self.loss_gate, self.loss_gate):
            raise ValueError(
                f"loss_gate = {str(self.loss_gate).lower()} with gate_path {self.gate_path!r:.80} and gate_secret "
                f"{self.gate_secret!r}; expected both with loss_gate = true, and neither otherwise"
            )
        return self
