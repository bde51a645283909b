"""What clients ask in JSON of sessions, models, futures and checkpoints; questions with numbers are in `training` and `sampling`.

Fields as the clients 0.16 to 0.38 send them. Law: a field that is known and not done here is refused where it would
change what comes of the call, and passed over where it would not.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archipel.door.wire import bounds
from archipel.door.wire.reading import (
    Body,
    Constants,
    Id,
    Metadata,
    SeqId,
    Text,
    TrainingSeqId,
    Ttl,
)
from archipel.records.adapter import HEAD, MICRO, AdapterForm, Target, in_order
from archipel.training.tenants.operations import OptimStep

ALPHA = 32
"""Of every adapter, as in the other servers of this protocol; clients do not send it."""
DEFAULT_RANK = 32
ATTENTION: tuple[Target, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP: tuple[Target, ...] = ("gate_proj", "up_proj", "down_proj")
UNEMBEDDING: tuple[Target, ...] = (HEAD,)
"""The layer above the decoder's layers."""


class ClientConfig(Body):
    """What the client may do differently here."""

    sdk_version: Text = ""


class CreateSession(Body):
    """A session: what ends when its client is gone."""

    tags: Annotated[tuple[Text, ...], Field(max_length=bounds.MAX_TAGS, fail_fast=True)] = ()
    user_metadata: Metadata | None = None
    sdk_version: Text = ""
    project_id: Id | None = None
    display_name: Text | None = None


class SessionHeartbeat(Body):
    session_id: Id


class FinishReason(Body):
    type: Literal["success", "errored", "interrupted"]


class FinishSession(Body):
    """The client is done; the id is in the path."""

    reason: FinishReason
    detail: Text | None = None


class LoraConfig(Constants):
    """The form of an adapter."""

    rank: Annotated[int, Field(ge=1, le=bounds.MAX_RANK)] = DEFAULT_RANK
    seed: Annotated[int, Field(ge=0, le=bounds.MAX_SEED)] | None = None
    train_unembed: bool = True
    train_mlp: bool = True
    train_attn: bool = True

    @model_validator(mode="after")
    def _trains_something(self) -> Self:
        if not (self.train_unembed or self.train_mlp or self.train_attn):
            raise ValueError("nothing is to be trained; set train_attn, train_mlp or train_unembed")
        return self

    @property
    def form(self) -> AdapterForm:
        """As our records have it."""
        wanted = (
            (ATTENTION if self.train_attn else ())
            + (MLP if self.train_mlp else ())
            + (UNEMBEDDING if self.train_unembed else ())
        )
        return AdapterForm(
            rank=self.rank,
            alpha_micro=ALPHA * MICRO,
            targets=in_order(wanted),
            rank_stabilised=False,
        )


class OptimizerConfig(Constants):
    """Which optimiser a model has for its life."""

    type: Literal["adamw"] = "adamw"


class CreateModel(Body):
    """An adapter of the tenant's own over a base; asked again with the same numbers, it is the same model."""

    session_id: Id
    model_seq_id: SeqId
    base_model: Text
    user_metadata: Metadata | None = None
    lora_config: LoraConfig
    """Without it clients mean full fine-tuning, which is not done here."""
    optimizer_config: OptimizerConfig = OptimizerConfig()


class ModelNamed(Body):
    """get_info and unload_model."""

    model_id: Id


class AdamParams(Constants):
    """Of one step; names and defaults are the protocol's."""

    learning_rate: Annotated[float, Field(ge=0)] = 1e-4
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    eps: Annotated[float, Field(ge=0)] = 1e-12
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    grad_clip_norm: float = 0.0
    """Of the whole gradient; zero and less: none."""


class OptimStepBody(Body):
    """One step with the gradient gathered since the last."""

    model_id: Id
    seq_id: TrainingSeqId
    adam_params: AdamParams
    optimizer_params: None = None
    """Of other optimisers; none is offered."""

    @property
    def operation(self) -> OptimStep:
        """As the tenants' room has it."""
        params = self.adam_params
        return OptimStep(
            learning_rate=params.learning_rate,
            beta1=params.beta1,
            beta2=params.beta2,
            epsilon=params.eps,
            weight_decay=params.weight_decay,
            clip_norm=max(0.0, params.grad_clip_norm),
        )


