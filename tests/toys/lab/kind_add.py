"""Add work in the lab. Pure."""

from dataclasses import replace

from archipel.records.kinds.add import WORDS, AddAnswer, AddSpec

from archipel.lab import refusals
from archipel.lab.programmes import tally
from archipel.lab.rules import Asking, Effort, Moment, ReadBlob, Rules
from archipel.lab.state import OPEN_PHASES, Lease, Run

MAX_WORKING_BYTES = 4096


def _offer(asking: Asking) -> AddSpec:
    total = tally.course(asking.run).total
    return AddSpec(run=asking.run.name, numbers=(total + 1, total + 2, total + 3))


def _check(run: Run, lease: Lease, answer: AddAnswer) -> None:
    assert isinstance(lease.spec, AddSpec)
    if answer.total != sum(lease.spec.numbers):
        raise refusals.WrongShape(f"{answer.total} is not the sum of {lease.spec.numbers}")


def _inspect(run: Run, lease: Lease, answer: AddAnswer, read: ReadBlob) -> None:
    if not read(answer.working).endswith(str(answer.total).encode()):
        raise refusals.BadResult("the working does not end with the total")


def _adding(run: Run, by: int) -> Run:
    slice_ = tally.course(run)
    return tally.with_course(run, replace(slice_, adding=slice_.adding + by))


def _accepted(run: Run, lease: Lease, answer: AddAnswer, moment: Moment) -> Run:
    slice_ = tally.course(run)
    total = max(slice_.total, answer.total)
    return tally.with_course(run, replace(slice_, total=total, adding=slice_.adding - 1))


RULES = Rules(
    words=WORDS,
    programme="tally",
    slice=None,
    audited=True,
    needs=lambda run: None,
    due=lambda run: run.phase in OPEN_PHASES and tally.course(run).adding == 0,
    offer=_offer,
    patience_ms=lambda run, node, spec: 30_000,
    price_micro=lambda run, spec: tally.pace(run).price_micro * len(spec.numbers),
    most_tokens=lambda run, spec: 0,
    upload_limit=lambda run, lease: MAX_WORKING_BYTES,
    check=_check,
    inspect=_inspect,
    granted=lambda run, lease: _adding(run, 1),
    given_up=lambda run, lease: _adding(run, -1),
    accepted=_accepted,
    earned=lambda run, lease, answer: lease.price_micro,
    effort=lambda lease, answer: Effort(units=3, tokens=0, bytes_in=answer.working.size),
    copies=None,
    size=lambda spec: len(spec.numbers),
    inputs=lambda run, spec: None,
    shows=lambda run: {},
    keeps=lambda run: (),
)
