"""Adapt work in the lab: a door's questions to train, for whom the run trusts or who vouches with enough. Pure."""

from archipel.lab import refusals
from archipel.lab.programmes import door
from archipel.lab.programmes.door import Asked
from archipel.lab.programmes.door_leases import (
    accepted,
    check_size,
    given_up,
    granted,
    next_for,
    patience_ms,
)
from archipel.lab.rules import Asking, Crowd, Effort, ReadBlob, Rules
from archipel.lab.state import Lease, Run
from archipel.records.door import AdaptQuestion
from archipel.records.kinds.adapt import WORDS, AdaptAnswer, AdaptSpec


def _may_have(run: Run, crowd: Crowd, now_ms: int, did: str) -> bool:
    return door.pace(run).adapt == "staked" or did in run.opened.trusted


def _called(run: Run, crowd: Crowd, now_ms: int) -> frozenset[str] | None:
    return None if door.pace(run).adapt == "staked" else frozenset(run.opened.trusted)


def _offer(asking: Asking) -> AdaptSpec | None:
    asked = next_for(asking, WORDS.name)
    return None if asked is None else _handed_out(asking.run, asked)


def _handed_out(run: Run, asked: Asked) -> AdaptSpec:
    question = asked.question
    if not isinstance(question, AdaptQuestion) or question.operations is None:
        raise TypeError(f"question {asked.number} of {run.name} is none to adapt")
    return AdaptSpec(
        run=run.name,
        question=asked.number,
        begins=question.begins,
        state=question.state,
        operations=question.operations,
        num_tokens=asked.num_tokens,
    )


def _granted(run: Run, lease: Lease) -> Run:
    spec = _spec(lease)
    wanted = _handed_out(run, door.course(run).asked[spec.question])
    return granted(run, lease, wanted, WORDS.needs(spec))


def _check(run: Run, lease: Lease, answer: AdaptAnswer) -> None:
    """1 the tokens are those that the door counted  2 what it brings is no larger than such things are"""
    # 1
    spec, pace = _spec(lease), door.pace(run)
    if answer.num_tokens != spec.num_tokens:
        raise refusals.WrongShape(
            f"num_tokens says {answer.num_tokens}; the operations of question {spec.question} have {spec.num_tokens}"
        )
    # 2
    check_size("a state", answer.state.size, pace.state_bytes)
    check_size("outcomes", answer.outcomes.size, pace.answer_bytes)


def _inspect(run: Run, lease: Lease, answer: AdaptAnswer, read: ReadBlob) -> None:
    """The lab computes with no tensors: that the state is right, another node's doing it again shows."""


def _upload_limit(run: Run, lease: Lease) -> int:
    return door.pace(run).state_bytes + door.pace(run).answer_bytes


def _spec(lease: Lease) -> AdaptSpec:
    if not isinstance(lease.spec, AdaptSpec):
        raise TypeError(f"{lease.work} is {lease.spec.kind} work")
    return lease.spec


RULES = Rules(
    words=WORDS,
    programme="door",
    slice=None,
    audited=False,
    due=lambda run: door.num_ready(run, WORDS.name) > 0,
    needs=lambda run: None,
    deposit_micro=lambda run: door.pace(run).deposit_micro or 0,
    may_have=_may_have,
    called=_called,
    offer=_offer,
    patience_ms=patience_ms,
    price_micro=lambda run, spec: door.pace(run).adapt_micro(spec.num_tokens),
    most_tokens=lambda run, spec: 0,
    upload_limit=_upload_limit,
    check=_check,
    inspect=_inspect,
    granted=_granted,
    given_up=given_up,
    accepted=accepted,
    earned=lambda run, lease, answer: lease.price_micro,
    effort=lambda lease, answer: Effort(
        answer.num_tokens, answer.num_tokens, answer.state.size + answer.outcomes.size
    ),
    copies=None,
    size=lambda spec: 1,
    inputs=lambda run, spec: None,
    shows=lambda run: {},
    keeps=lambda run: (),
)
