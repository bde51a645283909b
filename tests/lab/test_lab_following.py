"""A lab that follows another one: what it says, when it leads, and what a lab that leads no more leaves alone."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from archipel.lab.following import Follower, follower_app
from archipel.lab.recovery import recover
from archipel.lab.upkeep import Upkeep
from archipel.ledger.growing import GrowingLog
from archipel.ledger.leadership import Leader
from archipel.ledger.log import Log
from archipel.ledger.storage import (
    LeaderLost,
    LedgerCorrupt,
    LedgerInUse,
    LedgerUnavailable,
    Term,
)
from world import World

LED = Leader(Term(4, "http://a:8440"), is_here=True)
FREE = Leader(Term(4, "http://a:8440"), is_here=False)


class Seen:
    """A watch that shows what it was given, one look after the other, and the last one again and again."""

    def __init__(self, *shown: Leader | Exception) -> None:
        self._shown = list(shown)

    def look(self) -> Leader:
        now = self._shown.pop(0) if len(self._shown) > 1 else self._shown[0]
        if isinstance(now, Exception):
            raise now
        return now

    def close(self) -> None:
        """Nothing to let go of."""


def follower_of(world: World, watch: Seen, take: Callable[[], Log]) -> Follower:
    growing = GrowingLog(lambda: world.storage, world.lab.log.key)  # type: ignore[arg-type, return-value]  # enough of one
    return Follower(world.state.lab, watch, growing, world.blobs, take)


def never() -> Log:
    raise AssertionError("nobody may lead now")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.lab.following.LOOK_S", 0.001)
    monkeypatch.setattr("archipel.lab.following.GROW_S", 0.001)


def test_a_follower_says_who_leads_and_no_to_everything_else() -> None:
    world = World()
    follower = follower_of(world, Seen(LED), never)
    follower.leader = LED

    async def story() -> None:
        transport = httpx.ASGITransport(follower_app(follower))
        async with httpx.AsyncClient(transport=transport, base_url="http://b") as client:
            facts = (await client.get("/leader")).json()
            assert facts == {"leads": False, "term": 4, "place": "http://a:8440"}
            health = await client.get("/healthz")
            assert health.status_code == 503
            assert "the lab at http://a:8440 leads" in health.text
            numbers = (await client.get("/metrics")).text
            assert "archipel_leads 0.0" in numbers
            assert "archipel_leader_term 4.0" in numbers
            for method, path in (
                ("GET", "/lab"),
                ("POST", "/records"),
                ("PUT", "/blobs/x"),
                ("GET", "/"),
            ):
                no = await client.request(method, path, content=b"x")
                assert no.status_code == 503
                assert no.headers["retry-after"] == "2"
                assert no.json()["type"].endswith("/not-leading")
                assert "http://a:8440" in no.json()["detail"]

    world.await_(story())
    world.close()


def test_a_follower_leads_once_nobody_does_and_begins_with_what_it_folded() -> None:
    world = World()
    refusals = iter([LedgerInUse("somebody was faster"), LedgerUnavailable("the server starts")])

    def take() -> Log:
        error = next(refusals, None)
        if error is not None:
            raise error
        return world.lab.log

    away = LedgerUnavailable("the server is away")
    follower = follower_of(world, Seen(LED, away, LED, FREE, FREE, FREE), take)
    world.await_(asyncio.wait_for(follower.go_on(), 20))
    assert follower.log is world.lab.log
    assert follower.leader == FREE
    warm = follower.warm()
    assert warm is not None
    assert warm == world.state
    before = recover(world.state.lab, world.lab.log, world.blobs)
    assert recover(world.state.lab, world.lab.log, world.blobs, warm) == before
    world.close()


def test_a_database_that_is_away_is_said_once_for_each_reason_and_again_when_it_was_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    away, starts = LedgerUnavailable("it is away"), LedgerUnavailable("it starts")
    shown = (away, away, away, starts, starts, LED, away, away, FREE)
    follower = follower_of(world, Seen(*shown), lambda: world.lab.log)
    world.await_(asyncio.wait_for(follower.go_on(), 20))
    said = [each.__dict__["reason"] for each in caplog.records if "who leads" in each.message]
    assert said == ["it is away", "it starts", "it is away"]
    world.close()


def test_what_was_folded_goes_on_with_the_entries_after_it_and_no_others() -> None:
    world = World()
    warm = world.state
    world.provider("late")
    log = world.lab.log
    assert warm.size < log.size
    assert recover(warm.lab, log, world.blobs, warm) == world.state
    world.close()


def test_what_was_followed_is_forgotten_where_another_history_is_stored() -> None:
    world, other = World(), World()
    world.provider("one")
    other.provider("other")
    assert other.lab.log.size == world.lab.log.size
    follower = follower_of(world, Seen(LED), never)
    follower._fold()
    assert follower.warm() is None  # it does not lead
    follower.log = world.lab.log
    assert follower.warm() == world.state
    follower.log = other.lab.log
    assert follower.warm() is None
    world.close()
    other.close()


def test_a_ledger_that_does_not_hold_is_not_followed() -> None:
    world = World()

    class Torn(GrowingLog):
        def head(self) -> None:  # type: ignore[override]
            raise LedgerCorrupt("it has gone back")

    follower = follower_of(world, Seen(LED), never)
    follower._growing = Torn(lambda: world.storage, world.lab.log.key)  # type: ignore[arg-type, return-value]
    with pytest.raises(LedgerCorrupt, match="gone back"):
        world.await_(asyncio.wait_for(follower.go_on(), 20))
    world.close()


def test_a_lab_that_leads_no_more_deletes_nothing_and_ends(quick_folder: Path) -> None:
    world = World(quick_folder, ledger_on_disk=False)
    stray = world.blobs.put_bytes(b"stray")
    world.storage.lost = LeaderLost("another lab leads")
    assert world.await_(Upkeep(world.lab).sweep(-1.0)) == 0
    assert world.blobs.exists(stray)
    assert world.lab.failure is world.storage.lost
    world.storage.lost = None
    assert world.await_(Upkeep(world.lab).sweep(-1.0)) == len(b"stray")
    world.close()
