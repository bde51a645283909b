"""What remote hands need of a lab: bytes put and fetched, questions asked, answers shown.

Parts: `Lab` (whoever speaks for a door at a lab), `Standing` (what became of a question); `LabAway`, `LabRefuses`.
Law: what is fetched has the digest that was asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from archipel.records.door import AdaptQuestion, SampleQuestion
from archipel.records.door_documents import Place
from archipel.records.fields import BlobRef
from archipel.records.kinds.adapt import AdaptAnswer, AdaptSpec
from archipel.records.kinds.sample import SampleAnswer, SampleSpec

Question = AdaptQuestion | SampleQuestion


class LabAway(Exception):
    """No answer, or none now; the same again may help."""


class LabRefuses(Exception):
    """The lab's considered no."""

    def __init__(self, problem: str, sentence: str) -> None:
        super().__init__(sentence)
        self.problem = problem
        """Its kind, as `lab.refusals` names it."""


@dataclass(frozen=True)
class Standing:
    """What the lab shows of one question."""

    number: int
    place: Place
    question: Question | None = None
    """As the lab has it now; None: it is gone."""
    spec: AdaptSpec | SampleSpec | None = None
    """What the node that answered was told; by the lab's own word."""
    answer: AdaptAnswer | SampleAnswer | None = None
    """By that node's."""


@dataclass(frozen=True)
class Asked:
    """A question as it is said."""

    tenant: str
    """A digest that says nobody's name."""
    share: int
    num_tokens: int
    lasts_ms: int
    question: Question


class Lab(Protocol):
    """Speaks for the door's key in one run.

    All raise LabAway and LabRefuses.
    """

    async def put(self, file: Path) -> BlobRef:
        """Have its bytes at the lab."""

    async def fetch(self, blob: BlobRef, file: Path) -> None:
        """Write its bytes to a new file."""

    async def ask(self, number: int, asked: Asked) -> None:
        """Put a question to the run's nodes."""

    async def withdraw(self, numbers: Sequence[int]) -> None:
        """Say that nobody needs these, nor what came of them."""

    async def next_number(self) -> int:
        """That the run's next question has."""

    async def standings(self) -> Sequence[Standing]:
        """Of all questions that are not gone."""

    async def standing(self, number: int, wait_s: float) -> Standing:
        """Of one; it comes as soon as it is answered or gone, or after so long."""
