"""What a door asked of a run's nodes to train, by where it goes on from, and which of it is still needed. Pure.

Parts: `Place` (where a model's training stands), `History`.
Laws: a turn that was asked from some place is found there again, by its operations' bytes; a question is needed as long as
some model stands at it, or came past it since what was kept of it last.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from archipel.records.adapter import AdapterForm
from archipel.records.door import AdaptQuestion, Begun
from archipel.records.fields import BlobRef
from archipel.records.kinds.adapt import AdaptAnswer


@dataclass(frozen=True)
class Place:
    """The state of a model: before its first turn, or after the turn of some question, or bytes from elsewhere."""

    begins: Begun | None = None
    number: int | None = None
    """The question whose answer brought the state; None: it came from elsewhere."""
    state: BlobRef | None = None

    @classmethod
    def at_first(cls, form: AdapterForm, seed: int) -> "Place":
        """Before anything was learned."""
        return cls(begins=Begun(form=form, seed=seed))

    @property
    def keys(self) -> tuple[object, ...]:
        """What a question may say of where it goes on from, if it goes on from here."""
        said = (self.begins, self.number, None if self.state is None else self.state.digest)
        return tuple(each for each in said if each is not None)

    def asks(self, operations: BlobRef, *, is_kept: bool) -> AdaptQuestion:
        """The question that goes on from here; is_kept: the lab still has the answer to this place's own question."""
        if self.begins is not None:
            return AdaptQuestion(begins=self.begins, operations=operations)
        if self.number is not None and is_kept:
            return AdaptQuestion(after=self.number, operations=operations)
        return AdaptQuestion(state=self.state, operations=operations)


@dataclass
class History:
    """Of one run."""

    found: dict[tuple[object, str], int] = field(default_factory=dict)
    """(where from, digest of operations) -> question."""
    known: set[int] = field(default_factory=set)
    """Questions to train that the lab has, as far as is known here."""
    passed: set[int] = field(default_factory=set)
    """Questions that some model came to since this door began; only these are its to forget."""
    needed: dict[str, list[int]] = field(default_factory=dict)
    """Model -> questions since what was kept of it last, the place where it stood then among them."""

    def note(self, number: int, question: AdaptQuestion) -> None:
        """Remember what was asked."""
        self.known.add(number)
        place = (
            question.begins,
            question.after,
            None if question.state is None else question.state.digest,
        )
        for key in place:
            if key is not None and question.operations is not None:
                self.found.setdefault((key, question.operations.digest), number)

    def answered(self, number: int, answer: AdaptAnswer) -> None:
        """What goes on from a question may name it, or the state that it brought."""
        for (key, digest), other in list(self.found.items()):
            if key == number:
                self.found.setdefault((answer.state.digest, digest), other)

    def asked(self, place: Place, digest: str) -> int | None:
        """The question that asked for these operations from here; None: nobody did."""
        for key in place.keys:
            number = self.found.get((key, digest))
            if number is not None:
                return number
        return None

    def has_more(self, place: Place) -> bool:
        """Whether anything was asked from here."""
        keys = set(place.keys)
        return any(key in keys for key, _ in self.found)

    def came_to(self, model: str, number: int) -> None:
        """A model stands at this question now."""
        self.passed.add(number)
        self.needed.setdefault(model, []).append(number)

    def kept(self, model: str, place: Place) -> None:
        """What the model needs from now on is this place alone."""
        self.needed[model] = [] if place.number is None else [place.number]
        self.passed.update(self.needed[model])

    def left(self, model: str) -> None:
        """Nobody goes on with the model."""
        self.needed.pop(model, None)

    def lost(self, number: int) -> None:
        """The lab has it no more, or what came of it is no good."""
        self.known.discard(number)
        self.passed.discard(number)
        self.found = {key: other for key, other in self.found.items() if other != number}

    def unneeded(self, candidates: Iterable[int]) -> list[int]:
        """Of these, those that no model needs."""
        needed = {number for numbers in self.needed.values() for number in numbers}
        return sorted({each for each in candidates if each in self.known} - needed)
