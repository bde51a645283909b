"""Found (trusted role): the model that a run was opened with becomes its version 0."""

from typing import Literal

from archipel.records.chain import Publication
from archipel.records.fields import BlobRef, Digest
from archipel.records.words import Needs, Told, Words, WorkAnswer, WorkSpec


class FoundSpec(WorkSpec):
    """Publish the model of this run."""

    kind: Literal["found"] = "found"


class FoundAnswer(WorkAnswer):
    """Its weights, whole."""

    kind: Literal["found"] = "found"
    policy: Digest
    manifest: BlobRef
    anchor: BlobRef


def _answer(spec: FoundSpec, told: Told) -> FoundAnswer:
    return FoundAnswer(
        policy=told.values["policy"],
        manifest=told.blobs["manifest"],
        anchor=told.blobs["anchor"],
    )


WORDS = Words(
    spec=FoundSpec,
    answer=FoundAnswer,
    trusted=True,
    appeals=False,
    needs=lambda spec: Needs(),
    answer_of=_answer,
    blobs=lambda answer: (answer.manifest, answer.anchor),
    publishes=lambda answer: Publication(0, answer.policy, answer.manifest, answer.anchor, None),
)
