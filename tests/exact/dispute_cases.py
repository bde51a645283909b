"""Disputes for tests: a rollout as an honest party wrote it down, who judges it, and parties that lie or refuse."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from archipel.engine.exact.dispute import Verdict, settle
from archipel.engine.exact.judge import Judge
from archipel.engine.exact.parties import Ask, Party, TraceParty
from archipel.engine.exact.trace import Question, Trace, traced
from archipel.engine.exact.variants import VARIANTS
from archipel.model.config import Family
from archipel.model.manifest import describe
from exact.exact_models import exact_engine, mixed_requests, sampled, world


@cache
def case(family: Family, variant: str, length: int = 7) -> tuple[Judge, Trace]:
    """A rollout of a prompt of this length as an honest party wrote it down, and who judges."""
    config, state = world(family)
    request = replace(mixed_requests(64, (length,))[0], max_new_tokens=5, temperature=0.8)
    (recorded,) = sampled(exact_engine(config, state, variant), [request])
    manifest = describe(state, 0, None)
    question = Question(
        VARIANTS[variant].identity, manifest.state, request.prompt,
        recorded.rollouts[1].tokens, request.seed, 1, request.temperature,
    )  # fmt: skip
    return Judge(config, state, manifest, question), traced(config, state, question)


def lying(trace: Trace, number: int, position: int, element: int, *, on: bool = False) -> Trace:
    """One number is another; with `on`, all that comes later is, too."""
    values = [each.copy() for each in trace.values]
    shift = len(trace.question.prompt) - 1
    for index, step in enumerate(trace.steps):
        at = position - (shift if step.late else 0)
        if index == number:
            values[index][at, element] += 1
        if on:
            values[index][max(at + (index <= number), 0) :] += 3
    return replace(trace, values=tuple(values))


def settled(judge: Judge, mine: Party, theirs: Party) -> Verdict:
    verdict = settle(mine, theirs, judge)
    told = verdict.transcript
    assert len(told.asks) < 200
    assert told.other_bytes < 1024 - 256
    if verdict.place is not None and verdict.place.step.endswith(" mixed"):
        assert told.other_bytes + told.evidence_bytes < 1024
    return verdict


class Twisted:
    """Answers honestly from what it committed to, except once."""

    def __init__(
        self, inner: TraceParty, what: str, twist: Callable[[bytes], bytes | None]
    ) -> None:
        self.question, self.root = inner.question, inner.root
        self._inner, self._what, self._twist, self.done = inner, what, twist, False

    def answer(self, ask: Ask) -> bytes | None:
        answer = self._inner.answer(ask)
        if ask.what == self._what and answer is not None:
            self.done = True
            return self._twist(answer)
        return answer


TWISTS: dict[str, Callable[[bytes], bytes | None]] = {
    "other bytes": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "other end": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "too short": lambda data: data[:-1],
    "too long": lambda data: data + b"0",
    "nothing": lambda data: None,
    "empty": lambda data: b"",
}
