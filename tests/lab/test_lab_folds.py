"""What may stand in a ledger, and in which order: an impossible entry is no part of any state."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from archipel.lab.apply import MAX_SNAPSHOT_LAG, Contradiction, apply
from archipel.lab.decide import next_seq
from archipel.lab.endings import ended_leases
from archipel.lab.entry import read_entry
from archipel.lab.recovery import pages, replay, snapshot_ref
from archipel.lab.snapshots import FORMAT, encode_state
from archipel.lab.state import LabState
from archipel.records.canonical import canonical_json
from archipel.records.pauses import RunPaused, RunResumed
from archipel.records.statements import (
    InvalidRecord,
    LabOpened,
    LeaseExpired,
    LeaseRequested,
    NodesForgotten,
    RunStopped,
    SnapshotTaken,
)
from archipel.records.withdrawal import ContributionWithdrawn
from golden import story
from people import Provider, identity, ref
from world import START_MS, World


def snapshot(world: World, size: int, **lies: Any) -> SnapshotTaken:
    did = world.state.lab
    fields = {
        "format": FORMAT,
        "author": did,
        "seq": next_seq(world.state),
        "size": size,
        "state": ref(b"s"),
    } | lies
    return SnapshotTaken(lab=did, **fields)


def test_a_snapshot_is_announced_within_the_lag_and_not_before_its_time(world: World) -> None:
    state = LabState(lab=identity("lab").did, size=MAX_SNAPSHOT_LAG + 7)
    for size in (7, MAX_SNAPSHOT_LAG, state.size):
        told = apply(state, snapshot(world, size), 1)
        assert told.snapshot == (size, ref(b"s"))
        assert told.size == state.size + 1
    for size in (6, state.size + 1):
        with pytest.raises(Contradiction, match="entries ago"):
            apply(state, snapshot(world, size), 1)


def test_a_replay_can_check_a_snapshot_as_old_as_one_may_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("archipel.lab.recovery", "archipel.lab.apply"):
        monkeypatch.setattr(f"{place}.MAX_SNAPSHOT_LAG", 3)
    size, data = world.state.size, encode_state(world.state)
    for number in range(3):
        world.provider(f"node {number}")
    world.await_(world.lab.say(snapshot(world, size, state=snapshot_ref(data))))
    assert replay(world.state.lab, pages(world.lab.log)) == world.state


IMPOSSIBLE: dict[str, Callable[[World], Any]] = {
    "a second founding": lambda w: w.statement(
        identity("lab"), LabOpened, operators=(w.operator.did,)
    ),
    "the same run again": lambda w: w.run().opened,
    "the end of no lease": lambda w: w.statement(
        identity("lab"), LeaseExpired, work="run.99", cause="lost"
    ),
    "an unknown node forgotten": lambda w: w.statement(
        identity("lab"), NodesForgotten, nodes=(identity("nobody").did,)
    ),
    "the stop of no run": lambda w: w.statement(w.operator, RunStopped, run="none", reason=""),
    "the pause of no run": lambda w: w.statement(w.operator, RunPaused, run="none", reason=""),
    "the end of no pause": lambda w: w.statement(w.operator, RunResumed, run="run"),
    "somebody else's data taken back": lambda w: w.statement(
        identity("learner"), ContributionWithdrawn, run="run", data=f"sha256:{'0' * 64}", reason=""
    ),
    "a request": lambda w: w.statement(
        identity("learner"), LeaseRequested, kinds=("rollout",), holding=()
    ),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_a_ledger_in_which_something_impossible_stands_is_not_folded(
    world: World, what: str
) -> None:
    world.started()
    with pytest.raises(Contradiction):
        apply(world.state, IMPOSSIBLE[what](world), 1)


def test_a_lab_is_founded_by_itself_alone_and_first() -> None:
    lab, other = identity("lab"), identity("other")
    empty = LabState(lab=lab.did)
    founded = LabOpened(lab=lab.did, author=lab.did, seq=1, operators=(other.did,))
    assert apply(empty, founded, 1).operators == {other.did}
    with pytest.raises(Contradiction, match="signed by the lab itself"):
        apply(empty, founded.model_copy(update={"author": other.did}), 1)
    with pytest.raises(Contradiction, match="once, first"):
        apply(apply(empty, founded, 1), founded, 1)


def test_a_node_that_holds_work_cannot_be_forgotten(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    assert node.ask() is not None
    forgotten = world.statement(identity("lab"), NodesForgotten, nodes=(node.did,))
    with pytest.raises(Contradiction, match="holds work"):
        apply(world.state, forgotten, 1)  # type: ignore[arg-type]  # recorded


def test_a_grant_of_another_number_than_the_next_cannot_follow(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    before = world.state
    granted = node.ask()
    assert granted is not None
    assert apply(before, granted, world.now_ms).leases.keys() == {granted.work}
    for lie in ({"work": "run.99"}, {"work": "run.1"}, {"node": identity("nobody").did}):
        with pytest.raises(Contradiction):
            apply(before, granted.model_copy(update=lie), 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v | {"more": 1},
        lambda v: {"record": v["record"]},
        lambda v: {"at_ms": v["at_ms"]},
        lambda v: v | {"at_ms": "1"},
        lambda v: v | {"at_ms": True},
        lambda v: v | {"at_ms": None},
        lambda v: [v["at_ms"], v["record"]],
    ],
)
def test_an_entry_has_a_time_and_a_record_and_nothing_else(world: World, change: Any) -> None:
    (data,) = world.lab.log.read(0, 1)
    assert read_entry(data).to_bytes() == data
    with pytest.raises(InvalidRecord):
        read_entry(canonical_json(change(json.loads(data))))


def test_an_entry_that_only_asks_is_none(world: World) -> None:
    node = Provider(world, identity("node"))
    record = json.loads(node.request())
    with pytest.raises(InvalidRecord, match="only asks"):
        read_entry(canonical_json({"at_ms": START_MS, "record": record}))


def test_which_leases_a_statement_ends_is_known_before_it_is_folded() -> None:
    told = story()
    state, ended = LabState(told.state.lab), 0
    for data in pages(told.lab.log):
        entry = read_entry(data)
        ending = ended_leases(state, entry.statement)
        after = apply(state, entry.statement, entry.at_ms)
        assert {each.work for each in ending} == state.leases.keys() - after.leases.keys()
        state, ended = after, ended + len(ending)
    assert ended > 3
    told.close()
