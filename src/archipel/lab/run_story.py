"""One run of reinforcement learning as its ledger tells it, and whether it was run by its own rules. Pure.

A fold says that entries follow from one another; it does not ask what a lab should have refused.
`faults` does: whose key published each version, what it was made from, how stale that was.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from archipel.records.batches import Batches
from archipel.records.chain import Publication
from archipel.records.documents import AcceptedWork, inputs_digest
from archipel.records.kinds.evaluate import EvaluateAnswer, EvaluateSpec
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.kinds.update import UpdateAnswer, UpdateSpec
from archipel.records.pauses import RunPaused, RunResumed
from archipel.records.programmes.rl import RlPace
from archipel.records.statements import (
    LabOpened,
    LeaseGranted,
    Recorded,
    RunOpened,
    RunStopped,
    WorkAnswered,
)
from archipel.records.succession import LabSucceeded
from archipel.records.words import WorkAnswer, WorkSpec


@dataclass(frozen=True, slots=True)
class Update:
    """A version: what was asked of whom, and what came."""

    spec: UpdateSpec
    answer: UpdateAnswer
    author: str

    @property
    def published(self) -> Publication:
        """As nodes know it."""
        answer = self.answer
        return Publication(
            answer.version, answer.policy, answer.manifest, answer.anchor, answer.delta
        )


@dataclass(frozen=True, slots=True)
class Exam:
    """An evaluation: what was asked of whom, and what came."""

    spec: EvaluateSpec
    answer: EvaluateAnswer
    author: str


@dataclass(slots=True)
class RunStory:
    """What the entries that were `heard` so far say of the run `name`."""

    name: str
    opened: RunOpened | None = None
    operators: frozenset[str] = frozenset()
    """Of the lab whose ledger it is at this entry."""
    updates: list[Update] = field(default_factory=list)
    """One for each version, in order."""
    results: dict[str, AcceptedWork] = field(default_factory=dict)
    """Work -> its accepted rollouts."""
    group_in: dict[int, str] = field(default_factory=dict)
    """Group -> the work whose result holds it."""
    exams: list[Exam] = field(default_factory=list)
    """Evaluations, as they came."""
    refills: dict[int, list[Update]] = field(default_factory=dict)
    """Version -> the times when its batch asked for further groups."""
    others: int = 0
    """Accepted answers of other kinds of work."""
    _grants: dict[str, LeaseGranted] = field(default_factory=dict)
    _may_open: frozenset[str] = frozenset()
    """The lab's operators when the run was opened."""
    withdrawn: Mapping[str, str] = field(default_factory=dict)
    """Works that verdicts took out of their batches, and why, as the fold of the same ledger says (`withdrawals`):
    their groups come again."""
    _twice: list[tuple[int, str]] = field(default_factory=list)
    """(group, the work whose result held it before)"""
    _stands: str = ""
    """Why nothing may be handed out now: it is `paused` or `stopped`."""
    _untimely: list[str] = field(default_factory=list)
    """What was done that its operator had ruled out, or without being one."""

    def hear(self, said: Recorded) -> None:
        """The next entry's statement."""
        match said:
            case LabOpened() | LabSucceeded():
                self.operators = frozenset(said.operators)
            case RunOpened() if said.run == self.name:
                self.opened, self._may_open = said, self.operators
            case RunPaused() | RunResumed() | RunStopped() if said.run == self.name:
                self._ruled(said)
            case LeaseGranted() if said.spec.run == self.name:
                self._grants[said.work] = said
                if self._stands:
                    self._untimely.append(
                        f"{said.work} was handed out while the run was {self._stands}"
                    )
            case WorkAnswered() if said.work in self._grants:
                self._answered(self._grants.pop(said.work).spec, said)

    def _ruled(self, said: RunPaused | RunResumed | RunStopped) -> None:
        """An operator has it stand still, or go on."""
        if said.author not in self.operators:
            self._untimely.append(f"{said.kind} by {said.author}, who is no operator of this lab")
        stands = {"run.paused": "paused", "run.resumed": "", "run.stopped": "stopped"}
        self._stands = stands[said.kind]

    def _answered(self, spec: WorkSpec, said: WorkAnswered) -> None:
        answer = said.answer
        if isinstance(spec, UpdateSpec) and isinstance(answer, UpdateAnswer):
            made = Update(spec, answer, said.author)
            if answer.more is None:
                self.updates.append(made)
            else:
                self.refills.setdefault(answer.version, []).append(made)
        elif isinstance(spec, RolloutSpec) and isinstance(answer, RolloutAnswer):
            self.results[said.work] = AcceptedWork(work=said.work, spec=spec, answer=answer)
            self._twice += [(g, self.group_in[g]) for g in spec.groups if g in self.group_in]
            self.group_in |= dict.fromkeys(spec.groups, said.work)
        elif isinstance(spec, EvaluateSpec) and isinstance(answer, EvaluateAnswer):
            self.exams.append(Exam(spec, answer, said.author))
        else:
            self.others += 1

    @property
    def standing(self) -> dict[str, AcceptedWork]:
        """Its results but for those that were withdrawn."""
        return {work: each for work, each in self.results.items() if work not in self.withdrawn}

    @property
    def taken_out(self) -> dict[str, str]:
        """Results that were withdrawn, and why."""
        return {work: why for work, why in self.withdrawn.items() if work in self.results}

    @property
    def pace(self) -> RlPace:
        """The run's pace.

        Raises:
            ValueError: the run was not opened, or follows another programme.
        """
        if self.opened is None:
            raise ValueError(f"this ledger opens no run {self.name!r:.80}")
        if not isinstance(self.opened.pace, RlPace):
            raise ValueError(  # noqa: TRY004  what was read is another run than was meant
                f"{self.name} is a run of {self.opened.pace.programme}, expected rl; merges of pretraining are made "
                f"again by `archipel run replay {self.name}`"
            )
        return self.opened.pace

    @property
    def batches(self) -> Batches:
        """The numbers of its groups."""
        pace = self.pace
        versions = self.opened.terms.versions if self.opened else 0
        return Batches(versions, pace.groups_per_update, pace.refill or 0)

    def batch(self, version: int, asked: int | None = None) -> tuple[int, ...]:
        """The groups that `version` (1 or later) was made from; asked: as many times it had asked for more by then."""
        more = (each.answer.more or 0 for each in self.refills.get(version, ())[:asked])
        return tuple(self.batches.groups(version - 1, sum(more)))

    def inputs(self, version: int, asked: int | None = None) -> tuple[AcceptedWork, ...]:
        """The results that hold the batch of `version`, as the lab lists them; asked: see `batch`.

        Raises:
            KeyError: a group of it was never accepted.
        """
        works = dict.fromkeys(self.group_in[group] for group in self.batch(version, asked))
        return tuple(self.results[work] for work in works)

    def faults(self) -> Iterator[str]:
        """Where the run was not run by its own rules, one sentence each."""
        opened, pace = self.opened, self.pace
        if opened is not None and opened.author not in self._may_open:
            yield f"the run was opened by {opened.author}, who is no operator of this lab"
        yield from self._untimely
        for group, before in self._twice:
            if before not in self.withdrawn:
                yield f"group {group} was accepted twice"
        for number, update in enumerate(self.updates):
            if update.answer.version != number:
                yield f"version {update.answer.version} was published where {number} was due"
                return
            yield from self._faults_of(update, number)
        for version, refills in self.refills.items():
            yield from self._faults_of_refills(version, refills)
        for exam in self.exams:
            yield from self._faults_of_exam(exam)
        for work, each in self.standing.items():
            yield from self._faults_of_result(work, each, pace.max_staleness)

    def _faults_of(self, update: Update, version: int) -> Iterator[str]:
        trusted = self.opened.trusted if self.opened else ()
        if update.author not in trusted:
            yield f"version {version} was published by {update.author}, whom the run does not trust"
        parent = self.updates[version - 1].answer.policy if version else None
        if {update.spec.parent, update.answer.parent} != {parent}:
            yield f"version {version} does not name version {version - 1} as its parent"
        if version == 0:
            return
        try:
            inputs = self.inputs(version)
        except KeyError as error:
            yield f"version {version} was made although group {error} was never accepted"
            return
        for each in inputs:
            if each.work in self.withdrawn:
                yield f"version {version} was made from {each.work}, which was withdrawn by {self.withdrawn[each.work]}"
        made_from = inputs_digest(inputs)
        if update.spec.inputs != made_from:
            yield f"version {version} was asked to be made from {update.spec.inputs}, not {made_from}"

    def _faults_of_refills(self, version: int, refills: list[Update]) -> Iterator[str]:
        """A batch takes what it may; that its grades are those that asked for more, whoever grades it again finds."""
        what = f"the batch of version {version}"
        trusted = self.opened.trusted if self.opened else ()
        if sum(each.answer.more or 0 for each in refills) > len(self.batches.further(version - 1)):
            yield f"{what} asked for more groups than it may have"
        for place, each in enumerate(refills):
            if each.author not in trusted:
                yield f"{what} asked for more by {each.author}, whom the run does not trust"
            try:
                made_from = inputs_digest(self.inputs(version, place))
            except KeyError as error:
                yield f"{what} asked for more although group {error} was never accepted"
                continue
            if each.spec.inputs != made_from:
                yield f"{what} was graded from {each.spec.inputs}, not {made_from}"

    def _faults_of_exam(self, exam: Exam) -> Iterator[str]:
        version = exam.answer.version
        what = f"the evaluation of version {version}"
        if self.opened is None or exam.author not in self.opened.trusted:
            yield f"{what} came from {exam.author}, whom the run does not trust"
        if not version < len(self.updates):
            yield f"{what} is of a version that does not exist"
            return
        policy = self.updates[version].answer.policy
        if {(exam.spec.version, exam.spec.policy), (version, exam.answer.policy)} != {
            (version, policy)
        }:
            yield f"{what} is of other weights than that version's, {policy}"
        if sum(other.answer.version == version for other in self.exams) > 1:
            yield f"{what} was accepted more than once"
        yield from self._faults_of_contract(what, exam.answer)

    def _faults_of_result(self, work: str, each: AcceptedWork, most: int) -> Iterator[str]:
        spec = each.spec
        if not isinstance(spec, RolloutSpec) or not spec.version < len(self.updates):
            yield f"{work} was sampled from a version that does not exist"
            return
        if spec.policy != self.updates[spec.version].answer.policy:
            yield f"{work} names {spec.policy} as version {spec.version}, which it is not"
        stale = max(self.batches.origin(group) - spec.version for group in spec.groups)
        if stale > most:
            yield f"{work} is {stale} versions stale where it was learned from; at most {most} may be"
        yield from self._faults_of_contract(work, each.answer)

    def _faults_of_contract(self, what: str, answer: WorkAnswer) -> Iterator[str]:
        used, asked = getattr(answer, "exact", None), self.pace.exact
        if used != asked:
            yield (
                f"{what} was sampled by {used or 'no exact contract'}; the run asks for {asked or 'none'}"
            )
        if isinstance(answer, RolloutAnswer) and answer.engine != self.pace.engine:
            yield (
                f"{what} was sampled by {answer.engine or 'some engine'}; the run asks for {self.pace.engine or 'none'}"
            )
