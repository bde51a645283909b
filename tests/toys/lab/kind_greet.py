"""Greet work in the lab: once per run, whatever its programme. Pure."""

from dataclasses import dataclass, replace

from archipel.records.kinds.greet import WORDS, GreetAnswer, GreetSpec

from archipel.lab.rules import Asking, Effort, Moment, ReadBlob, Rules
from archipel.lab.state import Lease, Phase, Run

PRICE_MICRO = 11


@dataclass(frozen=True, slots=True)
class Greeting:
    """Whether it was said."""

    leased: bool = False
    said: str = ""


def greeting(run: Run) -> Greeting:
    found = run.attached.get(WORDS.name, Greeting())
    assert isinstance(found, Greeting)
    return found


def _with(run: Run, changed: Greeting) -> Run:
    return replace(run, attached={**run.attached, WORDS.name: changed})


def _due(run: Run) -> bool:
    known = greeting(run)
    return run.phase is not Phase.STOPPED and not known.leased and not known.said


def _accepted(run: Run, lease: Lease, answer: GreetAnswer, moment: Moment) -> Run:
    return _with(run, Greeting(leased=False, said=answer.said))


def _nothing_more(run: Run, lease: Lease, answer: GreetAnswer, read: ReadBlob) -> None:
    """Its words are all there is."""


def _offer(asking: Asking) -> GreetSpec:
    return GreetSpec(run=asking.run.name)


RULES = Rules(
    words=WORDS,
    programme=None,
    slice=Greeting,
    audited=False,
    needs=lambda run: None,
    due=_due,
    offer=_offer,
    patience_ms=lambda run, node, spec: 30_000,
    price_micro=lambda run, spec: PRICE_MICRO,
    most_tokens=lambda run, spec: 0,
    upload_limit=lambda run, lease: 0,
    check=lambda run, lease, answer: None,
    inspect=_nothing_more,
    granted=lambda run, lease: _with(run, Greeting(leased=True)),
    given_up=lambda run, lease: _with(run, Greeting()),
    accepted=_accepted,
    earned=lambda run, lease, answer: lease.price_micro,
    effort=lambda lease, answer: Effort(units=1, tokens=0, bytes_in=0),
    copies=None,
    size=lambda spec: 1,
    inputs=lambda run, spec: None,
    shows=lambda run: {"greeting": greeting(run).said},
    keeps=lambda run: (),
)
