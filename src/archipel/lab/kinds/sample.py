"""Sample work in the lab: a door's questions to sample, for any node. Pure."""

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
from archipel.lab.rules import Asking, Effort, ReadBlob, Rules
from archipel.lab.state import Lease, Run
from archipel.records.door import SampleQuestion, policy_of
from archipel.records.kinds.sample import WORDS, SampleAnswer, SampleSpec


def _offer(asking: Asking) -> SampleSpec | None:
    asked = next_for(asking, WORDS.name)
    return None if asked is None else _handed_out(asking.run, asked)


def _handed_out(run: Run, asked: Asked) -> SampleSpec:
    question = asked.question
    if not isinstance(question, SampleQuestion):
        raise TypeError(f"question {asked.number} of {run.name} is none to sample")
    files = ((file.name, file.blob.digest) for file in run.opened.model)
    over = None if question.adapter is None else question.adapter.digest
    return SampleSpec(
        run=run.name,
        question=asked.number,
        policy=policy_of(files, over),
        adapter=question.adapter,
        questions=question.questions,
        num_tokens=asked.num_tokens,
    )


def _granted(run: Run, lease: Lease) -> Run:
    spec = _spec(lease)
    wanted = _handed_out(run, door.course(run).asked[spec.question])
    return granted(run, lease, wanted, WORDS.needs(spec))


def _check(run: Run, lease: Lease, answer: SampleAnswer) -> None:
    """1 the weights  2 no more tokens than were asked for  3 no more bytes than answers have"""
    spec, pace = _spec(lease), door.pace(run)
    # 1
    if answer.policy != spec.policy:
        raise refusals.WrongPolicy(f"sampled from {answer.policy}, the lease says {spec.policy}")
    # 2
    if answer.num_tokens > spec.num_tokens:
        raise refusals.WrongShape(
            f"num_tokens says {answer.num_tokens}; question {spec.question} allows {spec.num_tokens}"
        )
    # 3
    check_size("samples", answer.result.size, pace.answer_bytes)


def _inspect(run: Run, lease: Lease, answer: SampleAnswer, read: ReadBlob) -> None:
    """What the bytes say, the door reads: no other answer depends on them."""


def _spec(lease: Lease) -> SampleSpec:
    if not isinstance(lease.spec, SampleSpec):
        raise TypeError(f"{lease.work} is {lease.spec.kind} work")
    return lease.spec


RULES = Rules(
    words=WORDS,
    programme="door",
    slice=None,
    audited=False,
    due=lambda run: door.num_ready(run, WORDS.name) > 0,
    needs=lambda run: None,
    offer=_offer,
    patience_ms=patience_ms,
    price_micro=lambda run, spec: door.pace(run).sample_micro(spec.num_tokens),
    most_tokens=lambda run, spec: 0,
    upload_limit=lambda run, lease: door.pace(run).answer_bytes,
    check=_check,
    inspect=_inspect,
    granted=_granted,
    given_up=given_up,
    accepted=accepted,
    earned=lambda run, lease, answer: min(
        door.pace(run).sample_micro(answer.num_tokens), lease.price_micro
    ),
    effort=lambda lease, answer: Effort(answer.num_tokens, answer.num_tokens, answer.result.size),
    copies=None,
    size=lambda spec: 1,
    inputs=lambda run, spec: None,
    shows=lambda run: {},
    keeps=lambda run: (),
)
