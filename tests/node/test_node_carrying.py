"""One lease carried out: fetched, worked at, rested after; none of it longer than the lease or the stint."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from archipel.node import carrying
from archipel.node.carrying import MIN_TRY_S, Carrying
from archipel.node.exchange import LabUnreachable
from archipel.node.lease import Lease
from archipel.node.patience import Interrupt
from archipel.node.settings import NodeSettings
from archipel.node.standing import Doing, Standing
from archipel.node.totals import Totals

DEADLINE_MS = 1_000_000


class Clock:
    """Shows this many seconds until the deadline, and less as the machine's own clock goes on."""

    def __init__(self, machine: "Machine", left_s: float, is_stale: bool = False) -> None:
        self._machine, self._end_s = machine, machine.now_s + left_s
        self.is_stale = is_stale

    def left_s(self, deadline_ms: int) -> float:
        assert deadline_ms == DEADLINE_MS
        return self._end_s - self._machine.now_s


class Machine:
    """What one agent is to whoever carries its lease out, at a time that is set."""

    def __init__(self, folder: Path, left_s: float, longest_s: float = 1e9, **clock: Any) -> None:
        self.now_s = 5000.0
        self.settings = NodeSettings(lab_url="", home=folder, duty=0.25)
        self.totals, self.standing = Totals(), Standing()
        self.clock = Clock(self, left_s, **clock)
        self.client, self.errands = self, self
        self.longest_s, self.fetching_s, self.given_s = longest_s, 0.0, -1.0
        self.told: list[str] = []
        self.grant = SimpleNamespace(deadline_ms=DEADLINE_MS)

    async def set_clock(self) -> None:
        self.told.append("clock")

    async def prepare(self, lease: Lease, worker: object) -> str:
        assert (lease.grant, worker) == (self.grant, self)
        if self.fetching_s < 0:
            await asyncio.sleep(60)
        self.now_s += self.fetching_s
        self.told.append("fetched")
        return "message"

    def begun(self, grant: object) -> None:
        assert grant is self.grant
        self.told.append("begun")

    def of(self, message: str) -> str:
        return f"turns of {message}"

    async def work(self, message: str, limit_s: float, progressed: Any, turns: str) -> str:
        assert (message, turns) == ("message", "turns of message")
        assert progressed == self.totals.progressed
        self.given_s = limit_s
        return "done"

    def out(self) -> str:
        made = Carrying(cast("Any", self), Interrupt(), cast("Any", self), cast("Any", self))
        lease = cast("Lease", SimpleNamespace(grant=self.grant))
        return cast("str", asyncio.run(made.out(lease, cast("Any", self))))


@pytest.fixture
def machine_time(monkeypatch: pytest.MonkeyPatch) -> list[Machine]:
    """Of the machine that is put in here."""
    made: list[Machine] = []
    now = SimpleNamespace(monotonic=lambda: made[0].now_s)
    monkeypatch.setattr(carrying, "time", now)
    return made


@pytest.mark.parametrize(
    ("left_s", "longest_s", "fetching_s", "given_s"),
    [
        (100.0, 1e9, 30.0, 70.0),
        (100.0, 50.0, 30.0, 20.0),
        (100.0, 200.0, 0.0, 100.0),
        (100.0, 50.0, 80.0, MIN_TRY_S),
        (0.4, 1e9, 0.1, MIN_TRY_S),
    ],
)
def test_work_ends_with_the_lease_and_with_the_stint_and_what_fetching_took_is_gone(
    tmp_path: Path, machine_time: list[Machine],
    left_s: float, longest_s: float, fetching_s: float, given_s: float,
) -> None:  # fmt: skip
    machine = Machine(tmp_path, left_s, longest_s)
    machine_time.append(machine)
    machine.fetching_s = fetching_s
    assert machine.out() == "done"
    assert machine.given_s == pytest.approx(given_s)
    assert machine.told == ["fetched", "begun"], "the child begins once all is there"


@pytest.mark.parametrize(
    ("left_s", "is_stale", "asks"),
    [(10.0, False, False), (10.0, True, True), (0.0, False, True), (-1.0, False, True)],
)
def test_the_labs_clock_is_read_anew_where_ours_is_stale_or_says_that_it_is_too_late(
    tmp_path: Path, machine_time: list[Machine], left_s: float, is_stale: bool, asks: bool
) -> None:
    machine = Machine(tmp_path, left_s, is_stale=is_stale)
    machine_time.append(machine)
    machine.out()
    assert ("clock" in machine.told) == asks


def test_what_does_not_come_in_time_is_the_labs_absence_and_the_child_never_begins(
    tmp_path: Path, machine_time: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "MIN_TRY_S", 0.01)
    machine = Machine(tmp_path, 0.01)
    machine_time.append(machine)
    machine.fetching_s = -1.0
    with pytest.raises(LabUnreachable, match="before its deadline"):
        machine.out()
    assert machine.told == []


def test_a_machine_rests_as_long_as_its_share_of_the_time_asks_for(
    tmp_path: Path, machine_time: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, 10.0)
    machine_time.append(machine)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(carrying, "asyncio", SimpleNamespace(sleep=sleep))

    async def rested(duty: float) -> None:
        machine.settings = NodeSettings(lab_url="", home=tmp_path, duty=duty)
        whose = cast("Any", machine)
        made = Carrying(whose, Interrupt(), cast("Any", machine), cast("Any", machine))
        work: Awaitable[None] = made.rest(8.0)
        await work

    asyncio.run(rested(0.25))
    assert slept == [24.0]
    assert (machine.standing.doing, machine.standing.until_s) == (Doing.RESTING, 5024.0)
    asyncio.run(rested(1.0))
    assert slept == [24.0], "a whole machine rests never"
    assert machine.totals.busy_s == 16.0
