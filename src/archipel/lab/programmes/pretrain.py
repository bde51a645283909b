"""Pretraining in the lab: an outer step asks for contributions to the newest version, and a merge takes them in. Pure.

Every index 0 .. M - 1 of the newest version is in one place: free, in a node's hands, answered, or in the merge that was
granted. What a grant of a merge finds answered is in it; what comes later is dropped, or waits for the next (`late`).
    free -> held -> answered -> in a merge -> merged or refused, and paid for
    held -> free (the lease came back); held -> over (dropped), behind (used: it may still be answered) when a merge begins
    behind -> late -> in the next merge; a merge that is given up, or void, lets everything of its version come back
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from archipel.lab.rules import Pay
from archipel.lab.state import Phase, Run
from archipel.records.changed import changed
from archipel.records.documents import AcceptedWork
from archipel.records.fields import BlobRef, Digest
from archipel.records.kinds.inner_step import InnerStepAnswer, InnerStepSpec
from archipel.records.kinds.merge import Verdict
from archipel.records.programmes.pretrain import PretrainPace
from archipel.records.table import Table
from archipel.records.words import SavedMemory

MAX_TIMES = 256
"""Newest contributions whose time says how long one may take."""
MAX_SHOWN = 64
"""Newest refusals that are shown; the ledger has all."""


@dataclass(frozen=True, slots=True)
class Held:
    """A contribution in a node's hands."""

    work: str
    node: str
    version: int
    index: int
    steps: int
    granted_at_ms: int


@dataclass(frozen=True, slots=True)
class Contribution:
    """An answer that is not merged yet."""

    done: AcceptedWork
    node: str
    withheld_micro: int

    @property
    def spec(self) -> InnerStepSpec:
        """What was asked."""
        if not isinstance(self.done.spec, InnerStepSpec):
            raise TypeError(f"{self.done.work} is {self.done.spec.kind} work")
        return self.done.spec

    @property
    def answer(self) -> InnerStepAnswer:
        """What came."""
        if not isinstance(self.done.answer, InnerStepAnswer):
            raise TypeError(f"{self.done.work} was answered as {self.done.answer.kind} work")
        return self.done.answer

    @property
    def place(self) -> tuple[int, int]:
        """(version, index): the order in which a merge takes contributions in."""
        return self.spec.version, self.spec.index


