"""A replica shows what a lab shows, follows it, and believes nothing that was not verified."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from archipel.dashboard import source as shapes
from archipel.lab import replica as replicas
from archipel.lab.look import MAX_ENTRIES, Look
from archipel.lab.replica import Replica
from archipel.lab.retelling import Retold
from archipel.ledger.growing import GrowingLog, GrowingMirror
from archipel.ledger.merkle import root_of
from archipel.ledger.mirror import Mirror
from archipel.ledger.storage import LedgerCorrupt, LedgerError, LedgerUnavailable
from archipel.ledger.tree_head import TreeHead, sign_tree_head, verify_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.statements import NodeJoined
from people import identity
from slow_disk import CAPABILITIES
from world import World

LAB = identity("lab")
KEY = lab_key(LAB.did)
BLOCK = 16


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "BLOCK", BLOCK)


class Place:
    """A ledger that shows what it is told to."""

    def __init__(self, entries: list[bytes]) -> None:
        self.shown = entries
        self.is_down = False
        self.asked = 0

    def head(self) -> TreeHead:
        if self.is_down:
            raise LedgerUnavailable("no answer")
        note = sign_tree_head(LAB, KEY.name, len(self.shown), root_of(self.shown)).note
        return verify_tree_head(note, KEY)

    def entries(self, size: int, start: int) -> Iterator[bytes]:
        for entry in self.shown[start:size]:
            self.asked += 1
            if self.is_down and self.asked > 3:
                raise LedgerUnavailable("no answer")
            yield entry


@pytest.fixture(scope="module")
def lived() -> Iterator[World]:
    """A run of two versions, then as many nodes as make more than a block of entries."""
    world = World()
    learner = world.started()
    provider = world.provider("p")
    for _ in range(4):
        if (granted := provider.ask()) is not None:
            provider.answer(granted)
        learner.work()
    number = 0
    while world.state.size < 2 * BLOCK + 9:
        world.speak(identity(f"n{number}"), NodeJoined, capabilities=CAPABILITIES)
        number += 1
    yield world
    world.close()


def entries_of(world: World) -> list[bytes]:
    return list(world.lab.log.entries())


def test_a_replica_shows_what_the_lab_shows(lived: World) -> None:
    told: list[Retold] = []
    replica = Replica(LAB.did, Place(entries_of(lived)), told.extend)
    source: shapes.Source = replica
    assert (source.is_lab, source.problem, source.head()) == (False, None, "")
    assert replica.grow()
    assert not replica.grow()
    state, shown = lived.state, source.look()
    own = Look(state, shown.now_ms)
    assert shown.size == state.size
    assert shown.runs(0, 9) == own.runs(0, 9)
    assert shown.nodes(0, 999) == own.nodes(0, 999)
    assert shown.counts() == own.counts()
    assert shown.now_ms == lived.now_ms
    assert [each.number for each in told] == list(range(state.size))
    assert verify_tree_head(source.head().encode(), KEY).size == state.size


def test_it_follows_a_ledger_as_it_grows_and_tells_each_entry_once(lived: World) -> None:
    entries, told = entries_of(lived), list[Retold]()
    place = Place(entries[:5])
    replica = Replica(LAB.did, place, told.extend)
    for size in (5, 6, BLOCK - 1, BLOCK, BLOCK + 1, len(entries)):
        place.shown = entries[:size]
        assert replica.grow()
        assert (replica.look().size, len(told)) == (size, size)
        assert replica.entries(0, size) == entries[: min(size, MAX_ENTRIES)]
        assert replica.entries(size - 1, 9) == entries[size - 1 : size]
    assert (replica.entries(len(entries), 5), replica.entries(3, 2)) == ([], entries[3:5])


def test_what_cannot_be_reached_now_is_asked_again_and_nothing_is_lost(lived: World) -> None:
    entries, told = entries_of(lived), list[Retold]()
    place = Place(entries[:5])
    replica = Replica(LAB.did, place, told.extend)
    replica.grow()
    place.shown, place.asked = entries, -20
    original = place.head
    place.head = lambda: original()  # type: ignore[method-assign]

    def breaks() -> TreeHead:
        head = original()
        place.is_down = True
        return head

    place.head = breaks  # type: ignore[method-assign]
    with pytest.raises(LedgerError):
        replica.grow()
    assert replica.look().size == 5  # nothing unverified is shown
    place.is_down, place.head = False, original  # type: ignore[method-assign]
    assert replica.grow()
    assert [each.number for each in told] == list(range(len(entries)))
    assert replica.look().size == len(entries)


def test_whoever_cannot_take_what_is_told_is_told_again_and_nothing_twice(
    lived: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "BATCH", 7)
    entries, told = entries_of(lived), list[Retold]()
    most, times = 0, 0

    def full_now_and_then(batch: Sequence[Retold]) -> None:
        nonlocal most, times
        most, times = max(most, len(batch)), times + 1
        if times % 3:
            raise OSError("no space left")
        told.extend(batch)

    replica = Replica(LAB.did, Place(entries), full_now_and_then)
    for _ in range(3 * len(entries)):
        try:
            replica.grow()
            break
        except OSError:
            assert replica.look().size == 0
    assert [each.number for each in told] == list(range(len(entries)))
    assert replica.look().size == len(entries)
    assert most <= 7 + 2


@pytest.mark.parametrize("how", ["back", "fork", "other", "swapped"])
def test_a_ledger_that_does_not_go_on_stops_it_for_good(lived: World, how: str) -> None:
    entries = entries_of(lived)
    place = Place(entries[:20])
    replica = Replica(LAB.did, place)
    replica.grow()
    forked = [*entries[:18], *entries[19:22]]
    place.shown = {
        "back": entries[:19],  # an older head
        "fork": forked,  # of a larger tree that does not hold the former
        "other": [*entries[:19], entries[20]],  # as many entries, others
        "swapped": [
            *entries[:20],
            entries[21],
            entries[20],
        ],  # out of order: sequence numbers or joins
    }[how]
    if how == "swapped":
        place.shown = [*entries[:20], entries[20][:-8] + b"AAAAAA" + entries[20][-2:]]

    async def story() -> tuple[int, str]:
        waiting = asyncio.ensure_future(replica.grown(20, 0.2))
        await asyncio.wait_for(replica.follow(0.01), 5)
        return await waiting, replica.problem or ""

    size, problem = asyncio.run(story())
    assert (size, replica.look().size) == (20, 20)
    assert "stopped at entry 20" in problem
    assert problem.count("\n") == 0


def test_a_place_that_is_down_is_a_problem_until_it_comes_back(lived: World) -> None:
    entries = entries_of(lived)
    place = Place(entries[:9])
    replica = Replica(LAB.did, place)
    replica.grow()
    place.is_down = True

    async def story() -> tuple[str | None, int, str | None]:
        following = asyncio.ensure_future(replica.follow(0.01))
        async with asyncio.timeout(5):
            while replica.problem is None:  # noqa: ASYNC110  what is waited for is no event
                await asyncio.sleep(0.005)
        broken, place.is_down, place.shown = replica.problem, False, entries[:12]
        size = await replica.grown(9, 5)
        problem = replica.problem
        following.cancel()
        return broken, size, problem

    broken, size, problem = asyncio.run(story())
    assert broken is not None
    assert "tried again" in broken
    assert (size, problem) == (12, None)


def test_entries_that_are_others_when_read_again_are_refused(lived: World) -> None:
    entries = entries_of(lived)
    place = Place(list(entries))
    replica = Replica(LAB.did, place)
    replica.grow()
    for number in (3, 2 * BLOCK + 3):  # under a mark of its block, and one of its own
        place.shown = [*entries[:number], b"other", *entries[number + 1 :]]
        with pytest.raises(LedgerCorrupt):
            replica.entries(number, 1)
    assert replica.entries(0, 1) == entries[:1]
    place.shown = entries[:2]
    with pytest.raises(LedgerCorrupt):
        replica.entries(0, 1)


def test_only_a_ledger_that_its_lab_opened_is_folded(lived: World) -> None:
    with pytest.raises(Exception, match=r"expected lab\.opened"):
        Replica(LAB.did, Place(entries_of(lived)[1:])).grow()
    with pytest.raises(Exception, match=f"the ledger of {LAB.did}, and not of"):
        Replica(identity("elsewhere").did, Place(entries_of(lived))).grow()


def test_a_mirror_that_grows_while_it_is_read_is_followed(lived: World, tmp_path: Path) -> None:
    entries = entries_of(lived)
    mirror, place = Mirror(tmp_path / "m", KEY), GrowingMirror(tmp_path / "m", KEY)
    with pytest.raises(LedgerError):
        place.head()

    def extend(to: int) -> None:
        mirror.extend(entries[mirror.size : to], Place(entries[:to]).head())

    extend(10)
    replica = Replica(LAB.did, place)
    assert replica.grow()
    assert replica.look().size == 10
    extend(BLOCK + 5)
    assert replica.entries(2, 5) == entries[2:7]  # the bundle of ten is gone
    assert replica.grow()
    assert replica.entries(0, 999) == entries[: BLOCK + 5]
    older = tmp_path / "older"
    Mirror(older, KEY).extend(entries[:3], Place(entries[:3]).head())
    with pytest.raises(LedgerCorrupt):
        list(GrowingMirror(older, KEY).entries(5, 0))


def test_rows_beside_their_writer_are_followed(world: World) -> None:
    place = GrowingLog(lambda: world.storage, world.lab.log.key)
    replica = Replica(LAB.did, place)
    assert replica.grow()
    world.open_run()
    world.provider("p")
    assert replica.grow()
    assert replica.look().size == world.state.size
    assert replica.entries(0, 9) == entries_of(world)
    del world.storage._heads[-1:]
    with pytest.raises(LedgerError):
        replica.grow()
