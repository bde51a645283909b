"""How long each grading of a batch may take, so that the batch ends in its time whatever it holds.

Two rounds. In the first, each gets an equal part of half the time; most need a thousandth of it. What was
cut off starts again in the second, with an equal part of what is left. So nobody's slow text takes the
time of another's quick one, and a slow grader still has all the time that there is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

Q = TypeVar("Q")
R = TypeVar("R")


Attempt = Callable[[Sequence[Q], Callable[[int], float]], Iterable[tuple[Q, R | None]]]
"""Grades in order; None where the time was not enough. Its second argument tells the time in seconds that
the question at a place has, when its turn comes."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """The time of one batch."""

    limit_s: float
    """One grading may take so long, however much there is for the batch."""
    budget_s: float
    """The whole batch may take so long."""

    def first_s(self, count: int) -> float:
        """Each grading's time in the first round."""
        return min(self.limit_s, self.budget_s / 2 / max(count, 1))


def graded(
    questions: Sequence[Q], allotment: Allotment, attempt: Attempt[Q, R], now_s: Callable[[], float]
) -> Iterator[tuple[Q, R | None]]:
    """Every question once, with its answer, or None when its time was not enough.

    now_s: a monotonic clock.
    """
    ends_s = now_s() + allotment.budget_s
    first_s = allotment.first_s(len(questions))

    def at_first(place: int) -> float:
        return min(first_s, ends_s - now_s())

    late: list[Q] = []
    for question, answer in attempt(questions, at_first):
        if answer is not None or first_s == allotment.limit_s:
            yield question, answer
        else:
            late.append(question)

    def at_last(place: int) -> float:
        return min(allotment.limit_s, (ends_s - now_s()) / (len(late) - place))

    yield from attempt(late, at_last)
