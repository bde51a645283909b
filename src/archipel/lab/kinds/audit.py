"""Audit work in the lab: drawn answers, looked at by nodes unrelated to whose they are. Attaches to any programme. Pure."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from archipel.lab import refusals
from archipel.lab.audits import (
    KIND,
    Audits,
    audits,
    measures,
    spoke,
    terms,
    with_audits,
    with_case,
)
from archipel.lab.cases import Case, Committed, Opinion, Outcome, Said, Stage, sentence
from archipel.lab.chain import version_of
from archipel.lab.looking import called, may_look, needs_of, oldest_for
from archipel.lab.rules import Asking, Effort, Moment, ReadBlob, Rules
from archipel.lab.state import Lease, Node, Phase, Run
from archipel.records.changed import changed
from archipel.records.documents import AcceptedWork, inputs_digest
from archipel.records.fields import BlobRef
from archipel.records.kinds import WORDS_OF
from archipel.records.kinds.audit import (
    DISTANCE,
    WORDS,
    AuditAnswer,
    AuditSpec,
    Part,
)
from archipel.records.measures import Measured, beyond
from archipel.records.terms import needed

MAX_SHOWN = 8
"""Newest verdicts against nodes that a run's view tells."""
MAX_SILENT = 3
"""Auditors who took a case and said nothing, before the trusted role is asked: keys cost nothing, and whoever has many
could hold it for ever."""
PATIENCE = 4
"""An auditor has so many times as long as the answer took, within the bounds of the run."""


def _due(run: Run) -> bool:
    if run.phase is Phase.STOPPED:
        return False
    return any(case.wants_trusted for case in audits(run).cases.values())


def _offer(asking: Asking) -> AuditSpec | None:
    """The oldest case that this node may look at."""
    case = oldest_for(asking)
    return None if case is None else _handed_out(asking.run, case)


def _handed_out(run: Run, case: Case) -> AuditSpec:
    needs, done = needs_of(case), case.answer.done
    version = version_of(run, needs.weights or 0)
    if version is None:
        raise ValueError(f"version {needs.weights} of {run.name} can no longer be had")
    return AuditSpec(
        run=run.name,
        work=case.work,
        record=case.answer.record,
        inputs=inputs_digest((done,)),
        version=version.version,
        policy=version.policy,
        blobs=needs.blobs,
        part=_part_of(run, case),
    )


def _part_of(run: Run, case: Case) -> Part | None:
    known = terms(run)
    milli = None if known is None else known.part_milli
    return None if milli is None else Part(root=case.root, milli=milli)


def _patience_ms(run: Run, node: Node, spec: AuditSpec) -> int:
    known, case = terms(run), audits(run).cases[spec.work]
    least = 0 if known is None else known.deadline_ms
    return min(max(least, PATIENCE * case.answer.took_ms), run.opened.terms.trusted_deadline_ms)


def _price_micro(run: Run, spec: AuditSpec) -> int:
    known, case = terms(run), audits(run).cases[spec.work]
    return 0 if known is None else case.answer.price_micro * known.pay_milli // 1000


def _check(run: Run, lease: Lease, answer: AuditAnswer) -> None:
    spec = _spec(lease)
    if answer.record != spec.record:
        raise refusals.WrongLabel(
            f"audited record {answer.record}, the lease is about {spec.record}"
        )
    _check_measured(run, answer)


def _check_measured(run: Run, answer: AuditAnswer) -> None:
    """What was measured says the same as its words; what can be told without measuring is told as ever."""
    known, measured = measures(run), answer.measured
    if known is None:
        _check_distance(run, answer)
        return
    if measured is None:
        difference = answer.difference
        is_told = difference is not None and difference.what == "end"
        if answer.says != "cannot" and not is_told:
            raise refusals.WrongShape("an audit by measure says what it measured")
        return
    _require_measured(answer, measured, known.limits, known.least_drawn)


def _check_distance(run: Run, answer: AuditAnswer) -> None:
    """What is compared to the bit measures nothing; a contribution may be measured where the run says how far it may lie."""
    known, measured = terms(run), answer.measured
    far = None if known is None else known.distance_nano
    is_far = answer.difference is not None and answer.difference.what == DISTANCE
    if measured is None and not is_far:
        return
    if measured is None or far is None:
        raise refusals.WrongShape(f"an audit that says {answer.says} has nothing to measure here")
    _require_measured(answer, measured, {DISTANCE: far}, 0)


def _require_measured(
    answer: AuditAnswer, measured: Measured, limits: Mapping[str, int], least_drawn: int
) -> None:
    if answer.says == "cannot":
        raise refusals.WrongShape("an audit that says cannot has nothing to measure here")
    over = beyond(measured, limits)
    if set(measured.figures) != set(limits) or measured.drawn < least_drawn:
        raise refusals.WrongShape(
            f"measured {', '.join(sorted(measured.figures))} of {measured.drawn} tokens; expected "
            f"{', '.join(sorted(limits))} of at least {least_drawn}"
        )
    if bool(over) != (answer.says == "differs"):
        raise refusals.WrongShape(
            f"an audit says {answer.says}, and measured beyond its limits: {', '.join(over) or 'nothing'}"
        )


