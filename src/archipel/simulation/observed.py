"""What a real ledger shows of a run: who was there when, how long each answer took, what a step took, what it all cost.

Parts: `Observer` (told every entry, in order), `Observed`. Law: only what stands in the ledger is used; times are
those of its entries.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from archipel.lab.entry import Entry
from archipel.lab.programmes import rl
from archipel.lab.state import LabState, Run
from archipel.records.kinds.audit import AuditAnswer, AuditSpec
from archipel.records.kinds.evaluate import EvaluateSpec
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.kinds.update import UpdateSpec
from archipel.records.statements import (
    Capabilities,
    LabOpened,
    LeaseExpired,
    LeaseGranted,
    LeaseReturned,
    NodeJoined,
    NodeLeft,
    RunOpened,
    WorkAnswered,
)
from archipel.simulation.scenario import CannotSimulate

LEAST_ANSWERS = 8
"""Of rollouts, below which a run says nothing of how long they take."""


@dataclass(frozen=True, slots=True)
class Took:
    """One answer of rollouts."""

    groups: int
    ms: float
    tokens: int


@dataclass
class Seen:
    """One key, as the ledger shows it."""

    capabilities: Capabilities
    spells: list[list[int | None]] = field(default_factory=list)
    """[joined, left] in Unix milliseconds; left None: it was there to the end."""
    depth: int = 1
    """Most leases that it held at a time: while it sends one answer, or waits for its turn, it has the next at hand."""
    holds: int = 0
    lost_ms: int = 0
    """When a lease of its ran out last."""
    answered_ms: int = 0
    """When it answered last."""
    rollouts: list[Took] = field(default_factory=list)
    """Each answer."""
    audit_ms: list[float] = field(default_factory=list)
    trusted_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Kind -> what each work of a trusted role took."""
    audited: int = 0
    wrong: int = 0
    """Of its answers that others looked at, those that differed."""


@dataclass(frozen=True)
class Observed:
    """A run, and what it came to."""

    lab: str
    operators: tuple[str, ...]
    opened: RunOpened
    opened_at_ms: int
    ended_at_ms: int
    """When its newest version was published."""
    seen: dict[str, Seen]
    run: Run

    @property
    def utilisation(self) -> float:
        """Of the learner, from version 0 to the newest."""
        elapsed = self.ended_at_ms - self.run.version_0_at_ms
        return rl.course(self.run).busy_ms / elapsed if elapsed > 0 else 0.0


class Observer:
    """Told every entry of a ledger."""

    def __init__(self, wanted: str | None) -> None:
        """wanted: the run's name; None: the newest that follows rl."""
        self._wanted = wanted
        self._lab, self._operators = "", tuple[str, ...]()
        self._opened: tuple[RunOpened, int] | None = None
        self._seen: dict[str, Seen] = {}
        self._grants: dict[str, tuple[LeaseGranted, int]] = {}
        self._authors: dict[str, str] = {}
        """Work -> who answered it."""
        self._ended_at_ms = 0

    def __call__(self, entry: Entry) -> None:
        """One more entry."""
        said, at_ms = entry.statement, entry.at_ms
        match said:
            case LabOpened():
                self._lab, self._operators = said.author, said.operators
            case RunOpened() if said.pace.programme == "rl":
                if self._wanted in (None, said.run):
                    self._opened = (said, at_ms)
                    self._grants, self._ended_at_ms = {}, 0
            case NodeJoined():
                seen = self._seen.setdefault(said.author, Seen(said.capabilities))
                self._leaves(said.author, at_ms)
                seen.spells.append([at_ms, None])
            case NodeLeft():
                self._leaves(said.author, at_ms)
            case LeaseGranted() if self._is_ours(said.spec.run):
                self._grants[said.work] = (said, at_ms)
                seen = self._seen[said.node]
                seen.holds += 1
                seen.depth = max(seen.depth, seen.holds)
            case LeaseExpired() | LeaseReturned() if said.work in self._grants:
                seen = self._seen[self._grants.pop(said.work)[0].node]
                seen.holds -= 1
                if isinstance(said, LeaseExpired):
                    seen.lost_ms = at_ms
            case WorkAnswered() if said.work in self._grants:
                self._answered(said, *self._grants.pop(said.work), at_ms)

    def _is_ours(self, run: str) -> bool:
        return self._opened is not None and self._opened[0].run == run

    def _leaves(self, did: str, at_ms: int) -> None:
        seen = self._seen.get(did)
        if seen is not None and seen.spells and seen.spells[-1][1] is None:
            seen.spells[-1][1] = at_ms

    def _answered(
        self, said: WorkAnswered, grant: LeaseGranted, granted_ms: int, at_ms: int
    ) -> None:
        seen = self._seen[said.author]
        took = at_ms - max(granted_ms, seen.answered_ms)
        seen.holds, seen.answered_ms = seen.holds - 1, at_ms
        spec, answer = grant.spec, said.answer
        if isinstance(spec, RolloutSpec) and isinstance(answer, RolloutAnswer):
            seen.rollouts.append(Took(len(spec.groups), took, answer.num_tokens))
            self._authors[said.work] = said.author
        elif isinstance(spec, AuditSpec) and isinstance(answer, AuditAnswer):
            seen.audit_ms.append(took)
            party = self._seen.get(self._authors.get(spec.work, ""))
            if party is not None:
                party.audited += 1
                party.wrong += answer.says == "differs"
        elif isinstance(spec, UpdateSpec | EvaluateSpec):
            seen.trusted_ms[spec.kind].append(took)
            if isinstance(spec, UpdateSpec):
                self._ended_at_ms = at_ms

    def observed(self, state: LabState) -> Observed:
        """What was seen, with the state after the last entry.

        Raises:
            CannotSimulate: no such run, or too little of it.
        """
        if self._opened is None:
            raise CannotSimulate(
                f"no run {self._wanted or 'of reinforcement learning'} in this ledger; expected one that was opened"
            )
        opened, at_ms = self._opened
        for seen in self._seen.values():
            is_lost = seen.lost_ms > seen.answered_ms
            if is_lost and seen.spells[-1][1] is None:  # it went without a word
                seen.spells[-1][1] = max(seen.answered_ms, seen.spells[-1][0] or 0)
        answers = sum(len(each.rollouts) for each in self._seen.values())
        run: Run = state.runs[opened.run]
        if answers < LEAST_ANSWERS or run.version < 1:
            raise CannotSimulate(
                f"run {opened.run} has {answers} answers and version {run.version}; expected {LEAST_ANSWERS} answers"
                " and version 1 at least"
            )
        return Observed(
            self._lab, self._operators, opened, at_ms, self._ended_at_ms, dict(self._seen), run
        )
