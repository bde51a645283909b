"""What becomes of a door's questions: they are entered, made ready, answered, compared, withdrawn, too old. Pure.

The places that a question can be in stand in `door`.
"""

from collections.abc import Iterable

from archipel.lab.programmes.door import (
    Answered,
    Asked,
    Before,
    Compared,
    counted,
    course,
    with_course,
)
from archipel.lab.state import Run
from archipel.records.changed import changed
from archipel.records.door import AdaptQuestion, DoorAsked, SampleQuestion
from archipel.records.kinds.adapt import AdaptAnswer

MAX_COMPARED = 64
"""Newest questions that were done again, whose outcome is shown; the ledger has all."""


def entered(run: Run, said: DoorAsked, at_ms: int) -> Run:
    """The run with one question more.

    Raises:
        KeyError: it builds on one that is gone.
    """
    question, before = said.question, None
    if isinstance(question, AdaptQuestion):
        question, before = _resolved(run, question)
    until_ms = at_ms + said.lasts_ms
    asked = Asked(said.number, said.tenant, said.share, said.num_tokens, until_ms, question, before)
    slice_ = course(run)
    ends_ms = min(slice_.ends_ms or until_ms, until_ms)
    run = with_course(
        run,
        next_number=said.number + 1,
        asked=slice_.asked.put(said.number, asked),
        ends_ms=ends_ms,
    )
    return run if _is_behind(question) else made_ready(run, said.number)


def _resolved(run: Run, question: AdaptQuestion) -> tuple[AdaptQuestion, Before | None]:
    """With the state or the operations that an answered question brings."""
    slice_ = course(run)
    if question.again is not None:
        known = slice_.answered[question.again]
        if not isinstance(known.question, AdaptQuestion) or not isinstance(
            known.answer, AdaptAnswer
        ):
            raise TypeError(f"question {question.again} sampled; only training is done again")
        return known.question, Before(known.number, known.node, known.answer)
    if question.after is None or question.after in slice_.asked:
        return question, None
    answer = slice_.answered[question.after].answer
    if not isinstance(answer, AdaptAnswer):
        raise TypeError(f"question {question.after} sampled; no state comes of it")
    return _going_on(question, answer), None


def _going_on(question: AdaptQuestion, answer: AdaptAnswer) -> AdaptQuestion:
    return question.model_copy(update={"after": None, "state": answer.state})


def _is_behind(question: AdaptQuestion | SampleQuestion) -> bool:
    return isinstance(question, AdaptQuestion) and question.after is not None


def made_ready(run: Run, number: int) -> Run:
    """A question can be handed out."""
    slice_ = course(run)
    kind = slice_.asked[number].question.kind
    return with_course(
        run,
        ready=slice_.ready.put(number, kind),
        num_adapts=slice_.num_adapts + (kind == "adapt"),
    )


def unready(run: Run, number: int) -> Run:
    """A ready question cannot be handed out any more.

    Raises:
        KeyError: it was not ready.
    """
    slice_ = course(run)
    kind = slice_.ready[number]
    return with_course(
        run,
        ready=slice_.ready.drop(number),
        num_adapts=slice_.num_adapts - (kind == "adapt"),
    )


def answered(run: Run, kept: Answered) -> Run:
    """The run with an answer more; what was behind it is ready."""
    slice_ = course(run)
    before = slice_.asked[kept.number].before
    run = with_course(
        run,
        asked=slice_.asked.drop(kept.number),
        answered=slice_.answered.put(kept.number, kept),
        ends_ms=min(slice_.ends_ms or kept.until_ms, kept.until_ms),
    )
    if not isinstance(kept.answer, AdaptAnswer):
        return run
    if before is not None:
        run = _compared(run, kept, before, kept.answer)
    for each in _behind(run, (kept.number,)):
        question = course(run).asked[each].question
        if isinstance(question, AdaptQuestion):
            question = _going_on(question, kept.answer)
        asked = course(run).asked.put(each, changed(course(run).asked[each], question=question))
        run = made_ready(with_course(run, asked=asked), each)
    return run


def _compared(run: Run, kept: Answered, before: Before, answer: AdaptAnswer) -> Run:
    """What came of doing it again."""
    earlier = before.answer
    is_same = (earlier.state, earlier.outcomes) == (answer.state, answer.outcomes)
    found = Compared(
        kept.number,
        before.number,
        (before.node, kept.node),
        (earlier.machine, answer.machine),
        is_same,
    )
    run = counted(run, same=is_same, different=not is_same)
    return with_course(run, compared=(*course(run).compared, found)[-MAX_COMPARED:])


def _behind(run: Run, numbers: Iterable[int]) -> list[int]:
    """Questions that go on from one of these."""
    wanted = set(numbers)
    return sorted(
        number
        for number, each in course(run).asked.items()
        if isinstance(each.question, AdaptQuestion) and each.question.after in wanted
    )


def gone(run: Run, numbers: Iterable[int]) -> Run:
    """The run without these questions and answers, and without what is behind one of them."""
    left = sorted(set(numbers))
    while left:
        following = _behind(run, left)
        run = counted(run, gone=sum(number in course(run).asked for number in left))
        for number in left:
            if number in course(run).ready:
                run = unready(run, number)
        slice_ = course(run)
        run = with_course(
            run,
            asked=slice_.asked.drop(*(each for each in left if each in slice_.asked)),
            answered=slice_.answered.drop(*(each for each in left if each in slice_.answered)),
        )
        left = following
    return run


def swept(run: Run, now_ms: int) -> Run:
    """The run without what has grown too old; a question in a node's hands has not."""
    slice_ = course(run)
    if not slice_.ends_ms or now_ms < slice_.ends_ms:
        return run
    busy = {each.number for each in slice_.held.values()}
    ends = {number: each.until_ms for number, each in slice_.answered.items()}
    ends |= {number: each.until_ms for number, each in slice_.asked.items() if number not in busy}
    run = gone(run, [number for number, until_ms in ends.items() if until_ms <= now_ms])
    slice_ = course(run)
    left = [each.until_ms for each in slice_.asked.values()]
    left += [each.until_ms for each in slice_.answered.values()]
    return with_course(run, ends_ms=min((each for each in left if each > now_ms), default=0))
