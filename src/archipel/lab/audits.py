"""What is known of a run's audits: answers that wait for their draw, cases, verdicts. Pure.

An answer is committed when it is in the ledger. A later draw (`records.audits`) makes a case of it or lets it
pass. A case collects opinions until `verdicts` says what it comes to; `consequences` then moves money, nodes
and work. Law: audits attach to any programme, so nothing here knows one.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from archipel.lab.rules import Moment
from archipel.lab.state import Lease, Run
from archipel.records.audits import AuditTerms, is_drawn
from archipel.records.changed import changed
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.audit import Cannot, Difference
from archipel.records.table import Table

KIND = "audit"
MAX_CASES = 256
"""Open at a time in one run; answers that are drawn beyond wait for a later draw."""
MAX_WAITING = 4096
"""Answers that wait for their draw; beyond, the oldest pass unseen and are counted."""
MAX_CLOSED = 64
"""Newest closed cases that are remembered, of either kind: found right, and all others. The ledger has all."""
MAX_REASON = 500
MAX_NAMED = 4


class Stage(Enum):
    """Where an open case stands.

    FIRST: nobody has looked yet. SEEN: one says it is right, and waits for the draw of the own answer.
    SECOND, THIRD: another unrelated opinion is asked for. APPEAL: the trusted role decides.
    """

    FIRST = "first"
    SEEN = "seen"
    SECOND = "second"
    THIRD = "third"
    APPEAL = "appeal"


class Outcome(Enum):
    """What a case came to.

    VERIFIED: right. SOFT: found wrong by one alone: no pay, and it counts against the node. HARD: two independent
    failures: the node is believed no more. LAPSED: nobody could tell.
    """

    VERIFIED = "verified"
    SOFT = "soft"
    HARD = "hard"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Committed:
    """An accepted answer, as an audit needs it."""

    party: str
    """Who answered."""
    price_micro: int
    """What was paid for it."""
    entry: int
    record: str
    """Digest of the statement that answered."""
    at_ms: int
    took_ms: int
    done: AcceptedWork


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one auditor says."""

    auditor: str
    is_trusted: bool
    work: str
    """The audit."""
    price_micro: int
    says: str
    difference: Difference | None
    cannot: Cannot | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a case; the reason is for people."""

    outcome: Outcome
    reason: str
    at_ms: int
    by_trusted: bool
    is_final: bool = False
    """Nobody may contest it any more."""
    touched: tuple[int, ...] = ()
    """Versions that learned from the answer, or are being made from it."""
    withdrawn: tuple[str, ...] = ()
    """Works of the node that were taken out of batches not yet trained, of any run."""
    taken: tuple[tuple[str, int], ...] = ()
    """Run -> pay that was taken back from whose answer it was."""
    struck: tuple[tuple[str, int], ...] = ()
    """Auditors who said otherwise -> pay that was taken back from each."""


@dataclass(frozen=True, slots=True)
class Case:
    """One answer under audit."""

    answer: Committed
    opened_at_ms: int
    stage: Stage = Stage.FIRST
    opinions: tuple[Opinion, ...] = ()
    tried: tuple[str, ...] = ()
    """Who held an audit of it."""
    holder: str | None = None
    """The audit in somebody's hands."""
    contested: str = ""
    """What its node says against the verdict before."""
    verdict: Verdict | None = None
    before: Verdict | None = None
    """The verdict that was contested."""

    @property
    def work(self) -> str:
        """The audited work."""
        return self.answer.done.work

    @property
    def wants_strangers(self) -> bool:
        """Whether an unrelated node may be asked now."""
        return self.holder is None and self.stage not in (Stage.SEEN, Stage.APPEAL)

    @property
    def wants_trusted(self) -> bool:
        """Whether the trusted role may be asked now."""
        return self.holder is None and self.stage is not Stage.SEEN


@dataclass(frozen=True, slots=True)
class Said:
    """An opinion that was just accepted, and the answer that brought it."""

    work: str
    """The audited work."""
    opinion: Opinion
    own: Committed