def _inspect(run: Run, lease: Lease, answer: AuditAnswer, read: ReadBlob) -> None:
    """An opinion names no bytes; whether it is true, other auditors say."""


def _granted(run: Run, lease: Lease) -> Run:
    spec, work = _spec(lease), lease.work
    known = audits(run)
    case = known.cases[spec.work]
    if not case.wants_trusted:
        raise ValueError(f"{spec.work} is being audited by {case.holder}, or needs no audit now")
    run = with_audits(run, known, leases=known.leases.put(work, spec.work))
    return with_case(run, changed(case, holder=work))


def _given_up(run: Run, lease: Lease) -> Run:
    """Another node is asked; the case may be gone, with the answer that it was about."""
    run, case = _returned(run, lease)
    if case is None:
        return run
    known, tried = terms(run), (*case.tried, lease.node)
    is_limited = known is not None and known.stake is not None
    is_silent = len(tried) - len(case.opinions) >= MAX_SILENT
    stage = Stage.APPEAL if is_limited and is_silent else case.stage
    return with_case(run, changed(case, holder=None, tried=tried, stage=stage))


def _returned(run: Run, lease: Lease) -> tuple[Run, Case | None]:
    known = audits(run)
    audited = known.leases.get(lease.work)
    if audited is None:
        return run, None
    run = with_audits(run, known, leases=known.leases.drop(lease.work))
    return run, known.cases[audited]


def _accepted(run: Run, lease: Lease, answer: AuditAnswer, moment: Moment) -> Run:
    run, case = _returned(run, lease)
    known = audits(run)
    run = with_audits(run, known, positions=known.positions + answer.positions)
    if case is None:
        return run
    is_trusted = lease.node in run.opened.trusted
    paid = _earned(run, lease, answer)
    opinion = Opinion(
        lease.node, is_trusted, lease.work, paid, answer.says, answer.difference, answer.cannot,
        answer.measured,
    )  # fmt: skip
    own = Committed(
        party=lease.node,
        price_micro=paid,
        entry=moment.entry,
        record=moment.record,
        at_ms=moment.at_ms,
        took_ms=moment.at_ms - lease.granted_at_ms,
        done=AcceptedWork(work=lease.work, spec=lease.spec, answer=answer),
    )
    run = with_case(run, changed(case, tried=(*case.tried, lease.node)))
    return spoke(run, Said(case.work, opinion, own))


def _earned(run: Run, lease: Lease, answer: AuditAnswer) -> int:
    """Who cannot tell is not paid for saying so."""
    return 0 if answer.says == "cannot" else lease.price_micro


def _inputs(run: Run, spec: AuditSpec) -> tuple[AcceptedWork, ...] | None:
    case = audits(run).cases.get(spec.work)
    return None if case is None else (case.answer.done,)


def _shows(run: Run) -> Mapping[str, Any]:
    known: Audits = audits(run)
    if terms(run) is None:
        return {}
    waits = len(known.waiting) - len(known.seen)
    return {
        "audits": {
            "drawn": known.drawn,
            "passed": known.passed,
            "waiting": waits,
            "open": len(known.cases),
            **dict(known.outcomes),
        },
        "verdicts": [
            sentence(case)
            for case in known.closed
            if case.verdict is not None and case.verdict.outcome in (Outcome.SOFT, Outcome.HARD)
        ][-MAX_SHOWN:],
    }


def _keeps(run: Run) -> Iterable[BlobRef]:
    known = audits(run)
    answers = [each for work, each in known.waiting.items() if work not in known.seen]
    for answer in chain(answers, (case.answer for case in (*known.cases.values(), *known.closed))):
        words = WORDS_OF[answer.done.spec.kind]
        yield from words.needs(answer.done.spec).blobs
        yield from words.blobs(answer.done.answer)


def _spec(lease: Lease) -> AuditSpec:
    if not isinstance(lease.spec, AuditSpec):
        raise TypeError(f"{lease.work} is {lease.spec.kind} work")
    return lease.spec


if WORDS.name != KIND:
    raise TypeError(f"the slice of audits is called {KIND}, the kind {WORDS.name}")

RULES = Rules(
    words=WORDS,
    programme=None,
    slice=Audits,
    audited=False,
    due=_due,
    needs=lambda run: needed(run.opened.pace.sampled_by, None),
    may_have=may_look,
    called=called,
    offer=_offer,
    patience_ms=_patience_ms,
    price_micro=_price_micro,
    most_tokens=lambda run, spec: 0,
    upload_limit=lambda run, lease: 0,
    check=_check,
    inspect=_inspect,
    granted=_granted,
    given_up=_given_up,
    accepted=_accepted,
    earned=_earned,
    effort=lambda lease, answer: Effort(units=0, tokens=0, bytes_in=0),
    copies=None,
    size=lambda spec: 0,
    inputs=_inputs,
    shows=_shows,
    keeps=_keeps,
)
