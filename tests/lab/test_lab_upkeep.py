"""A lab beside its work: deadlines, snapshots, sweeps, the end in good order; what a start needs."""

import asyncio
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archipel.blobs import BlobStore
from archipel.lab import parted, snapshots
from archipel.lab import upkeep as upkeep_module
from archipel.lab.api import make_api
from archipel.lab.background import background
from archipel.lab.decide import next_seq
from archipel.lab.garbage import needed
from archipel.lab.recovery import pages, recover, snapshot_ref
from archipel.lab.snapshots import FORMAT, BadSnapshot, decode_state, encode_state
from archipel.lab.state import LabState
from archipel.lab.upkeep import GRACE_S, NEARLY_FULL, SHORT_GRACE_S, Upkeep
from archipel.records.canonical import canonical_json, parse_canonical
from archipel.records.membership import JoiningRuled
from archipel.records.statements import LeaseReturned, SnapshotTaken
from door import Door
from golden import story
from memory import MemoryBlobs
from people import identity
from world import TERMS, World


@pytest.fixture
def disk_world(quick_folder: Path) -> Iterator[World]:
    made = World(quick_folder)
    yield made
    made.close()


def announced(world: World) -> list[SnapshotTaken]:
    return [each for each in world.statements() if isinstance(each, SnapshotTaken)]


def test_a_snapshot_is_of_the_durable_state_and_the_ledger_says_so(world: World) -> None:
    world.started()
    before = world.state
    assert world.await_(Upkeep(world.lab).take_snapshot())
    (taken,) = announced(world)
    assert (taken.size, taken.seq) == (before.size, next_seq(before))
    assert world.state.snapshot == (before.size, taken.state)
    assert decode_state(world.blobs.read_bytes(taken.state.digest, taken.state.size)) == before
    world.check_replay()


def test_a_store_that_takes_no_snapshot_stops_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> str:
        raise OSError("no room")

    world.started()
    before = world.state
    monkeypatch.setattr(world.blobs, "put_bytes", full)
    assert not world.await_(Upkeep(world.lab).take_snapshot())
    assert world.state == before


def test_a_ledger_without_room_takes_no_snapshot_and_stops_nothing(world: World) -> None:
    world.started()
    world.storage.room = world.lab.log.size
    before = world.state
    assert not world.await_(Upkeep(world.lab).take_snapshot())
    assert world.state == before


@pytest.mark.parametrize(("since", "is_taken"), [(-1, False), (0, True), (1, True)])
def test_a_lab_that_ends_in_good_order_takes_a_snapshot_if_much_has_happened(
    world: World, monkeypatch: pytest.MonkeyPatch, since: int, is_taken: bool
) -> None:
    world.started()
    monkeypatch.setattr(upkeep_module, "SNAPSHOT_AT_END", world.state.size - since)
    world.await_(Upkeep(world.lab).end())
    assert bool(announced(world)) == is_taken
    world.await_(Upkeep(world.lab).end())
    assert len(announced(world)) == is_taken, "it is counted from the last one on"


def test_the_grace_is_short_on_a_disk_that_is_nearly_full(disk_world: World) -> None:
    def grace_s(used: int) -> float:
        store = BlobStore(disk_world._ledger.parent / f"store {used}", quota_bytes=10_000)  # type: ignore[union-attr]  # on disk
        disk_world.lab.blobs = store
        store.put_bytes(b"x" * used, privileged=True)
        return Upkeep(disk_world.lab).grace_s()

    assert grace_s(100) == GRACE_S == 3600
    assert grace_s(9_500) == SHORT_GRACE_S == 120
    assert NEARLY_FULL == 0.8


def test_what_an_open_lease_uploaded_survives_a_sweep(disk_world: World) -> None:
    world = disk_world
    world.started(max_groups_per_lease=1)
    node, door = world.provider("node"), Door(world)
    granted = node.ask()
    assert granted is not None
    assert door.upload(node.identity, b"coming", granted.work).status_code == 201
    stray = world.put(b"stray")
    assert world.await_(Upkeep(world.lab).sweep(-1.0)) == len(b"stray")
    assert not world.blobs.exists(stray.digest)
    assert world.blobs.size(node.answer_fields(granted)["answer"].result.digest)
    door.close()


