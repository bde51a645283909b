"""Merge: the trusted role makes the next version from contributions, and says of each what became of it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archipel.records.chain import Publication
from archipel.records.fields import (
    MAX_SEQ,
    BlobRef,
    Count,
    Digest,
    LeftOut,
    Metrics,
    Sparing,
    VersionNumber,
    WorkId,
)
from archipel.records.pretraining import MAX_CONTRIBUTIONS
from archipel.records.words import (
    Memory,
    Needs,
    SavedMemory,
    Told,
    Words,
    WorkAnswer,
    WorkSpec,
)

Refusal = Literal["payload", "norm", "loss", "own_data", "outlier"]
"""Why a contribution is not merged: its bytes are not what the codec makes; it is longer than any honest one; it does not
make held-out text likelier, or its own text alone; the aggregate left it out, which says nothing against it."""
BLAMELESS: frozenset[str] = frozenset({"outlier"})
"""Refusals that are paid all the same."""


class MergeSpec(WorkSpec):
    """Make version `version` from contributions, in the order of their versions and indices; version 0 is the initial one."""

    kind: Literal["merge"] = "merge"
    version: VersionNumber
    parent: Digest | None
    """State digest of version `version - 1`."""
    inputs: Digest | None
    """Of the list of contributions (it would outgrow a record); None for version 0."""
    memory: SavedMemory | None
    """The newest published state of the outer optimiser; who has an older one starts from it."""


class Verdict(Sparing):
    """What became of one contribution."""

    work: WorkId
    weight_micro: Count
    """That it counted with, in millionths; 0: it was refused."""
    reason: Annotated[Refusal | None, LeftOut] = None
    """Why it was refused; None: it was merged."""
    score: Annotated[int | None, Field(ge=-MAX_SEQ, le=MAX_SEQ), LeftOut] = None
    """By how much it made the held-out text likelier, as the gate counts; None: it was not scored."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if (self.reason is None) != (self.weight_micro > 0):
            raise ValueError(
                f"{self.work} counts with {self.weight_micro} millionths and is refused for {self.reason}; what is merged "
                "has a weight and no reason, what is refused a reason and no weight"
            )
        return self

    @property
    def merged(self) -> bool:
        """Whether it is in the new version."""
        return self.reason is None


class MergeAnswer(WorkAnswer, Sparing):
    """New weights, and what became of each contribution; or, void, that none was fit to be merged."""

    kind: Literal["merge"] = "merge"
    version: VersionNumber
    parent: Digest | None
    policy: Digest
    """State digest of the new weights; where it is void, of the parent's, which stay the newest."""
    manifest: BlobRef
    anchor: BlobRef | None
    delta: BlobRef | None
    memory: BlobRef | None
    """The outer optimiser's state at this version, at every K-th version."""
    verdicts: Annotated[tuple[Verdict, ...], Field(max_length=MAX_CONTRIBUTIONS)]
    """One for each contribution, in their order."""
    metrics: Metrics
    gate: Annotated[BlobRef | None, LeftOut] = None
    """The held-out text that scored them, which was committed to before they came; None: none did."""
    next_gate: Annotated[Digest | None, LeftOut] = None
    """Digest of the blob that will score the next ones; None: none will."""
    void: Annotated[Literal[True] | None, LeftOut] = None
    """Every contribution was refused: there is no new version, and its contributions are made anew."""


def _needs(spec: MergeSpec) -> Needs:
    memory = Memory.before(spec.version, spec.memory, spec.parent)
    return Needs(recipe=True, inputs=spec.inputs, memory=memory)


def _answer(spec: MergeSpec, told: Told) -> MergeAnswer:
    """From files `manifest`, `anchor`, `delta`, `memory`, `gate`; values `policy`, `verdicts`, `metrics`, perhaps
    `next_gate`, `void`.
    """
    return MergeAnswer(
        version=spec.version,
        parent=spec.parent,
        policy=told.values["policy"],
        manifest=told.blobs["manifest"],
        anchor=told.blobs.get("anchor"),
        delta=told.blobs.get("delta"),
        memory=told.blobs.get("memory"),
        verdicts=tuple(Verdict(**each) for each in told.values["verdicts"]),
        metrics=told.values["metrics"],
        gate=told.blobs.get("gate"),
        next_gate=told.values.get("next_gate"),
        void=told.values.get("void"),
    )


def _blobs(answer: MergeAnswer) -> tuple[BlobRef, ...]:
    optional = (answer.anchor, answer.delta, answer.memory, answer.gate)
    return (answer.manifest, *(blob for blob in optional if blob is not None))


def _publishes(answer: MergeAnswer) -> Publication | None:
    if answer.void is not None:
        return None
    return Publication(answer.version, answer.policy, answer.manifest, answer.anchor, answer.delta)


WORDS = Words(
    spec=MergeSpec,
    answer=MergeAnswer,
    trusted=True,
    appeals=False,
    needs=_needs,
    answer_of=_answer,
    blobs=_blobs,
    publishes=_publishes,
)
