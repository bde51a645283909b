"""Groups of entries on their way to the disk, and replays of many snapshots."""

import asyncio

import pytest

from archipel.lab import refusals
from archipel.lab.recovery import pages, replay
from archipel.lab.state import LabState
from archipel.lab.upkeep import Upkeep
from archipel.records.statements import LabOpened
from slow_disk import LAB, SlowStorage, committer, entry, joining
from world import World


def founded() -> object:
    return entry(LAB, LabOpened, 1, operators=(LAB.did,))


def test_a_group_is_no_larger_than_the_ledger_takes_at_once_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("archipel.lab.commit.MAX_BATCH_ENTRIES", 3)
    storage = SlowStorage()

    async def story() -> list[tuple[int, int]]:
        made = committer(storage)
        parts = [[founded()], [joining(1)], [joining(2), joining(3)], [joining(4)]]
        parts.append([joining(n) for n in range(5, 8)])
        waiting = [made.record(part) for part in parts]  # type: ignore[arg-type]  # entries
        with pytest.raises(refusals.TooLarge, match="4 entries in one record; at most 3"):
            made.record([joining(n) for n in range(8, 12)])
        storage.allowed.set()
        recorded = await asyncio.gather(*waiting)
        await made.settled()
        assert made.state == made.ahead
        assert made.state.size == 8
        assert replay(LAB.did, pages(made.log)) == made.state
        return [(each.first, each.last) for each in recorded]

    assert asyncio.run(story()) == [(0, 0), (1, 1), (2, 3), (4, 4), (5, 7)]
    assert storage.batches == [2, 3, 3], "one record is never cut, and none is longer than a group"


def test_who_is_told_of_durable_entries_hears_of_each_once_and_where_it_stands() -> None:
    storage = SlowStorage()
    heard: list[tuple[int, int]] = []

    async def story() -> None:
        made = committer(storage)
        made._on_durable = lambda first, entries: heard.append((first, len(entries)))
        storage.allowed.set()
        await made.record([founded()])  # type: ignore[list-item]  # an entry
        await made.record([joining(1), joining(2)])
        await made.record([joining(3)])

    asyncio.run(story())
    assert heard == [(0, 1), (1, 2), (3, 1)]


def test_after_a_failed_append_as_much_may_wait_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.lab.commit.MAX_PENDING", 2)
    storage = SlowStorage()

    async def story() -> None:
        made = committer(storage)
        storage.allowed.set()
        storage.room = 0
        failing = [made.record([founded()]), made.record([joining(1)])]  # type: ignore[list-item]  # entries
        for each in failing:
            with pytest.raises(refusals.StorageExhausted):
                await each
        assert made.state == made.ahead == LabState(LAB.did)
        storage.room = None
        await asyncio.gather(made.record([founded()]), made.record([joining(1)]))  # type: ignore[list-item]  # entries
        await made.record([joining(2), joining(3)])
        with pytest.raises(refusals.Busy):
            made.record([joining(4), joining(5), joining(6)])
        assert made.state.size == 4

    asyncio.run(story())


def test_to_settle_is_to_wait_for_the_disk() -> None:
    storage = SlowStorage()

    async def story() -> None:
        made = committer(storage)
        await made.settled()
        waiting = made.record([founded()])  # type: ignore[list-item]  # an entry
        settling = asyncio.create_task(made.settled())
        await asyncio.sleep(0.01)
        assert not settling.done()
        storage.allowed.set()
        await asyncio.wait_for(settling, 10.0)
        assert waiting.done()
        assert made.state.size == 1

    asyncio.run(story())


def test_a_replay_checks_every_snapshot_of_a_long_ledger(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("recovery", "apply", "upkeep"):
        monkeypatch.setattr(f"archipel.lab.{place}.MAX_SNAPSHOT_LAG", 2)
    for number in range(4):
        world.provider(f"node {number}")
        world.provider(f"other {number}")
        assert world.await_(Upkeep(world.lab).take_snapshot())
    world.check_replay()
