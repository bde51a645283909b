"""What is known of a run's audits: answers that wait for their draw, cases, verdicts. Pure.

An answer is committed when it is in the ledger. A later draw (`records.audits`) makes a case of it or lets it
pass. A case collects opinions until `verdicts` says what it comes to; `consequences` then moves money, nodes
and work. Law: audits attach to any programme, so nothing here knows one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from archipel.lab.cases import Case, Committed, Outcome, Said, Stage, Verdict, found_right
from archipel.lab.rules import Moment
from archipel.lab.state import Lease, Run
from archipel.lab.sums import Sums
from archipel.records.audits import AuditTerms, is_drawn
from archipel.records.changed import changed
from archipel.records.documents import AcceptedWork
from archipel.records.measures import Measures
from archipel.records.table import Table

KIND = "audit"
MAX_CASES = 256
"""Open at a time in one run; answers that are drawn beyond wait for a later draw."""
MAX_WAITING = 4096
"""Answers that wait for their draw; beyond, the oldest pass unseen and are counted."""
MAX_CLOSED = 64
"""Newest closed cases that are remembered, of either kind: found right, and all others. The ledger has all."""
USUAL = 9
"""Answers found right that say how long one takes."""
MAX_WITHDRAWN = 1024
"""Works that are remembered as withdrawn."""


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
    withdrawn: tuple[str, ...] = ()
    """The newest works that were taken out of their batches."""
    plants: Table[str, int] = field(default_factory=Table)
    """Commitment to planted work that is not revealed -> position of its entry in the ledger."""
    sums: Table[str, Sums] = field(default_factory=Table)
    """In a run that is judged by measure: node -> its sums, where any is more than nothing."""


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


def measures(run: Run) -> Measures | None:
    """By what its answers are judged; None: to the bit, or not at all."""
    known = terms(run)
    return None if known is None else known.measures


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
            run = _opened(run, work, root, at_ms)
    return run


def _opened(run: Run, work: str, root: str, at_ms: int) -> Run:
    known = audits(run)
    case = Case(known.waiting[work], at_ms, root)
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
    verdict = Verdict(Outcome.VERIFIED, found_right(case), at_ms, False)
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


def remembered(run: Run, case: Case) -> Run:
    """The run with what is now known of a case that is open, or closed and remembered."""
    if case.work in audits(run).cases:
        return with_case(run, case)
    known = audits(run)
    kept = tuple(case if each.work == case.work else each for each in known.closed)
    return with_audits(run, known, closed=kept)


def _newest(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    right = [each.work for each in cases if _is_right(each)]
    wrong = [each.work for each in cases if not _is_right(each)]
    kept = {*right[-MAX_CLOSED:], *wrong[-MAX_CLOSED:]}
    return tuple(each for each in cases if each.work in kept)


def _is_right(case: Case) -> bool:
    return case.verdict is not None and case.verdict.outcome is Outcome.VERIFIED


def usual_ms(run: Run) -> int:
    """How long answers take: the median of the newest that were found right; 0 where there is none.

    So who answers at once does not hurry those who are called to look at it.
    """
    right = [case.answer.took_ms for case in audits(run).closed if _is_right(case)]
    took = sorted(right[-USUAL:])
    return took[len(took) // 2] if took else 0


def of_party(run: Run, did: str) -> Iterator[Case]:
    """Open and closed cases over answers of one node, the oldest first."""
    known = audits(run)
    for case in (*known.closed, *sorted(known.cases.values(), key=lambda case: case.answer.entry)):
        if case.answer.party == did:
            yield case


def pending(run: Run, works: Iterable[str]) -> list[str]:
    """Those of these answers that are under audit, or not drawn yet, and that nobody has found right."""
    known = audits(run)
    if not known.waiting and not known.cases:
        return []
    return [work for work in works if work in known.waiting or _is_open(known.cases.get(work))]


def unseen(run: Run) -> Iterator[AcceptedWork]:
    """Every answer that is under audit, or not drawn yet, and that nobody has found right."""
    known = audits(run)
    yield from (answer.done for answer in known.waiting.values())
    yield from (case.answer.done for case in known.cases.values() if _is_open(case))


def _is_open(case: Case | None) -> bool:
    return case is not None and case.stage is not Stage.SEEN


def holder(run: Run, works: Iterable[str]) -> str | None:
    """The audit of one of these answers that is in somebody's hands, if any is."""
    cases = (audits(run).cases.get(work) for work in works)
    return next((case.holder for case in cases if case is not None and case.holder), None)


def closed_case(run: Run, work: str) -> Case | None:
    """A case that has come to an end and is remembered."""
    return next((case for case in audits(run).closed if case.work == work), None)
