"""Greet: a stranger says hello to a run."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.words import (
    Needs,
    Told,
    Words,
    WorkAnswer,
    WorkSpec,
    publishes_nothing,
)


class GreetSpec(WorkSpec):
    """Say hello to this run."""

    kind: Literal["greet"] = "greet"


class GreetAnswer(WorkAnswer):
    """Hello."""

    kind: Literal["greet"] = "greet"
    said: Annotated[str, Field(max_length=100)]


def _answer(spec: GreetSpec, told: Told) -> GreetAnswer:
    return GreetAnswer(said=told.values["said"])


WORDS = Words(
    spec=GreetSpec,
    answer=GreetAnswer,
    trusted=False,
    appeals=False,
    needs=lambda spec: Needs(),
    answer_of=_answer,
    blobs=lambda answer: (),
    publishes=publishes_nothing,
)