@dataclass(frozen=True, slots=True)
class Audits:
    """A run's slice."""

    waiting: Table[str, Committed] = field(default_factory=Table)
    """Work -> its answer, until it is drawn or passes."""
    seen: Table[str, str] = field(default_factory=Table)
    """Of these, audits -> the audited work."""
    cases: Table[str, Case] = field(default_factory=Table)
    """Audited work -> its open case."""
    leases: Table[str, str] = field(default_factory=Table)
    """Audit in somebody's hands -> the audited work."""
    closed: tuple[Case, ...] = ()
    """Newest last."""
    said: tuple[Said, ...] = ()
    """What was just said; heard before the entry is over, so empty between two."""
    decided: tuple[str, ...] = ()
    """Cases that have a verdict and wait for what follows from it; empty between two entries."""
    drawn: int = 0
    passed: int = 0
    """Answers that were not drawn."""
    unseen: int = 0
    """Answers that nobody drew because too many waited."""
    outcomes: tuple[tuple[str, int], ...] = ()
    """Outcome -> cases."""
    positions: int = 0
    """Tokens recomputed."""


def audits(run: Run) -> Audits:
    """The run's audits so far."""
    found = run.attached.get(KIND, Audits())
    if not isinstance(found, Audits):
        raise TypeError(f"run {run.name} has a foreign slice for {KIND}")
    return found


def with_audits(run: Run, known: Audits, **changes: Any) -> Run:
    """The run with its audits as they are now."""
    return changed(run, attached={**run.attached, KIND: changed(known, **changes)})


def terms(run: Run) -> AuditTerms | None:
    """How the run's answers are audited; None: not at all."""
    return run.opened.pace.audit


def committed(run: Run, lease: Lease, done: AcceptedWork, moment: Moment) -> Run:
    """The run when an answer was accepted that may be audited."""
    answer = Committed(
        party=lease.node,
        price_micro=lease.price_micro,
        entry=moment.entry,
        record=moment.record,
        at_ms=moment.at_ms,
        took_ms=moment.at_ms - lease.granted_at_ms,
        done=done,
    )
    return _waits(run, done.work, answer)


def spoke(run: Run, said: Said) -> Run:
    """The run when an auditor has said something; `consequences` hears it."""
    known = audits(run)
    return with_audits(run, known, said=(*known.said, said))


def seen_by(run: Run, said: Said) -> Run:
    """An audit that found an answer right may be audited as well: it waits for its draw."""
    known, work = audits(run), said.own.done.work
    run = with_audits(run, known, seen=known.seen.put(work, said.work))
    return _waits(run, work, said.own)


def _waits(run: Run, work: str, answer: Committed) -> Run:
    known = audits(run)
    waiting = known.waiting.put(work, answer)
    if len(waiting) <= MAX_WAITING:
        return with_audits(run, known, waiting=waiting)
    oldest = min(waiting, key=lambda each: waiting[each].entry)
    run = with_audits(run, known, waiting=waiting, unseen=known.unseen + 1)
    return _passes(run, oldest, answer.at_ms)


def awaits_draw(run: Run) -> bool:
    """Whether any answer waits for its draw."""
    return len(audits(run).waiting) > 0


def is_at_work(run: Run) -> bool:
    """Whether anything of the run's audits is still to come."""
    known = audits(run)
    return len(known.waiting) > 0 or len(known.cases) > 0


def draw(
    run: Run, root: str, before: int, at_ms: int, rate: Callable[[bool, Committed], int]
) -> Run:
    """Draw by `root` every answer that stands before entry `before`, the oldest first.

    rate: (is an audit, answer) -> the chance in millionths.
    """
    known = audits(run)
    ready = [work for work, answer in known.waiting.items() if answer.entry < before]
    for work in sorted(ready, key=lambda each: known.waiting[each].entry):
        answer = audits(run).waiting[work]
        audited = audits(run).seen.get(work)
        if not is_drawn(root, answer.record, rate(audited is not None, answer)):
            run = _passes(run, work, at_ms)
        elif audited is not None:
            run = _again(run, work, audited)
        elif len(audits(run).cases) < MAX_CASES:
            run = _opened(run, work, at_ms)
    return run


def _opened(run: Run, work: str, at_ms: int) -> Run:
    known = audits(run)
    case = Case(known.waiting[work], at_ms)
    return with_audits(
        run, known, waiting=known.waiting.drop(work), cases=known.cases.put(work, case), drawn=known.drawn + 1
    )  # fmt: skip


