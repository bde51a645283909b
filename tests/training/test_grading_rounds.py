"""The time of a batch: bounded whatever it holds, and nobody's slow text takes another's time."""

from collections.abc import Callable, Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from archipel.work.grading.rounds import Allotment, graded

SECONDS = st.floats(0.001, 20.0)


class Machine:
    """Gradings that take the seconds that they are called, by a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def attempt(
        self, questions: Sequence[tuple[int, float]], limit_s: Callable[[int], float]
    ) -> Iterator[tuple[tuple[int, float], str | None]]:
        for place, question in enumerate(questions):
            allowed_s = max(limit_s(place), 0.0)
            self.now_s += min(question[1], allowed_s)
            yield question, "answer" if question[1] <= allowed_s else None

    def batch(self, times_s: list[float], allotment: Allotment) -> dict[int, str | None]:
        questions = list(enumerate(times_s))
        said = list(graded(questions, allotment, self.attempt, lambda: self.now_s))
        assert sorted(question for question, _ in said) == questions
        return {question[0]: answer for question, answer in said}


@given(st.lists(SECONDS, max_size=40), SECONDS, SECONDS)
def test_each_question_is_answered_once_and_all_within_the_budget(
    times_s: list[float], limit_s: float, budget_s: float
) -> None:
    machine = Machine()
    said = machine.batch(times_s, Allotment(limit_s, budget_s))
    assert machine.now_s <= budget_s * (1 + 1e-9)
    assert not any(said[n] for n, time_s in enumerate(times_s) if time_s > limit_s)


@given(st.lists(SECONDS, min_size=1, max_size=40), SECONDS, SECONDS)
def test_whoever_needs_no_more_than_an_equal_part_is_answered_whatever_the_others_do(
    times_s: list[float], limit_s: float, budget_s: float
) -> None:
    allotment = Allotment(limit_s, budget_s)
    said = Machine().batch(times_s, allotment)
    quick_s = allotment.first_s(len(times_s))
    assert all(said[n] for n, time_s in enumerate(times_s) if time_s < quick_s * (1 - 1e-9))


def test_one_slow_question_has_all_the_time_that_the_quick_ones_leave() -> None:
    said = Machine().batch([0.01] * 100 + [4.0], Allotment(5.0, 10.0))
    assert all(said.values())


def test_where_there_is_time_for_all_there_is_one_round() -> None:
    machine = Machine()
    machine.batch([9.0, 0.1], Allotment(2.0, 100.0))
    assert machine.now_s == 2.0 + 0.1


def test_an_empty_batch_is_over_at_once() -> None:
    assert Machine().batch([], Allotment(1.0, 1.0)) == {}
