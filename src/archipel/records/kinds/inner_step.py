"""Inner step: a stranger trains some steps from one version on assigned text, and answers how its weights moved."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import (
    BlobRef,
    Count,
    Digest,
    LeftOut,
    Metrics,
    Millis,
    Sparing,
    VersionNumber,
)
from archipel.records.pretraining import MAX_COMMITMENTS, MAX_INNER_STEPS, MAX_MEMBERS
from archipel.records.words import Needs, Told, Words, WorkAnswer, WorkSpec, publishes_nothing

Steps = Annotated[int, Field(ge=1, le=MAX_INNER_STEPS)]
MAX_MACHINE = 128
"""Characters of the class of a machine."""
Machine = Annotated[str, Field(min_length=1, max_length=MAX_MACHINE)]
MemberIndex = Annotated[int, Field(ge=0, lt=MAX_MEMBERS)]


class InnerStepSpec(WorkSpec, Sparing):
    """Make contribution `index` to one version: train `steps` inner steps from it on the block that is assigned to both."""

    kind: Literal["inner_step"] = "inner_step"
    version: VersionNumber
    policy: Digest
    """State digest of that version."""
    index: MemberIndex
    steps: Steps
    """At most: a slow member is asked for fewer than the pace says."""
    first_step: Count
    """The first one's place in the schedule over the whole run."""
    corpus: BlobRef
    """Manifest of the text."""


class InnerStepAnswer(WorkAnswer, Sparing):
    """How weights moved, as a payload; in the ledger only if every cheap check passed."""

    kind: Literal["inner_step"] = "inner_step"
    policy: Digest
    """State digest of the weights that were really begun with."""
    steps: Steps
    """That were made."""
    num_tokens: Count
    """That were learned from: steps times the tokens of a batch."""
    payload: BlobRef
    commitments: Annotated[tuple[Digest, ...], Field(min_length=1, max_length=MAX_COMMITMENTS)]
    """Digests of the member's whole state after every so many steps, and after the last."""
    metrics: Metrics
    busy_ms: Millis
    """Time the node says it computed."""
    machine: Annotated[Machine | None, LeftOut] = None
    """Class of its machine, as it says: on another one of that class the same steps give the same bits. None: it does not
    say."""


def _needs(spec: InnerStepSpec) -> Needs:
    return Needs(weights=spec.version, blobs=(spec.corpus,))


def _answer(spec: InnerStepSpec, told: Told) -> InnerStepAnswer:
    """From file `payload`; values `policy`, `steps`, `num_tokens`, `commitments` (a list), `metrics`, perhaps
    `machine`.
    """
    return InnerStepAnswer(
        policy=told.values["policy"],
        steps=told.values["steps"],
        num_tokens=told.values["num_tokens"],
        payload=told.blobs["payload"],
        commitments=tuple(told.values["commitments"]),
        metrics=told.values["metrics"],
        busy_ms=told.busy_ms,
        machine=told.values.get("machine"),
    )


WORDS = Words(
    spec=InnerStepSpec,
    answer=InnerStepAnswer,
    trusted=False,
    appeals=False,
    needs=_needs,
    answer_of=_answer,
    blobs=lambda answer: (answer.payload,),
    publishes=publishes_nothing,
)
