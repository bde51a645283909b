"""A door's work in the lab: questions that wait for a node, and answers that wait for the door. Pure.

Every number below `next_number` is in one place:
    behind -> ready      the state that it goes on from was answered
    ready -> held        a node has the lease
    held -> ready        the lease came back
    held -> answered     kept until it is withdrawn, or `keep_ms` are over
    any -> gone          withdrawn, or nobody answered in time; what is behind it goes with it
A question that is gone while a node has it is answered and paid all the same; nobody is told what.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from archipel.lab.programmes import door_shares
from archipel.lab.programmes.door_shares import Shares
from archipel.lab.state import Phase, Run
from archipel.records.changed import changed
from archipel.records.door import AdaptQuestion, SampleQuestion
from archipel.records.fields import BlobRef
from archipel.records.kinds.adapt import AdaptAnswer
from archipel.records.kinds.sample import SampleAnswer
from archipel.records.programmes.door import DoorPace
from archipel.records.table import Table


@dataclass(frozen=True, slots=True)
class Before:
    """An answer that is made again."""

    number: int
    node: str
    answer: AdaptAnswer


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that is not answered."""

    number: int
    tenant: str
    share: int
    num_tokens: int
    until_ms: int
    """Then nobody needs it any more."""
    question: AdaptQuestion | SampleQuestion
    """Without `again`: what is done again stands here whole."""
    before: Before | None = None
    """What it makes again, on another node."""
    came_back: int = 0
    """Leases that ended without an answer."""


@dataclass(frozen=True, slots=True)
class Held:
    """A question in a node's hands."""

    number: int
    tenant: str
    steps: int
    """By which its tenant's clock was moved on."""
    blobs: tuple[BlobRef, ...]
    """That its node needs, whatever becomes of the question."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that is kept for the door."""

    number: int
    num_tokens: int
    question: AdaptQuestion | SampleQuestion
    answer: AdaptAnswer | SampleAnswer
    node: str
    grant: int
    """Position of its lease in the ledger."""
    entry: int
    """Position of the answer."""
    until_ms: int


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of doing a question again."""

    number: int
    again: int
    """The question that was done before."""
    nodes: tuple[str, str]
    """Who did it before, and who again."""
    machines: tuple[str | None, str | None]
    is_same: bool
    """State and outcomes, in every bit."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run came to so far."""

    adapted: int = 0
    sampled: int = 0
    adapt_tokens: int = 0
    sample_tokens: int = 0
    gone: int = 0
    """Questions that nobody answered before they were withdrawn, or too old."""
    came_back: int = 0
    same: int = 0
    """Questions done again with the same bits."""
    different: int = 0


@dataclass(frozen=True)
class DoorSlice:
    """What is known of a door's run besides its header."""

    next_number: int = 1
    """Of the door's next question."""
    asked: Table[int, Asked] = field(default_factory=Table)
    ready: Table[int, str] = field(default_factory=Table)
    """Of these, those that can be handed out -> their kind."""
    num_adapts: int = 0
    """Of the ready ones, those that adapt."""
    held: Table[str, Held] = field(default_factory=Table)
    """Work -> the question in its node's hands."""
    answered: Table[int, Answered] = field(default_factory=Table)
    shares: Shares = field(default_factory=Shares)
    ends_ms: int = 0
    """Before then no question and no answer grows too old."""
    compared: tuple[Compared, ...] = ()
    counts: Counts = field(default_factory=Counts)


def course(run: Run) -> DoorSlice:
    """The run's slice.

    Raises:
        TypeError: the run follows another programme; a defect.
    """
    if not isinstance(run.course, DoorSlice):
        raise TypeError(f"run {run.name} does not follow door")
    return run.course


def pace(run: Run) -> DoorPace:
    """The run's pace; raises TypeError as `course` does."""
    if not isinstance(run.opened.pace, DoorPace):
        raise TypeError(f"run {run.name} does not follow door")
    return run.opened.pace


def with_course(run: Run, **changes: Any) -> Run:
    """The run with some of its slice changed."""
    return changed(run, course=changed(course(run), **changes))


def counted(run: Run, **more: int) -> Run:
    """The run with some of its counts raised."""
    counts = course(run).counts
    raised = {name: getattr(counts, name) + each for name, each in more.items()}
    return with_course(run, counts=changed(counts, **raised))


def num_ready(run: Run, kind: str) -> int:
    """Questions of a kind that can be handed out; told at once."""
    slice_ = course(run)
    if run.phase is not Phase.RUNNING:
        return 0
    return slice_.num_adapts if kind == "adapt" else len(slice_.ready) - slice_.num_adapts


def blobs_of(question: AdaptQuestion | SampleQuestion) -> tuple[BlobRef, ...]:
    """Bytes that a question names."""
    if isinstance(question, AdaptQuestion):
        named = (question.operations, question.state)
    else:
        named = (question.questions, question.adapter)
    return tuple(blob for blob in named if blob is not None)


def next_of(run: Run, kind: str, numbers: Iterable[int]) -> Asked | None:
    """Of these ready questions the one whose tenant has had the least for its weight; of one tenant's the oldest."""
    slice_ = course(run)
    found = (slice_.asked[number] for number in numbers if slice_.ready.get(number) == kind)
    return min(
        found,
        key=lambda each: (door_shares.turn(slice_.shares, each.tenant), each.number),
        default=None,
    )
