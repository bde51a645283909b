"""A lab that lasts: bounded memory, snapshots that anyone can check, blobs that go when nobody needs them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.blobs import BlobStore, StorageFull
from archipel.lab import refusals
from archipel.lab.apply import MAX_SNAPSHOT_LAG, Contradiction, apply
from archipel.lab.chain import MAX_REWARDS_REMEMBERED, since, version_of
from archipel.lab.decide import next_seq, opportunities
from archipel.lab.forgetting import forgettable
from archipel.lab.garbage import needed
from archipel.lab.presence import GONE_MS
from archipel.lab.programmes import rl
from archipel.lab.recovery import pages, recover, replay, replayed, snapshot_ref
from archipel.lab.snapshots import FORMAT, BadSnapshot, decode_state, encode_state
from archipel.lab.state import Phase
from archipel.lab.upkeep import Upkeep
from archipel.records.kinds import WORDS_OF
from archipel.records.statements import SnapshotTaken, WorkAnswered
from door import Door
from people import identity, ref
from world import World, finish


@pytest.fixture
def disk_world(quick_folder: Path) -> Iterator[World]:
    made = World(quick_folder)
    yield made
    made.close()


def whole_run(world: World, **pace) -> None:
    learner = world.started(**pace)
    finish(world, learner, [world.provider("a"), world.provider("b")])
    while learner.work() is not None:
        pass


def taken(world: World, **lies) -> SnapshotTaken:
    data = encode_state(world.state)
    fields = {"format": FORMAT, "size": world.state.size, "state": snapshot_ref(data)} | lies
    world.put(data)
    did = world.state.lab
    return SnapshotTaken(lab=did, author=did, seq=next_seq(world.lab.ahead), **fields)


def test_a_snapshot_and_what_follows_give_the_state_of_the_whole_ledger(world: World) -> None:
    learner = world.started()
    node = world.provider("node")
    for _ in range(3):
        granted = node.ask()
        if granted is not None:
            node.answer(granted)
        world.await_(world.lab.say(taken(world)))
    finish(world, learner, [node])
    live = world.state
    assert recover(live.lab, world.lab.log, world.blobs) == live  # type: ignore[arg-type]
    assert replay(live.lab, pages(world.lab.log)) == live
    world.restart()
    assert world.state == live


def test_a_lab_starts_from_its_newest_usable_snapshot_and_folds_only_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.started()
    world.await_(world.lab.say(taken(world)))
    usable = world.state.size
    world.provider("node")
    lost = taken(world)
    world.await_(world.lab.say(lost))
    world.blobs.discard(lost.state.digest)
    folded = []
    real = apply

    def counting(state, statement, at_ms):
        folded.append(state.size)
        return real(state, statement, at_ms)

    monkeypatch.setattr("archipel.lab.recovery.apply", counting)
    before = world.state
    world.restart()
    assert world.state == before
    assert folded[0] == usable - 1, "the state before the announcement of the usable one"


def test_a_snapshot_of_another_state_is_found_by_whoever_replays(world: World) -> None:
    world.started()
    before = world.state
    world.provider("richer")
    forged = encode_state(replace(world.state, book=world.state.book.put("did:x", 5)))
    lie = taken(world, state=snapshot_ref(forged))
    world.await_(world.lab.say(lie))
    with pytest.raises(Contradiction, match=str(lie.size)):
        replay(before.lab, pages(world.lab.log))


def test_a_snapshot_of_another_form_is_not_begun_from_and_counted_apart(world: World) -> None:
    world.started()
    world.await_(world.lab.say(taken(world)))
    later = taken(world, format=FORMAT + 1, state=world.put(b"what a later release writes"))
    world.await_(world.lab.say(later))
    before = world.state
    found = replayed(before.lab, pages(world.lab.log))
    assert (found.state, found.compared, found.passed_over) == (before, 1, 1)
    world.restart()
    assert world.state == before


def test_a_snapshot_from_too_long_ago_or_from_the_future_cannot_be_announced(world: World) -> None:
    world.started()
    late = replace(world.state, size=world.state.size + MAX_SNAPSHOT_LAG + 1)
    for state, lie in ((late, {}), (world.state, {"size": world.state.size + 1})):
        with pytest.raises(Contradiction, match="snapshot"):
            apply(state, taken(world, **lie), 1)
    stranger = taken(world).model_copy(update={"author": identity("x").did})
    with pytest.raises(Contradiction, match="by the lab"):
        apply(world.state, stranger, 1)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format":1,"state":{}}', b"\xff", b"[1.5]"])
def test_bytes_that_are_no_snapshot_are_refused_by_one_name(data: bytes) -> None:
    with pytest.raises(BadSnapshot):
        decode_state(data)


def test_a_snapshot_of_another_format_is_refused(world: World) -> None:
    other = b'"format":%d' % (FORMAT + 1)
    data = encode_state(world.state).replace(b'"format":%d' % FORMAT, other)
    with pytest.raises(BadSnapshot, match=f"format {FORMAT + 1}"):
        decode_state(data)


def test_what_a_run_remembers_does_not_grow_with_its_versions(world: World) -> None:
    whole_run(world, versions=40, keep_versions=5, checkpoint_every=4, groups_per_update=1)
    run = world.run()
    assert run.phase is Phase.COMPLETE
    assert [each.version for each in run.chain] == list(range(36, 41))
    slice_ = rl.course(run)
    assert not slice_.results
    assert not slice_.prompts
    assert version_of(run, 35) is None
    assert [each.version for each in since(run, 38)] == [38, 39, 40]
    world.check_replay()


@pytest.mark.parametrize("end", ["complete", "stopped"])
def test_what_only_a_run_s_work_needed_goes_when_it_is_over_and_nobody_holds_any(
    disk_world: World, end: str
) -> None:
    world = disk_world
    learner = world.started(versions=3, checkpoint_every=2, groups_per_update=1, max_staleness=1)
    node = world.provider("node")
    while world.run().version < 2:
        granted = node.ask()
        if granted is not None:
            node.answer(granted)
        learner.work()
    held = node.ask()
    assert held is not None
    slice_ = rl.course(world.run())
    assert slice_.memory is not None
    memory, prompts = slice_.memory.blob, set(slice_.prompts.values())
    if end == "stopped":
        world.stop_run()
        assert rl.course(world.run()).memory == slice_.memory, "the answer may still come"
        node.answer(held)
    else:
        node.answer(held)
        while learner.work() is not None:
            pass
        assert world.run().phase is Phase.COMPLETE
    run = world.run()
    gone = {memory.digest, *(blob.digest for blob in prompts)}
    assert not gone & needed(world.state)
    assert (rl.course(run).results, rl.in_flight(run)) == ({}, 0)
    assert (world.state.live, run.leases) == ((), {})
    newest = run.chain[-1]
    assert newest.anchor is not None
    assert {newest.manifest.digest, newest.anchor.digest} <= needed(world.state)
    world.await_(Upkeep(world.lab).sweep(-1.0))
    assert not any(world.blobs.exists(digest) for digest in gone)
    assert world.blobs.exists(newest.anchor.digest), "a release needs it"
    world.check()
    world.check_replay()


def test_runs_that_are_over_leave_room_for_others_and_are_not_looked_at_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.lab.admission.MAX_RUNS", 2)
    monkeypatch.setattr("archipel.lab.admission.MAX_RUNS_KEPT", 4)
    for number in range(3):
        world.open_run(f"over-{number}")
        world.stop_run(f"over-{number}")
    assert world.state.live == ()
    world.open_run("open")
    assert {each.run.name for each in opportunities(world.state)} == {"open"}
    assert world.state.live == ("open",)
    with pytest.raises(refusals.NotAllowed, match="keeps 4 runs already"):
        world.open_run("another")
    monkeypatch.setattr("archipel.lab.admission.MAX_RUNS_KEPT", 9)
    world.open_run("another")
    with pytest.raises(refusals.NotAllowed, match="2 runs of this lab are not over yet"):
        world.open_run("third")
    world.check_replay()


def test_a_complete_run_is_live_until_its_versions_are_evaluated(world: World) -> None:
    learner = world.started(versions=1, groups_per_update=1, evaluate_every=1)
    finish(world, learner, [world.provider("node")])
    assert world.run().phase is Phase.COMPLETE
    evaluated = 0
    while world.state.live:
        granted = learner.ask()
        assert granted is not None
        assert world.run().leases == {granted.work: world.state.leases[granted.work].entry}
        learner.give_back(granted.work) if not evaluated else learner.answer(granted)
        evaluated += 1
    assert evaluated > 1
    assert learner.ask() is None
    world.check_replay()


def test_between_checkpoints_everything_that_a_learner_without_memory_replays_is_kept(
    world: World,
) -> None:
    learner = world.started(versions=9, checkpoint_every=4, groups_per_update=2)
    node = world.provider("node")
    while world.run().version < 7:
        learner.work()
        granted = node.ask()
        if granted is not None:
            node.answer(granted)
    slice_ = rl.course(world.run())
    assert slice_.memory is not None
    assert (slice_.memory.version, sorted(slice_.made)) == (4, [5, 6, 7])
    live = needed(world.state)
    for made in slice_.made.values():
        for each in made.inputs:
            assert {blob.digest for blob in WORDS_OF[each.answer.kind].blobs(each.answer)} <= live


def test_the_reward_curve_of_a_long_run_is_thinned_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.lab.chain.MAX_REWARDS_REMEMBERED", 4)
    world = World()
    whole_run(world, versions=20, groups_per_update=1)
    run = world.run()
    assert run.reward_stride == 8
    assert len(run.rewards_micro) == 2
    assert MAX_REWARDS_REMEMBERED > 1000
    world.close()


def test_a_version_without_the_checkpoint_that_is_due_is_refused(world: World) -> None:
    learner = world.started(versions=4, checkpoint_every=1)
    node = world.provider("node")
    for _ in range(2):
        node.prove(1)
    granted = learner.ask()
    while granted is None or granted.spec.kind != "update":
        if granted is not None:
            learner.answer(granted)
        granted = learner.ask()
    with pytest.raises(refusals.MissingBlob, match="checkpoint"):
        learner.answer(granted, memory=None)


def test_a_sweep_takes_what_nobody_needs_and_the_run_goes_on_to_its_end(disk_world: World) -> None:
    world = disk_world
    learner = world.started(versions=12, keep_versions=2, checkpoint_every=2, groups_per_update=2)
    nodes, upkeep = [world.provider("a"), world.provider("b")], Upkeep(world.lab)
    store = world.blobs
    assert isinstance(store, BlobStore)
    most = 0
    while world.run().phase is not Phase.COMPLETE:
        learner.work()
        for node in nodes:
            granted = node.ask()
            if granted is not None:
                node.answer(granted)
        live = needed(world.state)
        world.await_(upkeep.sweep(-1.0))
        assert set(store.digests()) == live
        most = max(most, len(live))
    everything = {
        blob.digest
        for statement in world.statements()
        if isinstance(statement, WorkAnswered)
        for blob in WORDS_OF[statement.answer.kind].blobs(statement.answer)
    }
    assert most < len(everything) / 2
    world.check()
    world.check_replay()


def test_a_blob_that_came_just_now_survives_a_sweep_with_grace(disk_world: World) -> None:
    world = disk_world
    young = world.put(b"about to be named")
    assert world.await_(Upkeep(world.lab).sweep(60.0)) == 0
    assert world.blobs.exists(young.digest)


def test_bytes_of_a_lease_that_came_back_are_given_back_to_the_disk(disk_world: World) -> None:
    world = disk_world
    world.started(max_groups_per_lease=1)
    node, door = world.provider("node"), Door(world)
    granted = node.ask()
    assert granted is not None
    before = world.blobs.used()
    uploaded = b"x" * 64
    assert door.upload(node.identity, uploaded, granted.work).status_code == 201
    kept = world.put(b"was here before")
    assert door.upload(node.identity, b"was here before", granted.work).status_code == 201
    node.give_back(granted.work)
    assert not world.blobs.exists(ref(uploaded).digest)
    assert world.blobs.exists(kept.digest), "it was here before the lease"
    assert world.blobs.used().whole_bytes >= before.whole_bytes
    door.close()


def test_nodes_that_are_gone_make_room_first_and_then_those_that_never_did_anything(
    world: World,
) -> None:
    world.started(max_groups_per_lease=1)
    worker, idler, holder = (world.provider(name) for name in ("worker", "idler", "holder"))
    worker.answer(worker.ask())
    assert holder.ask() is not None
    leaver = world.provider("leaver")
    leaver.leave()
    first = forgettable(world.state, world.now_ms, 10)
    assert first is not None
    assert first.nodes == (leaver.did,)
    world.await_(world.lab.say(first))
    second = forgettable(world.state, world.now_ms, 10)
    assert second is not None
    assert set(second.nodes) == {idler.did, identity("learner").did} - _proven(world)
    world.now_ms += GONE_MS + 1
    third = forgettable(world.state, world.now_ms, 10)
    assert third is not None
    assert holder.did not in third.nodes, "it holds work"
    assert third.nodes[-1] == worker.did, "who did something goes last"


def _proven(world: World) -> set[str]:
    return {node.did for node in world.state.nodes.values() if node.works}


def test_a_full_lab_still_takes_a_newcomer_and_old_words_of_the_forgotten_are_not_believed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.lab.lab.MAX_NODES", 4)
    monkeypatch.setattr("archipel.lab.lab.MAX_FORGOTTEN", 1)
    world.open_run()
    nodes = []
    for number in range(6):
        world.now_ms += 1
        nodes.append(world.provider(f"node {number}"))
    assert len(world.state.nodes) <= 4
    assert nodes[-1].did in world.state.nodes
    assert nodes[0].did not in world.state.nodes
    said = nodes[0].request(seq=1)
    with pytest.raises(refusals.Replayed):
        world.ask(said)
    with pytest.raises(refusals.NotJoined):
        world.ask(nodes[0].request(seq=world.state.forgotten_seq + 1))
    world.check_replay()


def test_a_full_store_stops_strangers_but_never_the_learner_that_empties_it(
    quick_folder: Path,
) -> None:
    """Junk fills what strangers may use; the trusted role goes on, a sweep makes room, the run ends."""
    world = World(quick_folder)
    store = BlobStore(quick_folder / "small", quota_bytes=60_000, reserve_bytes=30_000)
    world.lab.close()
    world.blobs = store
    world.restart()
    learner = world.started(versions=6, keep_versions=1, checkpoint_every=1, groups_per_update=2)
    node, upkeep, door = world.provider("node"), Upkeep(world.lab), Door(world)
    node.prove(1)
    granted = node.ask()
    assert granted is not None
    while store.room() > 1000:
        store.put_bytes(bytes([store.room() % 251]) * 999)
    assert door.upload(node.identity, b"x" * 600, granted.work).status_code in (413, 507)
    with pytest.raises(StorageFull):
        node.words(granted)
    node.give_back(granted.work)
    examined = learner.work()
    assert examined is not None, "what the trusted role brings still fits"
    junk = store.used().total_bytes
    world.await_(upkeep.sweep(-1.0))
    assert store.used().total_bytes < junk / 2
    for _ in range(200):
        if world.run().phase is Phase.COMPLETE:
            break
        learner.work()
        granted = node.ask()
        if granted is not None:
            node.answer(granted)
        world.await_(upkeep.sweep(-1.0))
    assert world.run().phase is Phase.COMPLETE
    assert store.used().total_bytes <= 60_000
    world.check()
    door.close()
    world.close()
