"""What leases on a door's questions do to its run, the same for both kinds of work. Pure."""

from collections.abc import Iterable

from archipel.lab import refusals
from archipel.lab.programmes import door, door_questions, door_shares
from archipel.lab.programmes.door import Answered, Asked, Held
from archipel.lab.rules import Asking, Moment
from archipel.lab.state import Lease, Node, Run
from archipel.records.changed import changed
from archipel.records.kinds.adapt import AdaptAnswer, AdaptSpec
from archipel.records.kinds.sample import SampleAnswer, SampleSpec
from archipel.records.words import Needs

UNMEASURED = 10
"""A node's first lease lasts so many times the shortest deadline."""

Spec = AdaptSpec | SampleSpec
Answer = AdaptAnswer | SampleAnswer


def next_for(asking: Asking, kind: str) -> Asked | None:
    """The question that the node which asks is given: not one that is too old, nor one that its own operator answered
    before and that is done again.
    """
    asked = door.course(asking.run).asked
    return door.next_of(asking.run, kind, _may_take(asking, asked.values()))


def _may_take(asking: Asking, asked: Iterable[Asked]) -> list[int]:
    found = []
    for each in asked:
        is_own = each.before is not None and each.before.node in asking.here(asking.node.did)
        if asking.now_ms < each.until_ms and not is_own:
            found.append(each.number)
    return found


def patience_ms(run: Run, node: Node, spec: Spec) -> int:
    """By the node's own tokens a second; before these are measured, long."""
    pace, known = door.pace(run), node.speed(spec.kind, run.name)
    wanted = UNMEASURED * pace.min_deadline_ms
    if known.rate_micro:
        expected_ms = spec.num_tokens * 1_000_000_000 // known.rate_micro
        wanted = max(pace.min_deadline_ms, expected_ms * pace.slack_milli // 1000)
    return min(wanted << known.setbacks, run.opened.terms.trusted_deadline_ms)


def granted(run: Run, lease: Lease, wanted: Spec, needs: Needs) -> Run:
    """A question is in a node's hands. wanted: what it is leased as.

    Raises:
        ValueError: nobody is to be given it, or not so.
    """
    spec, slice_ = _spec(lease), door.course(run)
    number = spec.question
    if spec != wanted or number not in slice_.ready:
        raise ValueError(
            f"{lease.work} is about question {number}, which is not so, or not for anybody now"
        )
    asked = slice_.asked[number]
    steps = door_shares.cost(asked.num_tokens, asked.share)
    run = door_questions.unready(run, number)
    held = Held(number, asked.tenant, steps, needs.blobs)
    return door.with_course(
        run,
        held=slice_.held.put(lease.work, held),
        shares=door_shares.charged(slice_.shares, asked.tenant, steps),
    )


def given_up(run: Run, lease: Lease) -> Run:
    """Somebody else is given it, if anybody still needs it."""
    slice_ = door.course(run)
    held = slice_.held[lease.work]
    run = door.with_course(
        run,
        held=slice_.held.drop(lease.work),
        shares=door_shares.given_back(slice_.shares, held.tenant, held.steps),
    )
    run = door.counted(run, came_back=1)
    slice_ = door.course(run)
    asked = slice_.asked.get(held.number)
    if asked is None:
        return run
    again = changed(asked, came_back=asked.came_back + 1)
    ends_ms = min(slice_.ends_ms or asked.until_ms, asked.until_ms)
    run = door.with_course(run, asked=slice_.asked.put(held.number, again), ends_ms=ends_ms)
    return door_questions.made_ready(run, held.number)


def accepted(run: Run, lease: Lease, answer: Answer, moment: Moment) -> Run:
    """The answer is kept for the door, which may not need it any more."""
    slice_ = door.course(run)
    held = slice_.held[lease.work]
    run = _counted(door.with_course(run, held=slice_.held.drop(lease.work)), answer)
    asked = slice_.asked.get(held.number)
    if asked is not None:
        kept = Answered(
            number=held.number,
            num_tokens=answer.num_tokens,
            question=asked.question,
            answer=answer,
            node=lease.node,
            grant=lease.entry,
            entry=moment.entry,
            until_ms=moment.at_ms + door.pace(run).keep_ms,
        )
        run = door_questions.answered(run, kept)
    return door_questions.swept(run, moment.at_ms)


def _counted(run: Run, answer: Answer) -> Run:
    if isinstance(answer, AdaptAnswer):
        return door.counted(run, adapted=1, adapt_tokens=answer.num_tokens)
    return door.counted(run, sampled=1, sample_tokens=answer.num_tokens)


def check_size(what: str, size: int, most: int) -> None:
    """Refuse a blob that is larger than the run allows."""
    if size > most:
        raise refusals.TooLarge(f"{what} of {size} bytes; this run takes at most {most}")


def _spec(lease: Lease) -> Spec:
    if not isinstance(lease.spec, AdaptSpec | SampleSpec):
        raise TypeError(f"{lease.work} is {lease.spec.kind} work")
    return lease.spec