def test_what_is_needed_is_computed_beside_the_event_loop(
    disk_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[tuple[int, int]] = []

    def watched(*states: LabState) -> set[str]:
        computed.append((threading.get_ident(), len(states)))
        return needed(*states)

    monkeypatch.setattr(parted, "needed", watched)
    disk_world.started()
    disk_world.await_(Upkeep(disk_world.lab).sweep())
    ((thread, _),) = computed
    assert thread != threading.get_ident()


def test_what_any_of_several_states_needs_is_needed(world: World) -> None:
    world.started()
    before = world.state
    world.open_run("second")
    world.await_(Upkeep(world.lab).take_snapshot())
    after = world.state
    assert needed(before, after) == needed(after, before) == needed(before) | needed(after)
    assert needed(before) != needed(after)


def test_deadlines_are_watched_while_the_door_is_open_and_its_end_lets_everybody_go(
    world: World,
) -> None:
    world.started(max_groups_per_lease=1, groups_per_update=1, max_staleness=0)
    node, waiter = world.provider("node"), world.provider("waiter")
    assert node.ask() is not None
    request, late = waiter.request(), world.provider("late").request()
    api = make_api(world.lab)

    async def story() -> tuple[Any, Any]:
        async with api.router.lifespan_context(api):
            asking = asyncio.create_task(world.lab.lease(request, 60.0))
            await asyncio.sleep(0)
            world.now_ms += TERMS["trusted_deadline_ms"] + 1
            first = await asyncio.wait_for(asking, 10.0)
            second = asyncio.create_task(world.lab.lease(late, 60.0))
            await asyncio.sleep(0)
        return first, await asyncio.wait_for(second, 10.0)

    first, second = world.await_(story())
    assert first is not None, "the silent node's lease went to who waited"
    assert second is None


def test_a_state_that_is_far_behind_is_not_announced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep, before = Upkeep(world.lab), world.state
    monkeypatch.setattr(upkeep_module, "MAX_SNAPSHOT_LAG", -1)
    assert not world.await_(upkeep.take_snapshot())
    assert world.state == before
    monkeypatch.setattr(upkeep_module, "MAX_SNAPSHOT_LAG", 0)
    assert world.await_(upkeep.take_snapshot())


class Time:
    """Goes on only where somebody sleeps; `naps` are how long each slept."""

    def __init__(self, most: int) -> None:
        self.naps: list[float] = []
        self._most = most

    def monotonic(self) -> float:
        return 1000.0 + sum(self.naps)

    def time(self) -> float:
        return self.monotonic()

    async def sleep(self, seconds: float) -> None:
        if len(self.naps) == self._most:
            raise asyncio.CancelledError
        self.naps.append(seconds)


def test_a_lab_sweeps_at_once_and_every_minute_and_takes_snapshots_when_they_are_due(
    disk_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, clock, swept = disk_world, Time(most=130), []
    world.started()
    upkeep = Upkeep(world.lab, snapshot_every=world.state.size)

    async def sweep() -> int:
        swept.append(clock.monotonic())
        return 0

    monkeypatch.setattr(upkeep, "sweep", sweep)
    monkeypatch.setattr(upkeep_module, "time", clock)
    monkeypatch.setattr(upkeep_module.asyncio, "sleep", clock.sleep)
    with pytest.raises(asyncio.CancelledError):
        world.await_(upkeep.go_on())
    assert swept == [1001.0 + 60 * n for n in range(3)]
    assert len(announced(world)) == 1


def test_a_new_lab_is_founded_when_its_door_opens_and_an_old_one_keeps_its_operators(
    world: World,
) -> None:
    api = make_api(world.lab, operators=(identity("other").did,))

    async def story() -> None:
        async with api.router.lifespan_context(api):
            pass

    world.await_(story())
    assert world.state.operators == {world.operator.did}
    assert world.lab.log.size == 1


def test_a_background_task_ends_with_its_block_and_its_failure_is_heard() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(True)

    async def fails() -> None:
        raise ValueError("heard")

    async def story() -> None:
        heard: list[BaseException] = []
        async with background(forever(), heard.append):
            await asyncio.sleep(0)
        assert (ended, heard) == ([True], [])
        async with background(fails(), heard.append):
            await asyncio.sleep(0.01)
            assert [str(each) for each in heard] == ["heard"], "at once, not at the end"

    with pytest.raises(ValueError, match="heard"):
        asyncio.run(story())


class Few:
    """A log whose pages are short."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries
        self.size = len(entries)

    def read(self, start: int, limit: int) -> list[bytes]:
        return self.entries[start : start + min(limit, 2)]


def test_pages_are_put_together_whatever_their_length(world: World) -> None:
    world.started()
    entries = list(pages(world.lab.log))
    assert len(entries) == world.lab.log.size > 3
    assert list(pages(Few(entries))) == entries
    assert list(pages(Few(entries), 3)) == entries[3:]
    assert list(pages(Few(entries), len(entries))) == []


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
def test_a_snapshot_is_found_on_whatever_page_it_was_announced(
    world: World, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("archipel.lab.recovery.PAGE", page)
    for number in range(3):
        world.provider(f"node {number}")
        assert world.await_(Upkeep(world.lab).take_snapshot())
    world.provider("last")
    real, folded = decode_state, []
    monkeypatch.setattr(
        "archipel.lab.recovery.decode_state", lambda data: folded.append(real(data)) or folded[-1]
    )
    assert recover(world.state.lab, world.lab.log, world.blobs) == world.state  # type: ignore[arg-type]
    assert [each.size for each in folded] == [announced(world)[-1].size]


@pytest.mark.parametrize(("search", "is_found"), [(3, True), (2, True), (1, False)])
def test_a_snapshot_is_looked_for_among_the_newest_entries_only(
    world: World, monkeypatch: pytest.MonkeyPatch, search: int, is_found: bool
) -> None:
    monkeypatch.setattr("archipel.lab.recovery.PAGE", 1)
    monkeypatch.setattr("archipel.lab.recovery.MAX_SEARCH", search)
    assert world.await_(Upkeep(world.lab).take_snapshot())
    world.provider("last")
    asked = []

    class Asked(MemoryBlobs):
        def read_bytes(self, digest: str, max_bytes: int) -> bytes:
            asked.append(digest)
            return world.blobs.read_bytes(digest, max_bytes)

    assert recover(world.state.lab, world.lab.log, Asked()) == world.state
    assert bool(asked) == is_found


@pytest.mark.parametrize(
    "lie",
    [
        lambda state: dataclasses.replace(state, size=state.size + 1),
        lambda state: dataclasses.replace(state, lab=identity("other").did),
    ],
)
def test_a_snapshot_of_another_size_or_lab_is_not_begun_from(world: World, lie: Any) -> None:
    world.started()
    size = world.state.size
    data = encode_state(lie(world.state))
    world.put(data)
    did = world.state.lab
    seq = next_seq(world.state)
    taken = SnapshotTaken(
        lab=did, author=did, seq=seq, format=FORMAT, size=size, state=snapshot_ref(data)
    )
    world.await_(world.lab.say(taken))
    before = world.state
    world.restart()
    assert world.state == before


def test_words_about_snapshots_in_other_statements_are_no_snapshots(world: World) -> None:
    world.started()
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    node.speak(LeaseReturned, work=granted.work, reason='"kind":"snapshot.taken"')
    before = world.state
    world.restart()
    assert world.state == before


def test_equal_states_have_equal_bytes_and_operators_are_sorted(world: World) -> None:
    world.started()
    many = frozenset(identity(str(n)).did for n in range(9))
    state = dataclasses.replace(world.state, operators=many)
    data = encode_state(state)
    value = parse_canonical(data)
    assert value["format"] == FORMAT == 10
    assert value["state"]["operators"] == sorted(many)
    assert encode_state(decode_state(data)) == data


@pytest.mark.parametrize(
    "rows", [1, *(pytest.param(each, marks=pytest.mark.slow) for each in (2, 3, 1000))]
)
def test_a_state_has_the_same_bytes_in_whatever_pieces_they_are_made(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    told = story()
    told.speak(told.operator, JoiningRuled, policy="open", allowed=(), effort_bits=0, places=1024)
    for number in range(7):
        told.provider(f"newcomer {number}")
    whole = snapshots._STATE.dump_python(
        snapshots._Saved(FORMAT, told.state), mode="json", fallback=snapshots._plain
    )
    whole["state"]["operators"] = sorted(whole["state"]["operators"])
    expected, pieces = canonical_json(whole), []
    single = [whole["state"][name].keys() for name in ("joining", "pool")]

    def watched(value: Any) -> bytes:
        is_table = isinstance(value, dict) and value.keys() not in single
        pieces.append(len(value) if is_table else 0)
        return canonical_json(value)

    monkeypatch.setattr(snapshots, "canonical_json", watched)
    monkeypatch.setattr(snapshots, "ROWS_AT_ONCE", rows)
    assert encode_state(told.state) == expected
    assert max(pieces) <= max(rows, 2) or rows == 1000
    told.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run["course"].pop("owed"),
        lambda run: run.update(attached={"rollout": {}}),
        lambda run: run.update(attached={"nothing": {}}),
        lambda run: run.update(phase="asleep"),
        lambda run: run.pop("opened"),
    ],
)
def test_a_run_in_a_snapshot_is_read_strictly_or_refused(world: World, change: Any) -> None:
    world.started()
    value = parse_canonical(encode_state(world.state))
    change(value["state"]["runs"]["run"])
    with pytest.raises(BadSnapshot):
        decode_state(canonical_json(value))
