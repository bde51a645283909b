"""Fold first, append in groups, then make it visible; what fails takes nothing with it but itself."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from archipel.lab import refusals
from archipel.lab.commit import Committer
from archipel.lab.entry import Entry
from archipel.lab.lab import Lab
from archipel.lab.recovery import pages, replay
from archipel.lab.state import LabState
from archipel.ledger.log import Log
from archipel.ledger.signed_note import NoteKey
from archipel.ledger.storage import EntryRow, HeadRow, LedgerFull
from archipel.records.kinds.evaluate import EvaluateAnswer
from archipel.records.statements import LabOpened, LeaseExpired, Recorded, WorkAnswered
from memory import MemoryBlobs, MemoryStorage
from slow_disk import LAB, SlowStorage, committer, entry, joining
from world import ORIGIN, START_MS, World


def test_what_comes_while_the_disk_is_busy_goes_out_in_one_group_and_is_seen_only_then() -> None:
    storage = SlowStorage()

    async def story() -> None:
        made = committer(storage)
        first = made.record([entry(LAB, LabOpened, 1, operators=(LAB.did,))])
        await asyncio.sleep(0)
        rest = [made.record([joining(n)]) for n in range(50)]
        assert len(made.ahead.nodes) == 50
        assert made.state.size == 0
        assert not first.done()
        storage.allowed.set()
        recorded = await asyncio.gather(first, *rest)
        assert made.state == made.ahead
        assert [each.last for each in recorded] == list(range(51))
        assert {each.head.size for each in recorded[1:]} == {51}
        assert replay(LAB.did, pages(made.log)) == made.state

    asyncio.run(story())
    assert len(storage.batches) == 2
    assert sum(storage.batches) == 51


def test_a_failed_append_takes_back_all_that_was_folded_on_it_and_nothing_else() -> None:
    storage = SlowStorage()

    async def story() -> None:
        made = committer(storage)
        storage.allowed.set()
        await made.record([entry(LAB, LabOpened, 1, operators=(LAB.did,))])
        before = made.state
        storage.room = 1
        storage.allowed.clear()
        failing = [made.record([joining(n)]) for n in range(3)]
        await asyncio.sleep(0)
        on_top = made.record([joining(7)])
        storage.allowed.set()
        for each in (*failing, on_top):
            with pytest.raises(refusals.StorageExhausted, match="cannot grow"):
                await each
        assert made.state is made.ahead is before
        storage.room = None
        await made.record([joining(8)])
        assert len(made.state.nodes) == 1
        assert replay(LAB.did, pages(made.log)) == made.state

    asyncio.run(story())


def test_what_cannot_be_folded_never_enters_the_ledger(world: World) -> None:
    learner = world.started()
    poison = entry(LAB, LeaseExpired, 10**6, work="run.77", cause="lost")
    before, size = world.state, world.lab.log.size

    async def record() -> None:
        with pytest.raises(refusals.Conflict, match=r"run\.77"):
            world.lab._committer.record([poison])

    world.await_(record())
    assert world.state == before
    assert world.lab.log.size == size
    world.restart()
    assert world.state == before
    assert learner.ask() is not None


def test_an_evaluation_of_work_that_nobody_leased_is_refused_and_the_lab_starts_again(
    world: World,
) -> None:
    world.started()
    liar = world.provider("liar")
    answer = EvaluateAnswer(
        version=0, policy="sha256:" + "0" * 64, report=world.put(b"r"), metrics={}
    )
    with pytest.raises(refusals.Unknown):
        liar.speak(WorkAnswered, work="run.77", answer=answer)
    before = world.state
    world.restart()
    assert world.state == before


def test_a_disk_that_is_far_behind_refuses_more_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.lab.commit.MAX_PENDING", 2)
    storage = SlowStorage()

    async def story() -> None:
        made = committer(storage)
        waiting = [made.record([entry(LAB, LabOpened, 1, operators=(LAB.did,))])]
        waiting.append(made.record([joining(1)]))
        with pytest.raises(refusals.Busy):
            made.record([joining(2)])
        storage.allowed.set()
        await asyncio.gather(*waiting)
        await made.record([joining(2)])

    asyncio.run(story())


def test_a_refused_full_disk_reaches_the_log_file_as_one_sentence(tmp_path: Path) -> None:
    class Full(MemoryStorage):
        def append(self, entries: Sequence[EntryRow], head: HeadRow) -> None:
            if list(entries):
                raise LedgerFull("no room; make some")
            super().append(entries, head)

    async def story() -> None:
        log = Log(Full(), NoteKey(ORIGIN, LAB.public_key), LAB)
        lab = Lab(LAB, log, MemoryBlobs(), lambda: START_MS)  # type: ignore[arg-type]  # enough of a store
        with pytest.raises(refusals.StorageExhausted, match="make some"):
            await lab.found([LAB.did])
        assert lab.state.size == 0

    asyncio.run(story())


def test_memory_that_is_short_after_the_append_takes_no_answer_and_is_made_good_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.started()
    orders = world.lab.orders
    for short_at in range(3):
        shorts = iter([False] * short_at + [True])

        def follow(statement: Recorded, shorts: Iterator[bool] = shorts) -> None:
            if next(shorts):
                raise MemoryError
            type(orders)._follow(orders, statement)

        with monkeypatch.context() as patched:
            patched.setattr(orders, "_follow", follow)
            late = [world.provider(f"late {short_at} {n}") for n in range(short_at + 1)]
        assert all(each.did in world.state.nodes for each in late)
        world.now_ms += 1
        next_one = world.provider(f"next {short_at}")
        assert list(orders.nodes)[-1] == next_one.did
        assert orders.nodes.keys() == world.state.nodes.keys()


def test_what_follows_a_durable_group_and_fails_keeps_nobody_waiting() -> None:
    storage = SlowStorage()
    storage.allowed.set()

    async def story() -> None:
        def fails(first: int, entries: Sequence[Entry]) -> None:
            raise MemoryError

        log = Log(storage, NoteKey(ORIGIN, LAB.public_key), LAB)
        made = Committer(log, LabState(LAB.did), fails, lambda: None, in_thread=True)
        opened = made.record([entry(LAB, LabOpened, 1, operators=(LAB.did,))])
        async with asyncio.timeout(10):
            assert (await opened).last == 0
            assert (await made.record([joining(1)])).last == 1
            await made.settled()
        assert made.state is made.ahead

    asyncio.run(story())
