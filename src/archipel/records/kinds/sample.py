"""Sample: a node answers a door's questions from the run's model, with a tenant's adapter over it or without."""

from typing import Annotated, Literal

from archipel.records.door import QuestionNumber, QuestionTokens
from archipel.records.fields import BlobRef, Count, Digest, LeftOut, Millis, Sparing
from archipel.records.words import Needs, Told, Words, WorkAnswer, WorkSpec, publishes_nothing


class SampleSpec(WorkSpec, Sparing):
    """Answer these questions."""

    kind: Literal["sample"] = "sample"
    question: QuestionNumber
    policy: Digest
    """Of the model's files and the adapter (`records.door.policy_of`)."""
    adapter: Annotated[BlobRef | None, LeftOut] = None
    questions: BlobRef
    num_tokens: QuestionTokens
    """At the most, prompts and completions together."""


class SampleAnswer(WorkAnswer):
    """What was sampled."""

    kind: Literal["sample"] = "sample"
    policy: Digest
    """Of what was really sampled from."""
    result: BlobRef
    num_tokens: Count
    """Prompts and completions together."""
    busy_ms: Millis
    """Time the node says it computed."""


def _needs(spec: SampleSpec) -> Needs:
    over = () if spec.adapter is None else (spec.adapter,)
    return Needs(blobs=(spec.questions, *over))


def _answer(spec: SampleSpec, told: Told) -> SampleAnswer:
    """From file `result`; values `policy`, `num_tokens`."""
    return SampleAnswer(
        policy=told.values["policy"],
        result=told.blobs["result"],
        num_tokens=told.values["num_tokens"],
        busy_ms=told.busy_ms,
    )


WORDS = Words(
    spec=SampleSpec,
    answer=SampleAnswer,
    trusted=False,
    appeals=False,
    needs=_needs,
    answer_of=_answer,
    blobs=lambda answer: (answer.result,),
    publishes=publishes_nothing,
)
