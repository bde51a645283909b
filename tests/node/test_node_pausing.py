"""A node leaves its machine to others: by the hour, on battery, while other programs compute."""

import asyncio
import os
from pathlib import Path

import pytest

from agents import agent_of, until
from archipel.node.decide import Act, View, next_act
from archipel.node.pausing import (
    BadHours,
    Hours,
    Machine,
    Now,
    Pausing,
    Watch,
    cannot_tell,
    why_paused,
)
from archipel.node.standing import Doing, Standing
from live import live
from stub_worker import StubWorker
from world import World

NIGHT = Hours.parse("22:00-07:00")


def at(clock: str, on_battery: bool | None = None, load: float | None = None) -> Now:
    hour, minute = map(int, clock.split(":"))
    return Now(60 * hour + minute, on_battery, load)


@pytest.mark.parametrize(
    ("clock", "works"),
    [("22:00", True), ("23:59", True), ("00:00", True), ("06:59", True), ("07:00", False)],
)
def test_a_span_may_run_over_midnight(clock: str, works: bool) -> None:
    assert (why_paused(Pausing(hours=(NIGHT,)), at(clock)) == "") is works


def test_any_of_several_spans_will_do_and_their_ends_are_said() -> None:
    rules = Pausing(hours=(NIGHT, Hours.parse("12:00-13:30"), Hours.parse("18:00-24:00")))
    assert why_paused(rules, at("13:29")) == ""
    assert why_paused(rules, at("23:00")) == ""
    said = why_paused(rules, at("13:30"))
    assert said == "it works at 22:00-07:00, 12:00-13:30, 18:00-24:00 only"


@pytest.mark.parametrize("text", ["", "22-7", "25:00-07:00", "22:60-07:00", "07:00-07:00", "x"])
def test_what_is_no_span_is_one_sentence(text: str) -> None:
    with pytest.raises(BadHours, match=r"expected such as 22:00-07:00"):
        Hours.parse(text)


def test_battery_and_load_pause_only_by_their_rules() -> None:
    now = at("12:00", on_battery=True, load=1.5)
    assert why_paused(Pausing(), now) == ""
    assert "battery" in why_paused(Pausing(on_battery=True), now)
    assert "1.5 cores" in why_paused(Pausing(max_load=1.0), now)
    assert why_paused(Pausing(max_load=1.5), now) == ""
    unknown = at("12:00")
    assert why_paused(Pausing(on_battery=True, max_load=0.0), unknown) == ""


def supply(folder: Path, name: str, **files: str) -> None:
    place = folder / "class" / "power_supply" / name
    place.mkdir(parents=True)
    for file, text in files.items():
        (place / file).write_text(text + "\n")


def test_a_battery_is_in_use_when_it_discharges_and_no_mains_are_there(tmp_path: Path) -> None:
    machine = Machine(system=tmp_path)
    assert machine.on_battery() is None
    (tmp_path / "class" / "power_supply").mkdir(parents=True)
    assert machine.on_battery() is False, "a machine without a battery is not on it"
    supply(tmp_path, "BAT0", type="Battery", status="Discharging")
    assert machine.on_battery() is True
    supply(tmp_path, "AC", type="Mains", online="0")
    assert machine.on_battery() is True
    (tmp_path / "class" / "power_supply" / "AC" / "online").write_text("1\n")
    assert machine.on_battery() is False


def processor(folder: Path, busy: int, own: int) -> None:
    (folder / "7").mkdir(exist_ok=True)
    (folder / "stat").write_text(f"cpu  {busy} 0 0 99999 0 0 0 0 0 0\ncpu0 1 2 3\n")
    (folder / "7" / "stat").write_text(f"7 (a (b) c) S {' '.join(['0'] * 10)} {own} 0 0 0\n")


def test_our_own_work_is_not_others_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hz, clock = os.sysconf("SC_CLK_TCK"), [100.0]
    monkeypatch.setattr("archipel.node.pausing.time.monotonic", lambda: clock[0])
    machine = Machine(processes=tmp_path)
    loads = []
    for busy, own in ((0, 0), (20 * hz, 5 * hz), (25 * hz, 10 * hz), (25 * hz, 20 * hz)):
        processor(tmp_path, busy, own)
        loads.append(machine.now(7).load)
        clock[0] += 10.0
    assert loads == [None, 1.5, 0.0, 0.0]
    assert machine.now(8).load is None, "another process is counted from now on"


def test_a_rule_that_the_machine_cannot_check_is_refused(tmp_path: Path) -> None:
    blind = Machine(system=tmp_path, processes=tmp_path)
    assert cannot_tell(Pausing(hours=(NIGHT,)), blind) == ""
    assert "battery" in cannot_tell(Pausing(on_battery=True), blind)
    assert "busy" in cannot_tell(Pausing(max_load=1.0), blind)


def test_a_pause_waits_for_what_is_leased_and_ends_at_ctrl_c() -> None:
    paused = View(paused=True)
    assert next_act(paused) is Act.PAUSE
    assert next_act(View(paused=True, child_ready=True, joined=True, leased=True)) is Act.WORK
    assert next_act(View(paused=True, stopping=True)) is Act.LEAVE


def test_the_machine_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, looked = [100.0], []

    class Seen(Machine):
        def now(self, worker: int | None) -> Now:
            looked.append(clock[0])
            return at("12:00", on_battery=len(looked) == 2)

    monkeypatch.setattr("archipel.node.pausing.time.monotonic", lambda: clock[0])
    standing = Standing()
    watch = Watch(Pausing(on_battery=True), standing, Seen())
    told = []
    for _ in range(25):
        told.append(watch.is_paused(None))
        clock[0] += 1.0
    assert looked == [100.0, 110.0, 120.0]
    assert told == [False] * 10 + [True] * 10 + [False] * 5
    assert list(standing.news) == ["paused: the machine runs on battery", "no longer paused"]
    assert not Watch(Pausing(), standing, Seen()).is_paused(None)
    assert len(looked) == 3, "without rules nothing is looked at"


@pytest.mark.usefixtures("stub")
def test_a_paused_node_starts_nothing_until_its_hours_come(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.node.pausing.LOOK_S", 0.05)
    world.started(versions=2, groups_per_update=4, max_groups_per_lease=2)
    battery = [True]
    monkeypatch.setattr(Machine, "on_battery", lambda self: battery[0])

    async def story() -> None:
        async with live(world) as url:
            agent = agent_of(folder, url, pausing=Pausing(on_battery=True))
            running = asyncio.create_task(agent.run())
            await until(lambda: agent.standing.doing is Doing.PAUSED)
            await asyncio.sleep(0.2)
            assert StubWorker.started == 0
            battery[0] = False
            await until(lambda: bool(agent.totals.works))
            assert StubWorker.started == 1
            battery[0] = True
            await until(lambda: agent.standing.doing is Doing.PAUSED)
            assert agent._worker.alive
            monkeypatch.setattr("archipel.node.pausing.LONG_S", 0.1)
            await until(lambda: not agent._worker.alive)
            battery[0] = False
            await until(lambda: StubWorker.started == 2)
            agent.stop()
            await asyncio.wait_for(running, 30.0)

    world.await_(story())
