"""Found work in the lab: once per run. Pure."""

from dataclasses import replace

from archipel.records.kinds.found import WORDS, FoundAnswer, FoundSpec

from archipel.lab.chain import published
from archipel.lab.programmes import tally
from archipel.lab.rules import Asking, Effort, Moment, ReadBlob, Rules
from archipel.lab.state import Lease, Phase, Run

MAX_WEIGHTS_BYTES = 2**24


def _offer(asking: Asking) -> FoundSpec:
    return FoundSpec(run=asking.run.name)


def _founding(run: Run, is_leased: bool) -> Run:
    return tally.with_course(run, replace(tally.course(run), founding=is_leased))


def _due(run: Run) -> bool:
    return run.phase is not Phase.STOPPED and not run.chain and not tally.course(run).founding


def _nothing_more(run: Run, lease: Lease, answer: FoundAnswer, read: ReadBlob) -> None:
    """Whoever uses the weights compares them with their digest."""


def _accepted(run: Run, lease: Lease, answer: FoundAnswer, moment: Moment) -> Run:
    made = WORDS.publishes(answer)
    assert made is not None
    return published(_founding(run, False), made, moment.entry, moment.at_ms, {})


RULES = Rules(
    words=WORDS,
    programme="tally",
    slice=None,
    audited=False,
    needs=lambda run: None,
    due=_due,
    offer=_offer,
    patience_ms=lambda run, node, spec: 60_000,
    price_micro=lambda run, spec: 0,
    most_tokens=lambda run, spec: 0,
    upload_limit=lambda run, lease: MAX_WEIGHTS_BYTES,
    check=lambda run, lease, answer: None,
    inspect=_nothing_more,
    granted=lambda run, lease: _founding(run, True),
    given_up=lambda run, lease: _founding(run, False),
    accepted=_accepted,
    earned=lambda run, lease, answer: lease.price_micro,
    effort=lambda lease, answer: Effort(units=0, tokens=0, bytes_in=0),
    copies=None,
    size=lambda spec: 0,
    inputs=lambda run, spec: None,
    shows=lambda run: {},
    keeps=lambda run: (),
)
