"""By when agents that are told to end have ended, whatever their labs do."""

import asyncio
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from archipel.node import labs_ending
from archipel.node.labs_ending import DELIVERED_S, ended
from archipel.node.standing import Doing

LONGEST_S, STEP_S = 3600.0, 100.0
MAX_LOOKS = 100


class Held:
    """An agent at a lab that lets it end at the second call; `presses` are the times of both."""

    def __init__(self, now: list[float], *doing: Doing, presses_needed: int = 2) -> None:
        self._now, self._doing, self._needed = now, iter(doing), presses_needed
        self._last = doing[-1]
        self.presses: list[float] = []
        self.task: asyncio.Task[Any] = asyncio.create_task(asyncio.Event().wait())

    @property
    def standing(self) -> SimpleNamespace:
        return SimpleNamespace(doing=next(self._doing, self._last))

    def stop(self) -> None:
        self.presses.append(self._now[0])
        if len(self.presses) >= self._needed:
            self.task.cancel()


def test_answers_have_their_time_a_lease_the_operator_s_besides_and_nobody_is_told_three_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, looks = [0.0], count()

    def monotonic() -> float:
        assert next(looks) < MAX_LOOKS
        now[0] += STEP_S
        return now[0]

    monkeypatch.setattr(labs_ending, "time", SimpleNamespace(monotonic=monotonic))

    async def story() -> tuple[dict[str, Held], list[str]]:
        agents = {
            "delivers": Held(now, Doing.DELIVERING),
            "works": Held(now, Doing.WORKING),
            "works, then delivers": Held(now, *[Doing.WORKING] * 10, Doing.DELIVERING),
            "delivers late": Held(now, *[Doing.WORKING] * 40, Doing.DELIVERING),
            "hangs": Held(now, Doing.DELIVERING, presses_needed=3),
            "ends": Held(now, Doing.WORKING, presses_needed=1),
        }
        going: Any = {name: (each, each.task) for name, each in agents.items()}
        told = []
        async for name in ended(going, LONGEST_S, 0.0):
            told.append(name)
            if len(told) == 5:
                agents["hangs"].stop()
        return agents, told

    agents, told = asyncio.run(story())
    began_s, whole_s = STEP_S, LONGEST_S + DELIVERED_S
    expected = {
        "delivers": began_s + STEP_S + DELIVERED_S,
        "works": began_s + whole_s,
        "works, then delivers": began_s + 11 * STEP_S + DELIVERED_S,
        "delivers late": began_s + whole_s,
        "hangs": began_s + STEP_S + DELIVERED_S,
    }
    assert sorted(told) == sorted(expected)
    for name, until_s in expected.items():
        assert agents[name].presses[:2] == [began_s, until_s + STEP_S], name
    assert agents["ends"].presses == [began_s]