def _again(run: Run, work: str, audited: str) -> Run:
    """The auditor is audited: a second one looks at the same answer."""
    run = _without(run, work)
    case = audits(run).cases.get(audited)
    return run if case is None else with_case(run, changed(case, stage=Stage.SECOND))


def _passes(run: Run, work: str, at_ms: int) -> Run:
    """An answer that is not drawn; an audit that is not lets its case end."""
    audited = audits(run).seen.get(work)
    run = _without(run, work)
    known = audits(run)
    if audited is None:
        return with_audits(run, known, passed=known.passed + 1)
    case = known.cases.get(audited)
    if case is None or case.stage is not Stage.SEEN:
        return run
    verdict = Verdict(Outcome.VERIFIED, "recomputed, and equal in every bit", at_ms, False)
    return decided(run, changed(case, verdict=verdict))


def _without(run: Run, work: str) -> Run:
    known = audits(run)
    seen = known.seen.drop(work) if work in known.seen else known.seen
    return with_audits(run, known, waiting=known.waiting.drop(work), seen=seen)


def with_case(run: Run, case: Case) -> Run:
    """The run with an open case as it is now."""
    known = audits(run)
    return with_audits(run, known, cases=known.cases.put(case.work, case))


def decided(run: Run, case: Case) -> Run:
    """A case has its verdict; what follows is carried out before the entry is over."""
    run = with_case(run, case)
    known = audits(run)
    return with_audits(run, known, decided=(*known.decided, case.work))


def closed(run: Run, case: Case) -> Run:
    """What followed from a verdict was carried out."""
    known = audits(run)
    if case.verdict is None:
        raise ValueError(f"the case of {case.work} has no verdict")
    name, counts = case.verdict.outcome.value, dict(known.outcomes)
    counts[name] = counts.get(name, 0) + 1
    if case.before is not None:
        counts[case.before.outcome.value] -= 1
    earlier = tuple(each for each in known.closed if each.work != case.work)
    return with_audits(
        run,
        known,
        cases=known.cases.drop(case.work),
        decided=tuple(work for work in known.decided if work != case.work),
        closed=_newest((*earlier, case)),
        outcomes=tuple(sorted(counts.items())),
    )


def _newest(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    right = [each.work for each in cases if _is_right(each)]
    wrong = [each.work for each in cases if not _is_right(each)]
    kept = {*right[-MAX_CLOSED:], *wrong[-MAX_CLOSED:]}
    return tuple(each for each in cases if each.work in kept)


def _is_right(case: Case) -> bool:
    return case.verdict is not None and case.verdict.outcome is Outcome.VERIFIED


def sentence(case: Case) -> str:
    """A verdict in words: on whom, on what, why, and what it touched."""
    verdict = case.verdict
    if verdict is None:
        return f"{case.work} of ..{case.answer.party[-12:]}: {case.stage.value}"
    words = f"{verdict.outcome.value}: {case.work} of ..{case.answer.party[-12:]}: {verdict.reason}"
    if verdict.touched:
        made = ", ".join(map(str, verdict.touched))
        words += f"; version {made} was made from it"
    if verdict.withdrawn:
        words += f"; done again: {', '.join(verdict.withdrawn[:MAX_NAMED])}"
        more = len(verdict.withdrawn) - MAX_NAMED
        words += f" and {more} more" if more > 0 else ""
    return words


def of_party(run: Run, did: str) -> Iterator[Case]:
    """Open and closed cases over answers of one node, the oldest first."""
    known = audits(run)
    for case in (*known.closed, *sorted(known.cases.values(), key=lambda case: case.answer.entry)):
        if case.answer.party == did:
            yield case


def holds_back(run: Run, works: Collection[str]) -> bool:
    """Whether any of these answers is under audit, or not drawn yet, and nobody has found it right."""
    known = audits(run)
    if not known.waiting and not known.cases:
        return False
    pending = (known.cases.get(work) for work in works)
    return any(work in known.waiting for work in works) or any(
        case is not None and case.stage is not Stage.SEEN for case in pending
    )
