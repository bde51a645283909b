"""Every alarm of a run is named while it happens, in the live view, the lines of a watcher, the page, and at the end."""

import re
from collections.abc import Callable, Sequence

import pytest
from rich.console import Console

from archipel.cli.following import News, line
from archipel.cli.run_page import for_machines, page
from archipel.cli.watching import Scene, picture
from archipel.curves.concerns import GRAVE, concerns
from archipel.curves.history import Exam, History, Point
from archipel.curves.spells import over, spells_of
from archipel.records.documents import RunView
from archipel.records.recipe_alarms import AlarmSection
from histories import exam, healthy, history

VERSIONS, BEGINS, WINDOW = 40, 16, AlarmSection().window
Values = dict[str, float]


def _reward(version: int) -> float:
    """It rises all the while."""
    return 0.2 + 0.01 * version


def _held_out(version: int, **values: float) -> Exam:
    many = values.pop("pass_at_8", 0.8)
    scored = {"pass_at_8": many, "pass_at_8_low": many - 0.05, "pass_at_8_high": many + 0.05}
    return Exam(version, exam(version, 0.5).values | scored | values)


NO_EXAMS: tuple[Exam, ...] = ()
PLANTED: dict[str, tuple[str, Values, Sequence[Exam]]] = {
    "majority baseline": (
        "collapse",
        {"commonest_answer": 0.95, "constant_reward": 0.7},
        NO_EXAMS,
    ),
    "majority baseline, held out": (
        "majority",
        {},
        (_held_out(0), _held_out(BEGINS, greedy_reward=0.5, commonest_answer=0.5, constant_reward=0.55)),
    ),
    "distinct answers": (
        "few-answers",
        {"distinct_answers": 3.0, "commonest_answer": 0.5, "constant_reward": 0.6},
        NO_EXAMS,
    ),
    "entropy": ("collapse", {"entropy": 0.01}, NO_EXAMS),
    "pass@k falling": ("worse", {}, (_held_out(0), _held_out(BEGINS, pass_at_8=0.5))),
    "zero-advantage share": ("few-teach", {"zero_advantage_groups": 30.0}, NO_EXAMS),
    "cut answers": ("cut-off", {"finished_fraction": 0.1}, NO_EXAMS),
}  # fmt: skip


def collapsing(planted: Values, exams: Sequence[Exam], until: int = VERSIONS) -> History:
    """A healthy run whose reward rises; from `BEGINS` on it has what was planted."""

    def values(version: int) -> Values:
        before = {"distinct_answers": 40.0, "commonest_answer": 0.3, "constant_reward": 0.1}
        return {"reward": _reward(version)} | before | (planted if version >= BEGINS else {})

    return history(until, values, tuple(each for each in exams if each.version <= until))


def view(version: int, phase: str = "running") -> RunView:
    return RunView(
        run="run", programme="rl", phase=phase, version=version, versions=VERSIONS, recipe="sha256:0",
        opened_at_ms=0, published_at_ms=(1,), learner_utilisation=0.5, reward=0.25, rewards=(0.2, 0.25),
        evaluations=(), spent_micro=0, progress={},
    )  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_collapse_is_named_everywhere_while_the_reward_rises(name: str) -> None:
    kind, planted, exams = PLANTED[name]
    news, told_at = News(), None
    for version in range(1, VERSIONS + 1):
        so_far = collapsing(planted, exams, version)
        events = [*news.of(Scene([view(version)], [], [], {"run": so_far}), view(version))]
        told = [line(event) for event in events if event["event"] == "warning"]
        if told:
            assert told_at is None, "once"
            told_at = version
            assert all(f", {kind}: " in each for each in told), told
    assert told_at is not None
    assert BEGINS <= told_at <= BEGINS + WINDOW - 1, "as soon as a window shows it"
    rewards = [point.values["reward"] for point in so_far.points[1:]]
    assert rewards == sorted(rewards)
    assert f"warning         {kind}: " in page(view(VERSIONS), so_far, [])
    assert kind in [each["kind"] for each in for_machines(view(VERSIONS), so_far, [])["alarms"]]
    console = Console(width=300)
    with console.capture() as screen:
        console.print(picture(Scene([view(VERSIONS)], [], [], {"run": so_far}), 300, 50))
    assert f"warning, {kind}: " in screen.get()
    done = view(VERSIONS, "complete")
    (end,) = news.of(Scene([done], [], [], {"run": so_far}), done)
    assert line(end).endswith(f"with warnings that stand: {kind}")


@pytest.mark.parametrize("name", PLANTED)
def test_the_same_run_without_what_was_planted_gives_no_alarm(name: str) -> None:
    assert spells_of(collapsing({}, ())) == []
    kind, planted, exams = PLANTED[name]
    assert [spell.kind for spell in spells_of(collapsing(planted, exams))] == [kind]


def _cut_for_a_while(version: int) -> Values:
    return {"finished_fraction": 0.1 if 10 <= version < 20 else 0.9}


def test_what_stood_on_the_way_is_told_at_the_end_though_nobody_looked_then() -> None:
    whole = history(VERSIONS, _cut_for_a_while)
    assert concerns(whole) == []
    (spell,) = spells_of(whole)
    assert (spell.kind, spell.first, spell.last) == ("cut-off", 12, 21)
    done = view(VERSIONS, "complete")
    *_, end = News().of(Scene([done], [], [], {"run": whole}), done)
    assert line(end).endswith(
        "with warnings that stand: none; earlier: cut-off at versions 12 to 21"
    )
    shown = page(done, whole, [])
    assert re.search(r"earlier +warnings of cut-off at versions 12 to 21", shown)
    assert over([spell], ["cut-off"]) == []


def test_an_alarm_hears_only_of_evaluations_that_there_were_then() -> None:
    exams = (exam(0, 0.8), exam(30, 0.4))
    flat: Callable[[int], Values] = lambda version: {"reward": 0.4}  # noqa: E731
    (spell,) = spells_of(history(VERSIONS, flat, exams))
    assert (spell.kind, spell.first) == ("worse", 30)
    assert str(spell) == "worse at versions 30 to 40"


def test_few_answers_that_earn_more_than_their_commonest_are_no_alarm() -> None:
    planted = {"distinct_answers": 2.0, "commonest_answer": 0.6, "constant_reward": 0.2}
    assert spells_of(collapsing(planted, ())) == [], "two answers, and it knows which"
    assert [*GRAVE & {"few-answers", "majority"}] == [], "they pause nothing"


def test_a_run_of_any_length_is_gone_through_in_bounded_time() -> None:
    points = tuple(Point(n, 0.0, healthy(n) | {"reward": 0.5, "entropy": 1.0}) for n in range(5000))
    assert spells_of(History("run", 5000, points, ())) == []
