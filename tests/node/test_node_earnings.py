"""What a node earned is kept over restarts, by lab and day, and costs no work when it cannot be."""

import asyncio
import json
from pathlib import Path

import pytest

from agents import LIMIT_S, SLOW, agent_of, complete, learning, until
from archipel.node.earnings import EARLIER, Account, Earnings, accounts, path_of
from archipel.node.small_files import Unreadable, write_json
from archipel.node.totals import Totals
from live import live
from people import identity
from specimens import SMALL
from world import World

LAB, NODE, URL = identity("lab").did, identity("node").did, "http://lab:8440"
GRANT = SMALL["lease.granted (rollout)"]


class Calendar:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.day = 0
        monkeypatch.setattr("archipel.node.earnings.time.time", lambda: 86_400.0 * self.day)
        monkeypatch.setattr("archipel.node.earnings.time.strftime", self._name)

    def _name(self, form: str, now: object) -> str:
        return f"{2026 + self.day // 365:04}-{self.day % 365:03}"


def earn(totals: Totals, number: int = 1) -> None:
    for _ in range(number):
        totals.count("accepted", GRANT.work)
        totals.earned(GRANT, {"num_tokens": 10}, 1.0)
        totals.busy_s += 2.0


def test_days_and_restarts_add_up_and_the_balance_is_the_labs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calendar = Calendar(monkeypatch)
    for before in (0, 3 * GRANT.price_micro):
        totals = Totals()
        totals.before_micro = before
        earnings = Earnings(tmp_path, NODE, URL)
        earnings.joined(LAB, totals)
        for number in (1, 2):
            earn(totals, number)
            earnings.save(totals)
            earnings.save(totals)
            calendar.day += 1
        totals.count("lost", GRANT.work, "time is up")
        earnings.save(totals)
    (account,) = accounts(tmp_path)
    assert (account.lab, account.node, account.url) == (LAB, NODE, URL)
    assert account.balance_micro == 6 * GRANT.price_micro == account.total()["credit_micro"]
    assert account.total() | {"credit_micro": 0} == {
        "accepted": 6,
        "lost": 2,
        "credit_micro": 0,
        "tokens": 60,
        "groups": 6 * len(GRANT.spec.groups),
        "busy_ms": 12_000,
    }
    assert [day.get("accepted", 0) for _, day in sorted(account.days.items())] == [1, 2, 1, 2, 0]
    assert path_of(tmp_path, LAB).stat().st_mode & 0o777 == 0o600


def test_old_days_are_added_up_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.node.earnings.MAX_DAYS", 20)
    calendar, totals = Calendar(monkeypatch), Totals()
    earnings = Earnings(tmp_path, NODE, URL)
    earnings.joined(LAB, totals)
    for _ in range(27):
        earn(totals)
        earnings.save(totals)
        calendar.day += 1
    (account,) = accounts(tmp_path)
    assert len(account.days) == 21
    assert account.days[EARLIER]["accepted"] == 7
    assert account.total()["accepted"] == 27


@pytest.mark.parametrize("content", [b"", b"[]", b'{"lab": 1, "x": 2}', b'{"lab": "l", "days": 3}'])
def test_a_damaged_file_costs_history_and_no_work(tmp_path: Path, content: bytes) -> None:
    path = path_of(tmp_path, LAB)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=path.name):
        accounts(tmp_path)
    totals, earnings = Totals(), Earnings(tmp_path, NODE, URL)
    earnings.joined(LAB, totals)
    earn(totals)
    earnings.save(totals)
    assert accounts(tmp_path)[0].total()["accepted"] == 1


def test_a_folder_that_cannot_be_written_costs_history_and_no_work(tmp_path: Path) -> None:
    (tmp_path / "labs").write_text("in the way")
    totals, earnings = Totals(), Earnings(tmp_path, NODE, URL)
    earnings.joined(LAB, totals)
    earn(totals)
    earnings.save(totals)
    assert accounts(tmp_path) == []


def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.json"
    write_json(path, {"a": 1})
    held = tmp_path / "held"
    held.hardlink_to(path)
    write_json(path, {"a": 2})
    assert json.loads(held.read_text())["a"] == 1, "the file was written in place"
    assert [each.name for each in path.parent.iterdir()] == ["file.json"]


@pytest.mark.usefixtures("stub")
def test_the_second_session_knows_what_the_first_earned(world: World, folder: Path) -> None:
    world.started(**SLOW)

    async def session(url: str, is_over: object) -> Totals:
        agent = agent_of(folder, url)
        running = asyncio.create_task(agent.run())
        await until(is_over, learning(world))
        agent.stop()
        return await asyncio.wait_for(running, LIMIT_S)

    async def story() -> None:
        async with live(world) as url:
            did = identity("node").did
            first = await session(url, lambda: world.state.book.get(did, 0) > 0)
            assert first.before_micro == 0
            second = await session(url, complete(world))
            assert second.before_micro == first.credit_micro > 0
            earned = world.state.book[did]
            assert second.before_micro + second.credit_micro == earned
            (account,) = accounts(folder / "node")
            assert account.balance_micro == account.total()["credit_micro"] == earned
            assert account.url == url

    world.await_(story())


def test_an_account_has_no_more_than_it_says() -> None:
    assert Account("did").total() == {}
