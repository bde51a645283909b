"""Adapt: a node does a tenant's operations on its adapter, for a door, and answers the state after them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archipel.records.door import Begun, QuestionNumber, QuestionTokens
from archipel.records.fields import BlobRef, LeftOut, Millis, Sparing
from archipel.records.words import Needs, Told, Words, WorkAnswer, WorkSpec, publishes_nothing

MAX_MACHINE = 128
"""Characters of the class of a machine."""
Machine = Annotated[str, Field(min_length=1, max_length=MAX_MACHINE)]


class AdaptSpec(WorkSpec, Sparing):
    """Do `operations` on an adapter over the run's model: one that begins here, or the one in `state`."""

    kind: Literal["adapt"] = "adapt"
    question: QuestionNumber
    begins: Annotated[Begun | None, LeftOut] = None
    state: Annotated[BlobRef | None, LeftOut] = None
    operations: BlobRef
    num_tokens: QuestionTokens
    """That they have."""

    @model_validator(mode="after")
    def _starts_somewhere(self) -> Self:
        if (self.begins is None) == (self.state is None):
            raise ValueError("expected one of begins and state")
        return self


class AdaptAnswer(WorkAnswer, Sparing):
    """What came of every operation, and the adapter after them."""

    kind: Literal["adapt"] = "adapt"
    state: BlobRef
    """Weights, moments and gathered gradient after the last operation."""
    outcomes: BlobRef
    num_tokens: QuestionTokens
    """That passed through the model."""
    busy_ms: Millis
    """Time the node says it computed."""
    machine: Annotated[Machine | None, LeftOut] = None
    """Class of its machine, as it says: on another one of that class the same operations give the same bits. None: it does
    not say."""


def _needs(spec: AdaptSpec) -> Needs:
    before = () if spec.state is None else (spec.state,)
    return Needs(blobs=(spec.operations, *before))


def _answer(spec: AdaptSpec, told: Told) -> AdaptAnswer:
    """From files `state` and `outcomes`; values `num_tokens`, perhaps `machine`."""
    return AdaptAnswer(
        state=told.blobs["state"],
        outcomes=told.blobs["outcomes"],
        num_tokens=told.values["num_tokens"],
        busy_ms=told.busy_ms,
        machine=told.values.get("machine"),
    )


WORDS = Words(
    spec=AdaptSpec,
    answer=AdaptAnswer,
    trusted=False,
    appeals=False,
    needs=_needs,
    answer_of=_answer,
    blobs=lambda answer: (answer.state, answer.outcomes),
    publishes=publishes_nothing,
)
