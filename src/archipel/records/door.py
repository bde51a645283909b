"""What a door says at a lab: questions that nodes answer for its tenants, and which of them nobody needs any more.

Parts: `DoorAsked` with an `AdaptQuestion` or a `SampleQuestion`, `DoorWithdrawn`; `policy_of`, what a sample is made from.
Law: only the key that a run names as its door asks in it, and numbers its questions from 1 without a gap. What a tenant is
called, and what it asked, is not here: a digest for whose share it is, and blobs by name.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from archipel.records.adapter import AdapterForm
from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.fields import BlobRef, Closed, Count, Digest, LeftOut, RunName, Sparing, Wait
from archipel.records.statement import Statement

MAX_QUESTIONS = 4096
"""Of one run that are not answered."""
MAX_QUESTION_NUMBER = 2**40
MAX_QUESTION_TOKENS = 2**30
MAX_WITHDRAWN_AT_ONCE = 256
MAX_SHARE = 10_000
"""Of a tenant's weight."""

QuestionNumber = Annotated[int, Field(ge=1, le=MAX_QUESTION_NUMBER)]
QuestionTokens = Annotated[int, Field(ge=1, le=MAX_QUESTION_TOKENS)]


class Begun(Closed):
    """An adapter before anything was learned."""

    form: AdapterForm
    seed: Count


class AdaptQuestion(Sparing):
    """Do these operations on one model, from one of: its beginning, a state, the state after an earlier question.

    With `again`, do what an answered question asked once more, on another node; nothing else is said then.
    """

    kind: Literal["adapt"] = "adapt"
    begins: Annotated[Begun | None, LeftOut] = None
    state: Annotated[BlobRef | None, LeftOut] = None
    after: Annotated[QuestionNumber | None, LeftOut] = None
    """The state that this earlier question's answer brings; until that is there nobody is given this one."""
    again: Annotated[QuestionNumber | None, LeftOut] = None
    operations: Annotated[BlobRef | None, LeftOut] = None

    @model_validator(mode="after")
    def _starts_somewhere(self) -> Self:
        named = [
            name
            for name in ("begins", "state", "after", "again")
            if getattr(self, name) is not None
        ]
        if len(named) != 1:
            raise ValueError(
                f"a question to adapt starts from {', '.join(named) or 'nothing'}; expected one of begins, state, after, again"
            )
        if (self.operations is None) != (self.again is not None):
            raise ValueError(
                "operations go with begins, state or after, and none with again: say what is to be done, once"
            )
        return self


class SampleQuestion(Sparing):
    """Sample from the run's model, with an adapter over it or without."""

    kind: Literal["sample"] = "sample"
    adapter: Annotated[BlobRef | None, LeftOut] = None
    questions: BlobRef


class DoorAsked(Statement, Sparing):
    """A door asks for work: whoever may do it is given it, by its tenants' shares."""

    kind: Literal["door.asked"] = "door.asked"
    run: RunName
    number: QuestionNumber
    """One more than the door's last in this run."""
    tenant: Digest
    """Whose share it is; a digest that says nobody's name."""
    share: Annotated[int, Field(ge=1, le=MAX_SHARE)]
    """Weight of that share, from 1 up."""
    num_tokens: QuestionTokens
    """To adapt: that the operations have, to the token; to sample: at the most, prompts and completions together."""
    lasts_ms: Wait
    """So long it waits for an answer; then nobody needs it any more."""
    question: Annotated[AdaptQuestion | SampleQuestion, Field(discriminator="kind")]


class DoorWithdrawn(Statement):
    """Nobody needs these questions any more, nor what was answered to them; what builds on one of them goes with it."""

    kind: Literal["door.withdrawn"] = "door.withdrawn"
    run: RunName
    numbers: Annotated[
        tuple[QuestionNumber, ...], Field(min_length=1, max_length=MAX_WITHDRAWN_AT_ONCE)
    ]


AtDoor: TypeAlias = DoorAsked | DoorWithdrawn
"""What may stand in a ledger of that."""


def policy_of(files: Iterable[tuple[str, str]], adapter: str | None) -> Digest:
    """What is sampled from: the digest of the model's files (name, digest) and of the adapter over them, or of none."""
    named = sorted([name, digest] for name, digest in files)
    return sha256_digest(canonical_json({"adapter": adapter or "", "model": named}))
