"""How an agent bears an absent lab: by a clock that stands unless the story moves it."""

import asyncio
import types

import pytest

from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.patience import Interrupt, NodeFailed, Patience

URL = "http://lab"


class Absence:
    """A lab that is away; every question and the wait after it take so long by the fake clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, question_s: float) -> None:
        self.now_s, self.question_s = 1000.0, question_s
        self.questions = 0
        self.waits: list[int] = []
        self.back_at: int | None = None
        """The number of the question that gets an answer."""
        clock = types.SimpleNamespace(monotonic=lambda: self.now_s)
        monkeypatch.setattr("archipel.node.patience.time", clock)
        monkeypatch.setattr("archipel.node.patience.backoff_s", self._wait)

    def _wait(self, attempt: int, draw: float) -> float:
        self.waits.append(attempt)
        return 0.0

    async def ask(self) -> str:
        self.questions += 1
        self.now_s += self.question_s
        if self.questions == self.back_at:
            return "answer"
        raise LabUnreachable("connection refused")


def outlast(
    absence: Absence, give_up_s: float | None = None, limit_s: float | None = None, presses: int = 0
) -> str:
    interrupt = Interrupt()
    for _ in range(presses):
        interrupt.press()
    return asyncio.run(Patience(URL, interrupt, give_up_s).patiently(absence.ask, limit_s))


@pytest.fixture
def absence(monkeypatch: pytest.MonkeyPatch) -> Absence:
    return Absence(monkeypatch, 4.0)


def test_a_lab_is_asked_again_with_growing_waits_until_it_answers(absence: Absence) -> None:
    absence.back_at = 6
    assert outlast(absence) == "answer"
    assert absence.waits == [0, 1, 2, 3, 4]


def test_an_operators_patience_ends_when_the_lab_was_away_for_longer(absence: Absence) -> None:
    with pytest.raises(NodeFailed, match=r"no lab at http://lab for 16 s \(connection refused\)"):
        outlast(absence, give_up_s=12.0)
    assert absence.questions == 4, "12 s are not longer than 12 s"


def test_an_operator_without_a_limit_has_patience_for_ever(absence: Absence) -> None:
    absence.back_at = 500
    assert outlast(absence) == "answer"


def test_what_has_a_limit_of_its_own_is_tried_until_it_is_over(absence: Absence) -> None:
    with pytest.raises(LabUnreachable, match="connection refused"):
        outlast(absence, limit_s=8.0)
    assert absence.questions == 3, "8 s are not over after 8 s"


@pytest.mark.parametrize(
    ("limit_s", "presses", "questions"),
    [
        (None, 1, 1),
        (None, 2, 1),
        (8.0, 1, 3),  # an answer on its way is still brought
        (8.0, 2, 1),
    ],
)
def test_ctrl_c_ends_the_waiting_for_new_work_and_twice_that_for_everything(
    absence: Absence, limit_s: float | None, presses: int, questions: int
) -> None:
    with pytest.raises(LabUnreachable):
        outlast(absence, limit_s=limit_s, presses=presses)
    assert absence.questions == questions


def test_a_long_pause_ends_when_the_operator_is_in_a_hurry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[int] = []

    def for_ever(attempt: int, draw: float) -> float:
        begun.append(attempt)
        return 3600.0

    monkeypatch.setattr("archipel.node.patience.backoff_s", for_ever)

    async def story() -> None:
        interrupt = Interrupt()
        pausing = asyncio.create_task(Patience(URL, interrupt, None).pause(3, "no answer", ""))
        await some_turns()
        assert begun == [3]
        interrupt.press()
        await some_turns()
        assert not pausing.done(), "what is leased is still to be finished"
        interrupt.press()
        await asyncio.wait_for(pausing, 30.0)

    asyncio.run(story())


async def some_turns() -> None:
    """Of the event loop: whoever can go on has."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_stranger_in_the_labs_place_is_borne_no_longer_than_its_absence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [100.0]
    monkeypatch.setattr("archipel.node.patience.time.monotonic", lambda: now_s[0])
    patience = Patience(URL, Interrupt(), 12.0)
    stranger = LabRefused("unexpected-answer", "this is no lab", 404)
    patience.no_lab(stranger)
    now_s[0] += 12.0
    patience.no_lab(stranger)
    patience.found_lab()
    now_s[0] += 5.0
    patience.no_lab(stranger)
    now_s[0] += 13.0
    with pytest.raises(NodeFailed, match=r"no lab at http://lab for 13 s \(.*this is no lab\)"):
        patience.no_lab(stranger)
    endless = Patience(URL, Interrupt(), None)
    endless.no_lab(stranger)
    now_s[0] += 1e6
    endless.no_lab(stranger)
