"""What a lab shows of a door's questions, as both sides read it."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from archipel.records.document import Document
from archipel.records.documents import Sealed
from archipel.records.door import MAX_QUESTIONS, AdaptQuestion, QuestionNumber, SampleQuestion
from archipel.records.fields import Count

Place: TypeAlias = Literal["behind", "ready", "held", "answered", "gone"]
"""Where a question is: behind one that is not answered, with nobody, in a node's hands, answered and kept, or withdrawn,
too old, or of a run that is over."""


class QuestionView(Document):
    """`/runs/<run>/questions/<number>`: what became of it."""

    run: str
    number: Annotated[int, Field(ge=1)]
    place: Place
    came_back: Count = 0
    """Leases that ended without an answer."""
    node: str | None = None
    """Who has it, or answered it."""
    grant: Sealed | None = None
    """`lease.granted`, by the lab: which question the answer is about."""
    answered: Sealed | None = None
    """`work.answered`, by its node."""
    question: Annotated[AdaptQuestion | SampleQuestion | None, Field(discriminator="kind")] = None
    """As it stands: the state that an answered question brought is named in those that go on from it. None: it is gone."""


class QuestionsView(Document):
    """`/runs/<run>/questions`: those that are not gone, so that a door which forgot everything finds what it asked."""

    run: str
    next_number: QuestionNumber
    """That the door's next question has."""
    numbers: Annotated[tuple[QuestionNumber, ...], Field(max_length=2 * MAX_QUESTIONS)]
    """In their order."""
