"""The bounds of a lab hold exactly: what stands at one is taken, what stands beyond it is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from archipel.lab import admission, refusals
from archipel.lab.apply import MAX_SNAPSHOT_LAG, Contradiction, apply
from archipel.lab.decide import next_seq
from archipel.lab.entry import read_entry
from archipel.lab.lab import author_of, event_fields
from archipel.lab.recovery import pages, replay
from archipel.lab.state import MAX_ENDS_REMEMBERED, LabState, Phase
from archipel.records.canonical import canonical_json
from archipel.records.statements import (
    InvalidRecord,
    LabOpened,
    LeaseExpired,
    LeaseRequested,
    LeaseReturned,
    NodeJoined,
    NodesForgotten,
    RunOpened,
    RunStopped,
    SnapshotTaken,
)
from people import Provider, envelope, identity, ref
from world import PACE, START_MS, World


def test_the_bounds_are_the_documented_ones() -> None:
    assert (admission.MAX_NODES, admission.MAX_RUNS) == (100_000, 1000)
    assert admission.MAX_SEQ_AHEAD == 366 * 24 * 3600 * 1_000_000
    assert MAX_SNAPSHOT_LAG == 10_000
    assert MAX_ENDS_REMEMBERED == 8


def test_a_number_may_be_a_leap_year_ahead_of_the_clock_and_no_more(world: World) -> None:
    world.started()
    node = world.provider("node")
    limit = world.now_ms * 1000 + 366 * 86_400_000_000
    with pytest.raises(refusals.Malformed, match=str(limit)):
        node.speak(LeaseReturned, seq=limit + 1, work="run.9", reason="")
    with pytest.raises(refusals.Malformed, match="microseconds"):
        world.ask(node.request(seq=limit + 1))
    with pytest.raises(refusals.Unknown):
        node.speak(LeaseReturned, seq=limit, work="run.9", reason="")
    assert world.ask(node.request(seq=limit)) is not None


def test_each_author_s_next_number_must_exceed_its_last(world: World) -> None:
    world.started()
    node, other = world.provider("node"), world.provider("other")
    last = world.state.sequences[node.did]
    with pytest.raises(refusals.Replayed, match=f"exceed {last}"):
        node.speak(NodeJoined, seq=last, capabilities=world.state.nodes[node.did].capabilities)
    node.speak(NodeJoined, seq=last + 1, capabilities=world.state.nodes[node.did].capabilities)
    assert world.state.sequences[node.did] == last + 1
    assert world.state.sequences[other.did] > last


def test_requests_are_numbered_apart_from_statements_and_each_is_granted_once(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    statement_seq = world.state.sequences[node.did]
    request = node.request(seq=1)
    granted = world.ask(request)
    assert granted is not None
    assert granted.request_seq == world.state.asked[node.did] == 1
    assert world.state.sequences[node.did] == statement_seq
    for seq in (0, 1):
        with pytest.raises(refusals.Replayed):
            world.ask(node.request(seq=seq))
    node.leases[granted.work] = granted
    node.answer(granted)
    assert world.ask(node.request(seq=2)) is not None


def test_a_request_that_got_nothing_is_not_heard_again(world: World) -> None:
    world.open_run()
    node = world.provider("node")
    assert world.ask(node.request(seq=7)) is None
    for seq in (6, 7):
        with pytest.raises(refusals.Replayed, match="made before"):
            world.ask(node.request(seq=seq))
    assert world.ask(node.request(seq=8)) is None


def test_a_lab_takes_so_many_nodes_and_knows_the_ones_it_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    assert node.ask() is not None
    for place in ("archipel.lab.lab.MAX_NODES", "archipel.lab.admission.MAX_NODES"):
        monkeypatch.setattr(place, 3)
    third = world.provider("third")
    with pytest.raises(refusals.Busy, match="3 nodes"):
        world.provider("fourth")
    third.join()
    assert len(world.state.nodes) == 3


def test_a_lab_makes_room_before_it_is_full(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.lab.lab.MAX_NODES", 2)
    first = world.provider("first")
    second = world.provider("second")
    first.join()
    assert {first.did, second.did} == set(world.state.nodes), "a node that it knows needs no room"
    first.leave()
    third = world.provider("third")
    assert set(world.state.nodes) == {second.did, third.did}


def test_a_lab_takes_so_many_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.lab.admission.MAX_RUNS", 2)
    world.open_run("first")
    world.open_run("second")
    with pytest.raises(refusals.NotAllowed, match="2 runs"):
        world.open_run("third")
    assert set(world.state.runs) == {"first", "second"}


@pytest.mark.parametrize("missing", ["recipe", "model"])
def test_a_run_s_files_are_all_here_when_it_is_opened(world: World, missing: str) -> None:
    said = world.open_run("first").opened
    fields: dict[str, Any] = {"terms": said.terms, "pace": said.pace, "trusted": said.trusted}
    fields |= {"recipe": said.recipe, "model": said.model}
    gone = ref(b"never sent")
    lie = gone if missing == "recipe" else (said.model[0].model_copy(update={"blob": gone}),)
    with pytest.raises(refusals.MissingBlob, match="was not uploaded"):
        world.speak(world.operator, RunOpened, run="second", **(fields | {missing: lie}))
    world.speak(world.operator, RunOpened, run="second", **fields)


def test_a_blob_of_the_same_name_and_another_size_is_not_that_blob(world: World) -> None:
    said = world.open_run("first").opened
    longer = said.recipe.model_copy(update={"size": said.recipe.size + 1})
    fields: dict[str, Any] = {"terms": said.terms, "pace": said.pace, "trusted": said.trusted}
    with pytest.raises(refusals.MissingBlob):
        world.speak(
            world.operator, RunOpened, run="second", recipe=longer, model=said.model, **fields
        )


def test_only_an_operator_stops_a_run_that_is_open(world: World) -> None:
    world.open_run()
    node = world.provider("node")
    with pytest.raises(refusals.NotAllowed, match="no operator"):
        node.speak(RunStopped, run="run", reason="")
    with pytest.raises(refusals.Unknown, match="'run'"):
        world.stop_run("other")
    world.stop_run()
    assert world.run().phase is Phase.STOPPED
    with pytest.raises(refusals.Conflict, match="stopped already"):
        world.stop_run()


def test_how_the_newest_leases_of_a_node_ended_is_remembered(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    grants = []
    for _ in range(9):
        granted = node.ask()
        assert granted is not None
        grants.append(granted)
        node.give_back(granted.work)
    assert [work for work, _ in world.state.nodes[node.did].ends] == [g.work for g in grants[1:]]
    with pytest.raises(refusals.Unknown):
        node.answer(grants[0])
    with pytest.raises(refusals.Late, match="returned"):
        node.answer(grants[1])


def snapshot(world: World, size: int, **lies: Any) -> SnapshotTaken:
    did = world.state.lab
    fields = {"author": did, "seq": next_seq(world.state), "size": size, "state": ref(b"s")} | lies
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
    from archipel.lab.recovery import snapshot_ref
    from archipel.lab.snapshots import encode_state

    size, data = world.state.size, encode_state(world.state)
    for number in range(3):
        world.provider(f"node {number}")
    world.await_(world.lab.say(snapshot(world, size, state=snapshot_ref(data))))
    assert replay(world.state.lab, pages(world.lab.log)) == world.state


IMPOSSIBLE: dict[str, Callable[[World], Any]] = {
    "a second founding": lambda w: w.statement(identity("lab"), LabOpened, operators=("did:x",)),
    "the same run again": lambda w: w.run().opened,
    "the end of no lease": lambda w: w.statement(
        identity("lab"), LeaseExpired, work="run.99", cause="lost"
    ),
    "an unknown node forgotten": lambda w: w.statement(
        identity("lab"), NodesForgotten, nodes=(identity("nobody").did,)
    ),
    "the stop of no run": lambda w: w.statement(w.operator, RunStopped, run="none", reason=""),
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
    import json

    (data,) = world.lab.log.read(0, 1)
    assert read_entry(data).to_bytes() == data
    with pytest.raises(InvalidRecord):
        read_entry(canonical_json(change(json.loads(data))))


def test_an_entry_that_only_asks_is_none(world: World) -> None:
    import json

    node = Provider(world, identity("node"))
    record = json.loads(node.request())
    with pytest.raises(InvalidRecord, match="only asks"):
        read_entry(canonical_json({"at_ms": START_MS, "record": record}))


def test_whose_statement_an_envelope_is_can_be_told_before_it_is_verified(world: World) -> None:
    node = Provider(world, identity("node"))
    assert author_of(node.request()) == node.did
    assert author_of(b"noise") == ""


def test_a_log_line_names_who_and_what(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    assert event_fields(granted) == {
        "node": node.did,
        "work": granted.work,
        "deadline_ms": granted.deadline_ms,
        "work_kind": "rollout",
        "run": "run",
        "version": 0,
    }
    node.answer(granted)
    said = event_fields(world.statements()[-1])
    assert said["node"] == node.did
    assert said["work"] == granted.work
    assert said["work_kind"] == "rollout"
    assert said["num_tokens"] == world.state.nodes[node.did].tallies["rollout"].tokens
    assert "deadline_ms" not in said


def test_what_is_bound_for_another_lab_is_refused_by_its_name(world: World) -> None:
    world.started()
    node = world.provider("node")
    other = identity("elsewhere").did
    with pytest.raises(refusals.WrongLab, match=f"lab {other}, this is {world.state.lab}"):
        node.speak(LeaseReturned, lab=other, work="run.1", reason="")


def test_a_lab_that_says_nothing_but_what_it_may_be_told(world: World) -> None:
    world.started()
    lab = identity("lab")
    before = world.state
    forged = world.statement(lab, LabOpened, operators=(identity("thief").did,))
    with pytest.raises(refusals.NotAllowed, match=r"lab\.opened"):
        world.say(envelope(lab, forged))
    assert world.state == before


def test_prices_are_by_the_group_and_held_until_the_answer(world: World) -> None:
    world.started(max_groups_per_lease=3)
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    price = 3 * PACE["price_micro"]
    assert granted.price_micro == price
    assert world.state.book[f"held:{'run'}"] == price
    assert world.state.book[world.operator.did] == -price
    node.give_back(granted.work)
    assert dict(world.state.book) == {}
    again = node.ask()
    assert again is not None
    node.answer(again)
    assert dict(world.state.book) == {node.did: price, world.operator.did: -price}
    assert world.run().paid_micro == price
