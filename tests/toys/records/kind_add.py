"""Add: a stranger adds up numbers."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import BlobRef, Count
from archipel.records.words import (
    Needs,
    Told,
    Words,
    WorkAnswer,
    WorkSpec,
    publishes_nothing,
)


class AddSpec(WorkSpec):
    """Add these."""

    kind: Literal["add"] = "add"
    numbers: Annotated[tuple[Count, ...], Field(min_length=1, max_length=100)]


class AddAnswer(WorkAnswer):
    """Their sum, and the working shown."""

    kind: Literal["add"] = "add"
    total: Count
    working: BlobRef


def _answer(spec: AddSpec, told: Told) -> AddAnswer:
    return AddAnswer(total=told.values["total"], working=told.blobs["working"])


WORDS = Words(
    spec=AddSpec,
    answer=AddAnswer,
    trusted=False,
    appeals=False,
    needs=lambda spec: Needs(),
    answer_of=_answer,
    blobs=lambda answer: (answer.working,),
    publishes=publishes_nothing,
)