@dataclass(frozen=True, slots=True)
class Merging:
    """A merge in somebody's hands."""

    work: str
    works: tuple[str, ...]
    """Contributions that it makes its version from."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a version was made from."""

    grant: int
    """Position of its merge's grant in the ledger."""
    inputs: tuple[AcceptedWork, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run came to so far."""

    answered: int = 0
    merged: int = 0
    late: int = 0
    """Of the merged ones."""
    void: int = 0
    """Merges that took in nothing."""
    tokens: int = 0
    """Of merged contributions."""
    payload_bytes: int = 0
    busy_ms: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    """Reason -> contributions."""


@dataclass(frozen=True)
class PretrainSlice:
    """What is known of a run of pretraining besides its header."""

    held: Table[int, Held] = field(default_factory=Table)
    """Index -> who makes that contribution to the newest version."""
    answered: Table[int, str] = field(default_factory=Table)
    """Index -> the work that brought that contribution to the newest version, not in a merge yet."""
    behind: Table[str, Held] = field(default_factory=Table)
    """Work -> who still makes a contribution whose merge has begun without it."""
    contributions: Table[str, Contribution] = field(default_factory=Table)
    """Work -> every answer that is not merged yet; those that are in no merge and under no index are late."""
    merging: Merging | None = None
    began_ms: int = 0
    """When contributions to the newest version were first wanted."""
    times_us: tuple[int, ...] = ()
    """Microseconds that a step of the newest contributions took, as the lab saw it; oldest first."""
    made: Mapping[int, Made] = field(default_factory=dict)
    """Version -> what it was made from, since the newest saved memory: who has none replays it."""
    memory: SavedMemory | None = None
    gates: tuple[BlobRef, ...] = ()
    """Held-out text that was revealed for the versions in `made`."""
    next_gate: Digest | None = None
    """What the next merge's held-out text was committed to as."""
    refusals: tuple[tuple[int, Verdict], ...] = ()
    """The newest refused contributions, each with the version that was made without it."""
    settled: Table[str, int] = field(default_factory=Table)
    """Of contributions that audits may still be about: what was paid for each."""
    due: tuple[Pay, ...] = ()
    """Withheld pay that is due; empty once a lease's end was carried out."""
    counts: Counts = field(default_factory=Counts)


def course(run: Run) -> PretrainSlice:
    """The run's slice.

    Raises:
        TypeError: the run follows another programme; a defect.
    """
    if not isinstance(run.course, PretrainSlice):
        raise TypeError(f"run {run.name} does not follow pretrain")
    return run.course


def pace(run: Run) -> PretrainPace:
    """The run's pace; raises TypeError as `course` does."""
    if not isinstance(run.opened.pace, PretrainPace):
        raise TypeError(f"run {run.name} does not follow pretrain")
    return run.opened.pace


def with_course(run: Run, **changes: Any) -> Run:
    """The run with some of its slice changed."""
    return changed(run, course=changed(course(run), **changes))


def counted(run: Run, **more: int) -> Run:
    """The run with some of its counts raised."""
    counts = course(run).counts
    raised = {name: getattr(counts, name) + each for name, each in more.items()}
    return with_course(run, counts=changed(counts, **raised))


def free(run: Run) -> list[int]:
    """Indices of the newest version that nobody holds or has answered, ascending."""
    slice_ = course(run)
    if run.phase is not Phase.RUNNING or slice_.merging is not None:
        return []
    taken = slice_.held.keys() | slice_.answered.keys()
    return [index for index in range(pace(run).members) if index not in taken]


def has_free(run: Run) -> bool:
    """Whether any contribution can be handed out; told at once."""
    slice_ = course(run)
    if run.phase is not Phase.RUNNING or slice_.merging is not None:
        return False
    return len(slice_.held) + len(slice_.answered) < pace(run).members


def num_left(run: Run) -> int:
    """Contributions that the run still has to ask for, if each is merged."""
    slice_, members = course(run), pace(run).members
    begun = max(run.version, 0) * members + len(slice_.held) + len(slice_.answered)
    if slice_.merging is not None:
        begun = (run.version + 1) * members
    return run.opened.terms.versions * members - begun


def late(run: Run) -> list[str]:
    """Works answered to versions before the newest, or while it was being left behind, that wait for a merge."""
    slice_ = course(run)
    taken = set(slice_.answered.values()) | set(slice_.merging.works if slice_.merging else ())
    return _in_order(run, [work for work in slice_.contributions if work not in taken])


def next_works(run: Run) -> tuple[str, ...]:
    """Contributions that a merge would take in now, in its order; those that one in somebody's hands takes in."""
    slice_ = course(run)
    if slice_.merging is not None:
        return slice_.merging.works
    return tuple(_in_order(run, list(slice_.contributions)))


def inputs(run: Run) -> tuple[AcceptedWork, ...]:
    """The same, as the lab hands them out."""
    return tuple(course(run).contributions[work].done for work in next_works(run))


def _in_order(run: Run, works: list[str]) -> list[str]:
    known = course(run).contributions
    return sorted(works, key=lambda work: (known[work].place, work))


def reopened(run: Run) -> Run:
    """The run when no merge is in anybody's hands and its version stays the newest: what was left behind of it is in its
    place again, where nobody else is.
    """
    run = with_course(run, merging=None)
    slice_ = course(run)
    for work in sorted(slice_.contributions, key=lambda each: slice_.contributions[each].place):
        version, index = slice_.contributions[work].place
        if version == run.version and index not in course(run).answered:
            run = with_course(run, answered=course(run).answered.put(index, work))
    for work, each in sorted(slice_.behind.items()):
        now = course(run)
        is_free = each.index not in now.answered and each.index not in now.held
        if each.version == run.version and is_free:
            held, behind = now.held.put(each.index, each), now.behind.drop(work)
            run = with_course(run, held=held, behind=behind)
    return run
