"""One run of pretraining as its ledger tells it: versions, what each was merged from, and whether that was by its own rules.
Pure.

A fold says that entries follow from one another; `MergeStory.faults` asks what a lab should have refused: who published
a version, from which contributions, by which held-out text.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from archipel.records.documents import AcceptedWork, inputs_digest
from archipel.records.kinds.inner_step import InnerStepAnswer, InnerStepSpec
from archipel.records.kinds.merge import MergeAnswer, MergeSpec
from archipel.records.programmes.pretrain import PretrainPace
from archipel.records.statements import LabOpened, LeaseGranted, Recorded, RunOpened, WorkAnswered
from archipel.records.succession import LabSucceeded


@dataclass(frozen=True, slots=True)
class Told:
    """A merge: what was asked of whom, and what came."""

    spec: MergeSpec
    answer: MergeAnswer
    author: str
    bound: str | None
    """Digest to which its held-out text was bound before; None: to nothing."""


@dataclass(slots=True)
class MergeStory:
    """What the entries that were `heard` so far say of the run `name`."""

    name: str
    opened: RunOpened | None = None
    operators: frozenset[str] = frozenset()
    """Of the lab whose ledger it is at this entry."""
    versions: list[Told] = field(default_factory=list)
    """One for each version, in order."""
    void: list[Told] = field(default_factory=list)
    """Merges that made no version, as they came."""
    contributions: dict[str, AcceptedWork] = field(default_factory=dict)
    """Work -> what was accepted of it."""
    _grants: dict[str, LeaseGranted] = field(default_factory=dict)
    _may_open: frozenset[str] = frozenset()
    """The lab's operators when the run was opened."""
    _bound: str | None = None

    def hear(self, said: Recorded) -> None:
        """The next entry's statement."""
        match said:
            case LabOpened() | LabSucceeded():
                self.operators = frozenset(said.operators)
            case RunOpened() if said.run == self.name:
                self.opened, self._may_open = said, self.operators
            case LeaseGranted() if said.spec.run == self.name:
                self._grants[said.work] = said
            case WorkAnswered() if said.work in self._grants:
                self._answered(self._grants.pop(said.work), said)

    def _answered(self, grant: LeaseGranted, said: WorkAnswered) -> None:
        spec, answer = grant.spec, said.answer
        if isinstance(spec, InnerStepSpec) and isinstance(answer, InnerStepAnswer):
            self.contributions[said.work] = AcceptedWork(work=said.work, spec=spec, answer=answer)
        elif isinstance(spec, MergeSpec) and isinstance(answer, MergeAnswer):
            told = Told(spec, answer, said.author, self._bound)
            (self.versions if answer.void is None else self.void).append(told)
            self._bound = answer.next_gate

    @property
    def pace(self) -> PretrainPace:
        """The run's pace.

        Raises:
            ValueError: the run was not opened, or follows another programme.
        """
        if self.opened is None:
            raise ValueError(f"this ledger opens no run {self.name!r:.80}")
        if not isinstance(self.opened.pace, PretrainPace):
            raise ValueError(  # noqa: TRY004  what was read is another run than was meant
                f"{self.name} is a run of {self.opened.pace.programme}, which merges nothing; `archipel run verify` "
                "makes its versions again"
            )
        return self.opened.pace

    def inputs(self, told: Told) -> tuple[AcceptedWork, ...]:
        """The contributions that a merge was made from, in its order.

        Raises:
            KeyError: one of them was never accepted.
        """
        return tuple(self.contributions[each.work] for each in told.answer.verdicts)

    def faults(self) -> Iterator[str]:
        """Where the run was not merged by its own rules, one sentence each."""
        opened = self.opened
        if opened is not None and opened.author not in self._may_open:
            yield f"the run was opened by {opened.author}, who is no operator of this lab"
        taken: set[str] = set()
        for number, told in enumerate(self.versions):
            if told.answer.version != number:
                yield f"version {told.answer.version} was published where {number} was due"
                return
            yield from self._faults_of(told, f"version {number}")
            for verdict in told.answer.verdicts:
                if verdict.work in taken:
                    yield f"{verdict.work} is in two versions, {number} and one before"
                taken.add(verdict.work)
        for told in self.void:
            yield from self._faults_of(told, f"a void merge to version {told.answer.version}")

    def _faults_of(self, told: Told, what: str) -> Iterator[str]:
        trusted = self.opened.trusted if self.opened else ()
        if told.author not in trusted:
            yield f"{what} was published by {told.author}, whom the run does not trust"
        version = told.answer.version
        parent = self.versions[version - 1].answer.policy if version else None
        if {told.spec.parent, told.answer.parent} != {parent}:
            yield f"{what} does not name version {version - 1} as its parent"
        if version == 0:
            return
        try:
            made_from = inputs_digest(self.inputs(told))
        except KeyError as error:
            yield f"{what} was made from {error}, which was never accepted"
            return
        if told.spec.inputs != made_from:
            yield f"{what} was asked to be made from {told.spec.inputs}, its verdicts are on {made_from}"
        gate = told.answer.gate
        if gate is not None and gate.digest != told.bound:
            yield f"{what} was scored by {gate.digest}, and {told.bound or 'nothing'} was bound before"
        if gate is None and told.answer.void is None and self.pace.merge.gate is not None:
            yield f"{what} does not show the held-out text that scored its contributions"
