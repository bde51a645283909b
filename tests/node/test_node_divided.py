"""One machine that several labs use in turn: who has it, for how long, and what of that is kept; the clock is set."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from archipel.node import divided
from archipel.node.divided import (
    FILE,
    IDLE_POLL_S,
    POLL_S,
    SAVE_EVERY_S,
    Divided,
    as_document,
    read_account,
)
from archipel.node.small_files import write_json
from archipel.node.stints import Division


class Machine(Divided):
    """At a time that is set."""

    def __init__(self, home: Path, *labs: str, longest_s: float = 100.0) -> None:
        self.now_s = 1000.0
        super().__init__(home, longest_s, lambda: self.now_s)
        self.agree(dict.fromkeys(labs or ("a", "b"), 1.0), {})

    def spent(self) -> dict[str, float]:
        return {lab: place.spent_s for lab, place in self.account.places.items()}


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


async def turned() -> None:
    """Whoever may go on has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_has_the_machine_and_the_next_gets_it_when_that_is_over(tmp_path: Path) -> None:
    async def story() -> None:
        machine = Machine(tmp_path)
        one, other = machine.stint("a"), machine.stint("b")
        await one.wait(owes=True)
        await one.wait(owes=True)  # it has it already
        assert (one.is_here, other.is_here) == (True, False)
        assert (one.poll_s(60.0), one.longest_s) == (IDLE_POLL_S, 100.0)
        waiting = asyncio.create_task(other.wait(owes=True))
        await turned()
        assert one.poll_s(60.0) == POLL_S
        assert one.poll_s(0.1) == 0.1
        one.took("run")
        machine.now_s += 7
        other.over(worked=True)  # which changes nothing: it is not here
        assert one.is_here
        one.over(worked=True)
        await waiting
        assert (one.is_here, other.is_here, machine.others_wait) == (False, True, False)
        machine.now_s += 2
        other.over(worked=True)
        assert machine.spent() == {"a": 7.0, "b": 2.0}
        assert other.is_here, "it goes on where nobody else asks"
        machine.leave("b")
        assert machine.holder is None

    run(story())


def test_a_lab_without_work_rests_twice_as_long_each_time_and_is_asked_at_once_after_work(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        machine = Machine(tmp_path)
        rests = []
        for _ in range(6):
            machine.over("a", worked=False)
            rests.append(machine._rest_s("a"))
        assert rests == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
        machine.now_s += 3
        assert machine._rest_s("a") == 5.0
        machine.now_s += 9
        assert machine._rest_s("a") == 0.0
        machine.over("a", worked=False)
        machine.took("a", "run")
        assert machine._rest_s("a") == machine._rest_s("b") == 0.0

    run(story())


def test_who_has_a_lease_waits_for_no_rest_and_who_may_ask_for_nothing_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divided, "NOTHING_S", 0.01)

    async def story() -> None:
        machine = Machine(tmp_path)
        may: list[tuple[str, ...] | None] = [()]
        machine.allowed = lambda lab, floor: may[0]
        for _ in range(5):
            machine.over("a", worked=False)  # so that it rests for seconds
        owing = asyncio.create_task(machine.wait("a", owes=True))
        await turned()
        assert machine.has("a")
        await owing
        machine.over("a", worked=False)
        resting, idle = (asyncio.create_task(machine.wait(lab, owes=False)) for lab in "ab")
        await asyncio.sleep(0.05)
        assert (machine.holder, machine.others_wait) == (None, False)
        may[0] = None
        await idle
        assert machine.has("b")
        assert not machine.others_wait, "it rests, and is in nobody's way"
        resting.cancel()
        machine.leave("b")

    run(story())


