"""Evaluate work in the lab: version 0, every K-th and the last, each once. Attaches to any programme. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from archipel.lab import refusals
from archipel.lab.chain import version_of
from archipel.lab.rules import Asking, Effort, Moment, ReadBlob, Rules
from archipel.lab.state import Lease, Phase, Run
from archipel.records.changed import changed
from archipel.records.fields import BlobRef
from archipel.records.kinds.evaluate import WORDS, EvaluateAnswer, EvaluateSpec

MAX_REPORT_BYTES = 16 * 1024 * 1024
MAX_EXAMS_REMEMBERED = 1024
"""Beyond, the oldest go from the state; the ledger has them all."""


@dataclass(frozen=True, slots=True)
class Exam:
    """What one version achieved."""

    metrics: Mapping[str, int]
    report: BlobRef


@dataclass(frozen=True, slots=True)
class Exams:
    """What is known of a run's evaluations."""

    next: int = 0
    """The lowest version that was never handed out."""
    returned: tuple[int, ...] = ()
    """Versions whose lease came back, ascending."""
    done: Mapping[int, Exam] = field(default_factory=dict)


def exams(run: Run) -> Exams:
    """The run's evaluations so far."""
    found = run.attached.get(WORDS.name, Exams())
    if not isinstance(found, Exams):
        raise TypeError(f"run {run.name} has a foreign slice for {WORDS.name}")
    return found


def _waiting(run: Run) -> int | None:
    """The oldest version to be evaluated that can still be fetched and that nobody has."""
    known = exams(run)
    first = run.chain[0].version if run.chain else 0
    returned = [version for version in known.returned if version >= first]
    if returned:
        return returned[0]
    version = _at_or_after(run, max(known.next, first))
    return version if version is not None and version <= run.version else None


def _at_or_after(run: Run, version: int) -> int | None:
    """The first version to be evaluated that is not before `version`."""
    last, every = run.opened.terms.versions, run.opened.terms.evaluate_every
    following = -(-version // every) * every
    return min(following, last) if version <= last else None


def _offer(asking: Asking) -> EvaluateSpec | None:
    number = _waiting(asking.run)
    version = None if number is None else version_of(asking.run, number)
    if version is None:
        return None
    return EvaluateSpec(run=asking.run.name, version=version.version, policy=version.policy)


def _check(run: Run, lease: Lease, answer: EvaluateAnswer) -> None:
    spec = lease.spec
    if not isinstance(spec, EvaluateSpec) or (answer.version, answer.policy) != (
        spec.version,
        spec.policy,
    ):
        raise refusals.WrongPolicy(
            f"evaluated version {answer.version} ({answer.policy}), the lease names other weights"
        )
    refusals.require_contract(answer.exact, run.opened.pace.exact)
    if answer.report.size > MAX_REPORT_BYTES:
        raise refusals.TooLarge(
            f"report of {answer.report.size} bytes; at most {MAX_REPORT_BYTES} are accepted"
        )


def _granted(run: Run, lease: Lease) -> Run:
    spec = _spec(lease)
    known = exams(run)
    returned = tuple(version for version in known.returned if version != spec.version)
    return _with(run, changed(known, next=max(known.next, spec.version + 1), returned=returned))


def _given_up(run: Run, lease: Lease) -> Run:
    known, spec = exams(run), _spec(lease)
    return _with(run, changed(known, returned=tuple(sorted((*known.returned, spec.version)))))


def _accepted(run: Run, lease: Lease, answer: EvaluateAnswer, moment: Moment) -> Run:
    known = exams(run)
    done = {**known.done, answer.version: Exam(answer.metrics, answer.report)}
    for oldest in sorted(done)[: max(0, len(done) - MAX_EXAMS_REMEMBERED)]:
        del done[oldest]
    return _with(run, changed(known, done=done))


def _spec(lease: Lease) -> EvaluateSpec:
    if not isinstance(lease.spec, EvaluateSpec):
        raise TypeError(f"{lease.work} is {lease.spec.kind} work")
    return lease.spec


def _with(run: Run, known: Exams) -> Run:
    return changed(run, attached={**run.attached, WORDS.name: known})


def _shows(run: Run) -> Mapping[str, Any]:
    done = sorted(exams(run).done.items())
    return {"evaluations": [{"version": version, **exam.metrics} for version, exam in done]}


def _keeps(run: Run) -> Iterable[BlobRef]:
    return (exam.report for exam in exams(run).done.values())


def _inspect(run: Run, lease: Lease, answer: EvaluateAnswer, read: ReadBlob) -> None:
    """A report is for people; its bytes are what its digest says, and that is all the lab knows."""


RULES = Rules(
    words=WORDS,
    programme=None,
    slice=Exams,
    needs=lambda run: None,
    audited=False,
    due=lambda run: run.phase is not Phase.STOPPED and _waiting(run) is not None,
    offer=_offer,
    patience_ms=lambda run, node, spec: run.opened.terms.trusted_deadline_ms,
    price_micro=lambda run, spec: 0,
    most_tokens=lambda run, spec: 0,
    upload_limit=lambda run, lease: MAX_REPORT_BYTES,
    check=_check,
    inspect=_inspect,
    granted=_granted,
    given_up=_given_up,
    accepted=_accepted,
    earned=lambda run, lease, answer: lease.price_micro,
    effort=lambda lease, answer: Effort(units=0, tokens=0, bytes_in=0),
    copies=None,
    size=lambda spec: 0,
    inputs=lambda run, spec: None,
    shows=_shows,
    keeps=_keeps,
)
