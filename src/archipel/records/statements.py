"""Every statement that may enter a lab's ledger, and the two that only ask (`LeaseRequested`, `BlobOffered`).

A statement names the lab it is meant for, its author and the author's sequence number, so it cannot
be replayed here or at another lab. Its bytes are canonical JSON; `decode` accepts nothing else.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical
from archipel.records.fields import (
    MAX_GROUPS_PER_UPDATE,
    MAX_GROUPS_PER_WORK,
    MAX_LEASES_PER_NODE,
    MAX_MODEL_FILES,
    MAX_PROMPT_BATCHES,
    MAX_RECORD_BYTES,
    MAX_SEQ,
    MAX_STOP_TOKENS,
    MAX_TRUSTED_KEYS,
    BlobRef,
    Closed,
    Count,
    Did,
    Digest,
    FileName,
    GroupIndex,
    Metrics,
    Millis,
    Reason,
    RunName,
    TokenId,
    VersionNumber,
    WorkId,
)

RECORD_TYPE = "application/vnd.archipel.record.v1+json"
"""DSSE payload type of every statement."""

WorkKind = Literal["rollout", "update", "evaluate"]
Seq = Annotated[int, Field(ge=1, le=MAX_SEQ)]


class InvalidRecord(ValueError):
    """Bytes that are no statement; the message names the field and its fault."""


class Statement(Closed):
    """What every statement carries."""

    lab: Did
    """The lab it is addressed to."""
    author: Did
    """Whose key signs it."""
    seq: Seq
    """Greater than any the author used at this lab before."""


class LabOpened(Statement):
    """The first entry of every ledger: whose lab it is and who may open runs."""

    kind: Literal["lab.opened"] = "lab.opened"
    operators: Annotated[tuple[Did, ...], Field(min_length=1, max_length=MAX_TRUSTED_KEYS)]


# --- run ----------------------------------------------------------------------------------------


class Pace(Closed):
    """What the lab must know of a recipe to pace a run; the recipe blob holds the rest."""

    versions: Annotated[int, Field(ge=1, le=1_000_000)]
    groups_per_update: Annotated[int, Field(ge=1, le=MAX_GROUPS_PER_UPDATE)]
    group_size: Annotated[int, Field(ge=1, le=1024)]
    max_staleness: Annotated[int, Field(ge=0, le=64)]
    evaluate_every: Annotated[int, Field(ge=1)]
    seed: Count
    vocab_size: Annotated[int, Field(ge=1, le=2**24)]
    max_new_tokens: Annotated[int, Field(ge=1, le=2**20)]
    temperature_micro: Annotated[int, Field(ge=1, le=10_000_000)]
    stop_tokens: Annotated[tuple[TokenId, ...], Field(max_length=MAX_STOP_TOKENS)]
    max_groups_per_lease: Annotated[int, Field(ge=1, le=MAX_GROUPS_PER_WORK)]
    min_deadline_ms: Annotated[int, Field(ge=100)]
    update_deadline_ms: Annotated[int, Field(ge=100)]
    slack_milli: Annotated[int, Field(ge=1000)]
    price_micro: Count
    """Micro-credits for one accepted group."""


class ModelFile(Closed):
    """One file of the initial model directory."""

    name: FileName
    blob: BlobRef


class RunOpened(Statement):
    """An operator opens a run: recipe, pace, initial weights, and who may update."""

    kind: Literal["run.opened"] = "run.opened"
    run: RunName
    recipe: BlobRef
    pace: Pace
    model: Annotated[tuple[ModelFile, ...], Field(min_length=1, max_length=MAX_MODEL_FILES)]
    trusted: Annotated[tuple[Did, ...], Field(min_length=1, max_length=MAX_TRUSTED_KEYS)]
    """Keys that may do `update` and `evaluate` work in this run."""


class RunStopped(Statement):
    """An operator ends a run early; what was accepted stays accepted."""

    kind: Literal["run.stopped"] = "run.stopped"
    run: RunName
    reason: Reason


# --- nodes and leases ---------------------------------------------------------------------------


class Capabilities(Closed):
    """What a node says of itself; believed only as a first guess."""

    kinds: Annotated[tuple[WorkKind, ...], Field(min_length=1, max_length=8)]
    engine: Annotated[str, Field(max_length=64)]
    device: Annotated[str, Field(max_length=64)]
    software: Annotated[str, Field(max_length=64)]
    speed_milli: Count
    """Sampled tokens per second times 1000, by the node's own benchmark at joining."""
    batch_invariant: bool
    """The engine's self-test found rollouts bitwise independent of their batch."""
    protections: Annotated[tuple[Annotated[str, Field(max_length=32)], ...], Field(max_length=16)]
    """What confines the child process that runs work."""


class NodeJoined(Statement):
    """A node presents itself; joining anew gives back whatever it still held."""

    kind: Literal["node.joined"] = "node.joined"
    capabilities: Capabilities


class NodeLeft(Statement):
    """A node goes; whatever it still held returns to the pool, and it counts no more."""

    kind: Literal["node.left"] = "node.left"


class LeaseRequested(Statement):
    """A node asks for work; never in the ledger by itself, the grant quotes its `seq`."""

    kind: Literal["lease.requested"] = "lease.requested"
    kinds: Annotated[tuple[WorkKind, ...], Field(min_length=1, max_length=8)]
    holding: Annotated[tuple[WorkId, ...], Field(max_length=MAX_LEASES_PER_NODE)]
    """Leases it knows of; any other was lost on its way and returns to the pool."""