def test_who_holds_it_without_work_or_for_too_long_loses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divided, "ASK_LIMIT_S", 0.03)

    async def story() -> None:
        machine = Machine(tmp_path)
        await machine.wait("a", owes=True)
        await machine.wait("b", owes=True)
        assert machine.has("b"), "a did not ask for anything"
        machine.took("b", "run")
        await asyncio.sleep(0.1)
        assert machine.has("b"), "it works"
        machine.over("b", worked=False)
        assert machine.holder is None
        assert machine._end is None
        short = Machine(tmp_path, longest_s=0.02)
        await short.wait("a", owes=True)
        short.took("a", "run")
        await short.wait("b", owes=True)
        assert short.has("b"), "no lease is so long"
        short.leave("b")

    run(story())


def test_who_stops_waiting_leaves_its_turn_to_others(tmp_path: Path) -> None:
    async def story() -> None:
        machine = Machine(tmp_path, "a", "b", "c")
        await machine.wait("a", owes=True)
        gone, next_one = (asyncio.create_task(machine.wait(lab, owes=True)) for lab in "bc")
        await turned()
        gone.cancel()
        await turned()
        assert machine.others_wait
        machine.over("a", worked=False)
        await next_one
        assert machine.has("c")
        late = asyncio.create_task(machine.wait("a", owes=True))
        await turned()
        machine.over("c", worked=False)  # a has it, and is ended before it hears of that
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        assert machine.holder is None

    run(story())


def test_what_a_floor_is_given_counts_by_the_run_that_was_worked_at(tmp_path: Path) -> None:
    async def story() -> None:
        machine = Machine(tmp_path)
        machine.agree({"a": 1.0, "b": 1.0}, {"p": 0.5})
        machine.serves = lambda lab: ("p",) if lab == "a" else ()
        machine.counts = lambda lab, run: ("p",) if (lab, run) == ("a", "good") else ()
        machine.allowed = lambda lab, floor: ("good",) if floor == "p" else None
        stint = machine.stint("a")
        for run_name, given_s, owed_s in (("other", 0.0, 5.0), ("good", 10.0, 0.0)):
            await stint.wait(owes=True)
            if run_name == "good":
                assert stint.runs == ("good",), "this stint is for the floor"
            else:
                assert stint.runs is None
            stint.took(run_name)
            machine.now_s += 10
            stint.over(worked=False)
            assert stint.runs is None
            floor = machine.account.floors["p"]
            assert (floor.given_s, floor.owed_s) == (given_s, owed_s)

    run(story())


def test_the_account_is_kept_now_and_then_and_a_damaged_one_begins_anew(tmp_path: Path) -> None:
    async def story() -> None:
        machine = Machine(tmp_path)
        await machine.wait("a", owes=True)
        machine.now_s += SAVE_EVERY_S - 1
        machine.over("a", worked=False)
        await machine.save_if_due()
        assert not (tmp_path / FILE).exists()
        machine.now_s += 1
        await machine.save_if_due()
        assert read_account(tmp_path) == machine.account == Machine(tmp_path).account
        assert machine.spent() == {"a": SAVE_EVERY_S - 1, "b": 0.0}

    run(story())
    sound = as_document(read_account(tmp_path))
    place = sound["places"]["a"]
    write_json(tmp_path / FILE, sound)
    assert read_account(tmp_path) != Division(), "as it was written"
    for wrong in (
        {"places": {"a": place | {"weight": 0}}},
        {"places": {"a": place | {"weight": -1}}},
        {"places": {"a": place | {"start": "x"}}},
        {"places": {"a": place | {"spent_s": 1e15}}},
        {"places": {"a": place | {"unknown": 1}}},
        {"floors": {"p": {"share": None}}},
        {"floors": {"p": {"share": 0.1, "owed_s": -1e16}}},
        {"now": 1e15},
        {"longest_s": []},
        {"at_s": None},
        {"places": []},
    ):
        write_json(tmp_path / FILE, sound | wrong)
        assert read_account(tmp_path) == Division(), wrong
    (tmp_path / FILE).write_text("[]")
    assert read_account(tmp_path) == Division()
