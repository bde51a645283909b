"""Evaluate: the trusted role answers the held-out tasks with one policy version."""

from typing import Annotated, Literal

from archipel.records.exact import Contract
from archipel.records.fields import BlobRef, Digest, LeftOut, Metrics, Sparing, VersionNumber
from archipel.records.words import Needs, Told, Words, WorkAnswer, WorkSpec, publishes_nothing


class EvaluateSpec(WorkSpec):
    """Answer the held-out tasks with one policy version."""

    kind: Literal["evaluate"] = "evaluate"
    version: VersionNumber
    policy: Digest


class EvaluateAnswer(WorkAnswer, Sparing):
    """How well it did."""

    kind: Literal["evaluate"] = "evaluate"
    version: VersionNumber
    policy: Digest
    report: BlobRef
    metrics: Metrics
    exact: Annotated[Contract | None, LeftOut] = None
    """The exact contract that the answers were sampled by; None: by an engine of the machine's choice."""


def _needs(spec: EvaluateSpec) -> Needs:
    return Needs(weights=spec.version, recipe=True)


def _answer(spec: EvaluateSpec, told: Told) -> EvaluateAnswer:
    """From file `report`, values `policy` and `metrics`, perhaps `exact`."""
    return EvaluateAnswer(
        version=spec.version,
        policy=told.values["policy"],
        report=told.blobs["report"],
        metrics=told.values["metrics"],
        exact=told.values.get("exact"),
    )


WORDS = Words(
    spec=EvaluateSpec,
    answer=EvaluateAnswer,
    trusted=True,
    appeals=False,
    needs=_needs,
    answer_of=_answer,
    blobs=lambda answer: (answer.report,),
    publishes=publishes_nothing,
)