class RolloutSpec(Closed):
    """Sample `group_size` completions of each group's prompt from one policy version."""

    kind: Literal["rollout"] = "rollout"
    run: RunName
    version: VersionNumber
    policy: Digest
    """State digest of the weights to sample from."""
    groups: Annotated[tuple[GroupIndex, ...], Field(min_length=1, max_length=MAX_GROUPS_PER_WORK)]
    prompts: Annotated[tuple[BlobRef, ...], Field(min_length=1, max_length=MAX_PROMPT_BATCHES)]
    """Prompt batches that hold these groups, in ascending order of batch number."""


class ResultInput(Closed):
    """One accepted rollout result, as the lab describes it to whoever updates."""

    work: WorkId
    result: BlobRef
    version: VersionNumber
    """Policy version it was sampled from."""
    policy: Digest
    groups: Annotated[tuple[GroupIndex, ...], Field(min_length=1, max_length=MAX_GROUPS_PER_WORK)]
    """All groups in the blob, in its order; the update takes those of its own batch."""


class UpdateSpec(Closed):
    """Make policy version `version` from the groups of batch `version - 1`; version 0 is the initial one.

    Which results hold those groups follows from the ledger; a list here would outgrow a record.
    """

    kind: Literal["update"] = "update"
    run: RunName
    version: VersionNumber
    parent: Digest | None
    """State digest of version `version - 1`."""


class EvaluateSpec(Closed):
    """Answer the held-out tasks with one policy version."""

    kind: Literal["evaluate"] = "evaluate"
    run: RunName
    version: VersionNumber
    policy: Digest


Spec = Annotated[RolloutSpec | UpdateSpec | EvaluateSpec, Field(discriminator="kind")]


class LeaseGranted(Statement):
    """The lab gives one node one piece of work until a deadline, at a price."""

    kind: Literal["lease.granted"] = "lease.granted"
    work: WorkId
    node: Did
    request_seq: Seq
    """`seq` of the request it answers: the request cannot be replayed."""
    deadline_ms: Millis
    """Unix time."""
    price_micro: Count
    """Micro-credits paid on acceptance."""
    spec: Spec


class LeaseReturned(Statement):
    """A node gives its lease back unfinished; the work returns to the pool at once."""

    kind: Literal["lease.returned"] = "lease.returned"
    work: WorkId
    reason: Reason


class LeaseExpired(Statement):
    """The lab takes a lease back; the work returns to the pool."""

    kind: Literal["lease.expired"] = "lease.expired"
    work: WorkId
    cause: Literal["deadline", "lost"]
    """The deadline passed in silence, or the grant never reached its node."""


class BlobOffered(Statement):
    """Permission slip for an upload: who sends which bytes for what; never in the ledger."""

    kind: Literal["blob.offered"] = "blob.offered"
    blob: BlobRef
    work: WorkId | None
    """The lease that it serves; None for an operator who opens a run."""


# --- results ------------------------------------------------------------------------------------


class RolloutSubmitted(Statement):
    """A node's answer to rollout work; in the ledger only if every cheap check passed."""

    kind: Literal["rollout.submitted"] = "rollout.submitted"
    work: WorkId
    policy: Digest
    """State digest of the weights that were really used."""
    result: BlobRef
    num_tokens: Count
    busy_ms: Millis
    """Time the node says it computed."""


class PromptBatch(Closed):
    """The prompts of batch `batch`, published by the trusted role."""

    batch: Count
    blob: BlobRef


class VersionPublished(Statement):
    """The trusted role's answer to update work: new weights and the next prompts."""

    kind: Literal["version.published"] = "version.published"
    work: WorkId
    version: VersionNumber
    parent: Digest | None
    policy: Digest
    """State digest of the new weights."""
    manifest: BlobRef
    anchor: BlobRef | None
    delta: BlobRef | None
    prompts: Annotated[tuple[PromptBatch, ...], Field(max_length=MAX_PROMPT_BATCHES)]
    metrics: Metrics


class EvaluationSubmitted(Statement):
    """The trusted role's answer to evaluate work."""

    kind: Literal["evaluation.submitted"] = "evaluation.submitted"
    work: WorkId
    version: VersionNumber
    policy: Digest
    report: BlobRef
    metrics: Metrics


AnyStatement = Annotated[
    LabOpened
    | RunOpened
    | RunStopped
    | NodeJoined
    | NodeLeft
    | LeaseRequested
    | LeaseGranted
    | LeaseReturned
    | LeaseExpired
    | BlobOffered
    | RolloutSubmitted
    | VersionPublished
    | EvaluationSubmitted,
    Field(discriminator="kind"),
]
_ANY: TypeAdapter[AnyStatement] = TypeAdapter(AnyStatement)


def encode(statement: Statement) -> bytes:
    """Canonical bytes, the ones that are signed."""
    return canonical_json(statement.model_dump(mode="json"))


def decode(data: bytes) -> AnyStatement:
    """Parse a statement.

    Raises:
        InvalidRecord: too large, not canonical, an unknown kind or field, a value out of bounds.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise InvalidRecord(f"record of {len(data)} bytes; at most {MAX_RECORD_BYTES} are accepted")
    try:
        parse_canonical(data)
        return _ANY.validate_json(data)
    except NotCanonical as error:
        raise InvalidRecord(str(error)) from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "record"
        raise InvalidRecord(f"{where}: {fault['msg']}") from None
