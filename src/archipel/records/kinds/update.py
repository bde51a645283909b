"""Update: the trusted role makes the next policy version from the accepted groups of one batch."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.chain import Publication
from archipel.records.fields import (
    MAX_GROUPS_PER_UPDATE,
    MAX_PROMPT_BATCHES,
    BlobRef,
    Closed,
    Count,
    Digest,
    LeftOut,
    Metrics,
    Sparing,
    VersionNumber,
)
from archipel.records.weight_parts import InParts
from archipel.records.words import (
    Memory,
    Needs,
    SavedMemory,
    Told,
    Words,
    WorkAnswer,
    WorkSpec,
)

PROMPTS_ROLE = "prompts-"


class UpdateSpec(WorkSpec):
    """Make policy version `version` from the groups of batch `version - 1`; version 0 is the initial one."""

    kind: Literal["update"] = "update"
    version: VersionNumber
    parent: Digest | None
    """State digest of version `version - 1`."""
    inputs: Digest | None
    """Of the list of results that hold the batch (it would outgrow a record); None for version 0."""
    memory: SavedMemory | None
    """The newest published checkpoint; a learner whose own memory is older starts from it."""


class PromptBatch(Closed):
    """The prompts of batch `batch`."""

    batch: Count
    blob: BlobRef


class UpdateAnswer(WorkAnswer, Sparing):
    """New weights and the next prompts; or, with `more`, the prompts of further groups that it needs before."""

    kind: Literal["update"] = "update"
    version: VersionNumber
    parent: Digest | None
    policy: Digest
    """State digest of the new weights; with `more`, of the parent's, which stay the newest."""
    manifest: InParts | BlobRef
    """Of a version in parts its index; anchor and delta then are lists of their blobs (`weight_parts`)."""
    anchor: BlobRef | None
    delta: BlobRef | None
    memory: BlobRef | None
    """The learner's checkpoint at this version, at every K-th version."""
    prompts: Annotated[tuple[PromptBatch, ...], Field(max_length=MAX_PROMPT_BATCHES)]
    metrics: Metrics
    more: Annotated[int | None, Field(ge=1, le=MAX_GROUPS_PER_UPDATE), LeftOut] = None
    """There is no new version yet: too few groups of the batch teach anything, and so many more are asked for."""


def _needs(spec: UpdateSpec) -> Needs:
    memory = Memory.before(spec.version, spec.memory, spec.parent)
    return Needs(recipe=True, inputs=spec.inputs, memory=memory)


def _answer(spec: UpdateSpec, told: Told) -> UpdateAnswer:
    """From files `manifest`, `anchor`, `delta`, `memory`, `prompts-<batch>`; values `policy`, `metrics`,
    perhaps `parts` and `more`.
    """
    batches = sorted(
        (int(role.removeprefix(PROMPTS_ROLE)), blob)
        for role, blob in told.blobs.items()
        if role.startswith(PROMPTS_ROLE)
    )
    return UpdateAnswer(
        version=spec.version,
        parent=spec.parent,
        policy=told.values["policy"],
        manifest=_manifest(told),
        anchor=told.blobs.get("anchor"),
        delta=told.blobs.get("delta"),
        memory=told.blobs.get("memory"),
        prompts=tuple(PromptBatch(batch=batch, blob=blob) for batch, blob in batches),
        metrics=told.values["metrics"],
        more=told.values.get("more"),
    )


def _manifest(told: Told) -> InParts | BlobRef:
    blob, parts = told.blobs["manifest"], told.values.get("parts")
    return blob if parts is None else InParts(digest=blob.digest, size=blob.size, parts=parts)


def _blobs(answer: UpdateAnswer) -> tuple[BlobRef, ...]:
    optional = (answer.anchor, answer.delta, answer.memory)
    manifest = answer.manifest
    named = (
        manifest.plain if isinstance(manifest, InParts) else manifest,
        *(blob for blob in optional if blob is not None),
    )
    return (*named, *(batch.blob for batch in answer.prompts))


def _publishes(answer: UpdateAnswer) -> Publication | None:
    if answer.more is not None:
        return None
    return Publication(answer.version, answer.policy, answer.manifest, answer.anchor, answer.delta)


WORDS = Words(
    spec=UpdateSpec,
    answer=UpdateAnswer,
    trusted=True,
    appeals=False,
    needs=_needs,
    answer_of=_answer,
    blobs=_blobs,
    publishes=_publishes,
)