class SaveWeights(Body):
    """Keep weights and moments under a name: `tinker://MODEL/weights/NAME`."""

    model_id: Id
    path: Text | None = None
    """The name; see `paths.checkpoint_name`. None: the door makes one."""
    seq_id: TrainingSeqId
    ttl_seconds: Ttl | None = None
    overwrite: bool = False
    user_metadata: Metadata | None = None


class SaveWeightsForSampler(Body):
    """Publish the adapter for sampling, under a name or for one sampling session."""

    model_id: Id
    path: Text | None = None
    sampling_session_seq_id: SeqId | None = None
    kind: Literal["snapshot"] = "snapshot"
    """`inflight`, weights that change under a sampler, is not offered."""
    seq_id: TrainingSeqId
    ttl_seconds: Ttl | None = None
    user_metadata: Metadata | None = None

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if (self.path is None) == (self.sampling_session_seq_id is None):
            raise ValueError("give path or sampling_session_seq_id, and not both")
        return self


class SaveWeightsExternal(Body):
    """Make the adapter's files ready to be taken away: `tinker://MODEL/external_weights/NAME`."""

    model_id: Id
    path: Text
    seq_id: TrainingSeqId
    ttl_seconds: Ttl | None = None
    age_encryption_recipients: (
        Annotated[tuple[Text, ...], Field(max_length=0, fail_fast=True)] | None
    ) = None
    """Encrypted files are not offered."""


class LoadWeights(Body):
    """Into a model that is there, or into a new one of a session."""

    path: Text
    optimizer: bool
    """Its moments, too."""
    model_id: Id | None = None
    seq_id: TrainingSeqId | None = None
    session_id: Id | None = None
    model_seq_id: SeqId | None = None
    base_model: Text | None = None
    user_metadata: Metadata | None = None
    optimizer_config: OptimizerConfig | None = None
    weights_access_token: None = None
    """Another account's word; here an owner publishes what others may read."""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        into = (self.model_id is not None, self.seq_id is not None)
        new = (self.session_id is not None, self.model_seq_id is not None)
        if {into, new} != {(True, True), (False, False)}:
            raise ValueError(
                "give model_id and seq_id, or session_id and model_seq_id, and not both pairs"
            )
        return self


class WeightsInfo(Body):
    tinker_path: Text


class SetTtl(Body):
    """None: never."""

    ttl_seconds: Ttl | None = None


class CreateSamplingSession(Body):
    """Which weights a sampler has."""

    session_id: Id
    sampling_session_seq_id: SeqId
    base_model: Text | None = None
    model_path: Text | None = None

    @model_validator(mode="after")
    def _names_weights(self) -> Self:
        if self.base_model is None and self.model_path is None:
            raise ValueError("give base_model, or model_path of a saved sampler checkpoint")
        return self


class JoinSamplingSession(Body):
    sampling_session_id: Id


class RetrieveFuture(Body):
    """The answer, or word that it is not there yet."""

    request_id: Id
    allow_metadata_only: bool = False
    """Where the answer is large, its size alone will do for now."""


class FuturesTarget(Body):
    type: Literal["sampling_session"] = "sampling_session"
    sampling_session_id: Id
    cloned_sampler_id: Annotated[int, Field(ge=0, le=2**32)] = 0


class RetrieveFutures(Body):
    """Which of a sampler's requests are done since a cursor."""

    target: FuturesTarget
    prev_cursor: Annotated[int, Field(ge=0, le=2**62)] = 0
    timeout: Annotated[float, Field(ge=0, le=bounds.MAX_WAIT_S)] | None = None
    retrieved_request_ids: Annotated[
        tuple[Id, ...], Field(max_length=bounds.MAX_RETRIEVED, fail_fast=True)
    ] = ()


class CancelFuture(Body):
    request_id: Id


class SearchSessions(Body):
    """Of the tenant's own sessions, by an exact id or by words of their names."""

    session_id: Id | None = None
    display_name: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    user_metadata: Annotated[dict[Id, Text], Field(max_length=bounds.MAX_METADATA_KEYS)] = Field(
        default_factory=dict
    )
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    project_ids: None = None
    statuses: None = None
    cursor: None = None
