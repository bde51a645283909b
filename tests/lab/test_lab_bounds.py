"""The bounds of a lab hold exactly: what stands at one is taken, what stands beyond it is refused."""

from typing import Any

import pytest

from archipel.lab import admission, lab, refusals
from archipel.lab.apply import MAX_SNAPSHOT_LAG
from archipel.lab.arrivals import author_of, event_fields
from archipel.lab.state import MAX_ENDS_REMEMBERED, Phase
from archipel.records.statements import (
    LabOpened,
    LeaseReturned,
    NodeJoined,
    RunOpened,
    RunStopped,
)
from people import Provider, envelope, identity, ref
from world import PACE, World


def test_the_bounds_are_the_documented_ones() -> None:
    assert (lab.MAX_NODES, admission.MAX_RUNS) == (100_000, 1000)
    assert admission.MAX_SEQ_AHEAD == 366 * 24 * 3600 * 1_000_000
    assert MAX_SNAPSHOT_LAG == 10_000
    assert MAX_ENDS_REMEMBERED == 8


def test_a_number_may_be_a_leap_year_ahead_of_the_clock_and_no_more(world: World) -> None:
    world.started()
    node = world.provider("node")
    limit = world.now_ms * 1000 + 366 * 86_400_000_000
    with pytest.raises(refusals.Replayed, match=str(limit)):
        node.speak(LeaseReturned, seq=limit + 1, work="run.9", reason="")
    with pytest.raises(refusals.Replayed, match="microseconds"):
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
    request = node.request(seq=2)
    granted = world.ask(request)
    assert granted is not None
    assert granted.request_seq == world.state.asked[node.did] == 2
    assert world.state.sequences[node.did] == statement_seq
    for seq in (1, 2):
        with pytest.raises(refusals.Replayed):
            world.ask(node.request(seq=seq))
    node.leases[granted.work] = granted
    node.answer(granted)
    assert world.ask(node.request(seq=3)) is not None


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
    monkeypatch.setattr("archipel.lab.lab.MAX_NODES", 2)
    with pytest.raises(refusals.Busy, match="2 nodes"):
        world.provider("third")
    node.join()
    assert len(world.state.nodes) == 2


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
    with pytest.raises(refusals.Conflict, match=r"choose another run\.name"):
        world.open_run("first")


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
    node.prove(1)
    one, price = PACE["price_micro"], 3 * PACE["price_micro"]
    granted = node.ask()
    assert granted is not None
    assert granted.price_micro == price
    assert world.state.book["held:run"] == price
    assert world.state.book[world.operator.did] == -price - one
    node.give_back(granted.work)
    assert dict(world.state.book) == {node.did: one, world.operator.did: -one}
    again = node.ask()
    assert again is not None
    node.answer(again)
    assert dict(world.state.book) == {node.did: price + one, world.operator.did: -price - one}
    assert world.run().paid_micro == price + one
