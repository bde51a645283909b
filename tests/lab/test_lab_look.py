"""Looks: what pages are cut from says what the views say, all of it of one moment, and of a crowd only what is shown."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import courtroom
from archipel.dashboard import source as shapes
from archipel.lab import views
from archipel.lab.audit_views import case_facts, cases_of
from archipel.lab.entry import read_examined
from archipel.lab.look import Crowd, Look
from archipel.lab.look_source import LabSource
from archipel.lab.membership import Delegated
from archipel.lab.recovery import pages
from archipel.lab.retelling import Retold, retelling
from archipel.lab.state import LabState, Node
from archipel.lab.tallies import Tally
from archipel.market.journal import OUTSIDE, Move, Posting, post
from archipel.records.documents import NodeView
from archipel.records.page_documents import MAX_NODES_SHOWN, NodeOrder
from archipel.records.table import Table
from people import identity
from slow_disk import CAPABILITIES
from world import START_MS, World


@pytest.fixture(scope="module")
def court() -> Iterator[World]:
    """Somebody lied and was found out, somebody did not; one case is open."""
    world = World()
    courtroom.opened(world)
    honest, witness = (courtroom.node(world, name) for name in ("honest", "witness"))
    granted = courtroom.sampled(world, honest)
    courtroom.draw(world)
    courtroom.audited(world, witness)
    courtroom.sampled(world, witness)
    courtroom.draw(world)
    assert granted.work
    yield world
    world.close()


def look(world: World) -> Look:
    return LabSource(world.lab).look()


def test_the_labs_own_classes_fit_what_pages_are_cut_from(court: World) -> None:
    source: shapes.Source = LabSource(court.lab)
    seen: shapes.Look = source.look()
    assert source.is_lab
    assert (source.lab, seen.size) == (court.state.lab, court.state.size)
    assert source.problem is None
    assert source.head() == court.lab.log.head.note.decode()
    assert source.entries(1, 2) == court.lab.log.read(1, 2)
    assert len(source.entries(-5, 10**9)) == seen.size  # bounded, not refused


def test_a_look_says_what_the_views_say(court: World) -> None:
    state, seen, asked = court.state, look(court), court.lab.asked_ms
    now_ms = seen.now_ms
    assert seen.run("run") == views.run_view(state, court.run(), now_ms)
    assert seen.runs(0, 9) == [seen.run("run")]
    assert seen.opening("run") == court.run().entry
    for did, node in state.nodes.items():
        assert seen.node(did) == views.node_view(state, node, now_ms, asked)
        assert seen.joined(did) == node.joined_at_ms
        assert seen.leases(did) == views.lease_views(state, now_ms, node.leases)
    assert list(seen.waits("run")) == views.waits(state, now_ms)
    assert seen.waits("none") == []
    assert (seen.market("run", 9), seen.ownership("run", 9)) == (None, None)
    assert seen.grants(9).size == state.size
    for unknown in (seen.run, seen.opening, seen.node, seen.joined, seen.operator):
        assert unknown("nobody") is None
    assert not seen.leases("nobody")
    assert not seen.audits(0, 9, run="none")


def test_a_look_is_of_one_moment(world: World) -> None:
    world.open_run("first")
    world.provider("early")
    source = LabSource(world.lab)
    before = source.look()
    world.open_run("second")
    world.provider("late")
    assert (before.counts().runs, before.counts().nodes) == (1, 1)
    assert [run.run for run in source.look().runs(0, 9)] == ["second", "first"]
    assert [run.run for run in source.look().runs(1, 9)] == ["first"]
    assert source.look().crowd is source.look().crowd  # of one state, counted once
    assert source.look().crowd is not before.crowd


def test_what_open_leases_hold_back_counts_as_promised(world: World) -> None:
    world.open_run("run")
    world.learner().work()
    world.provider("one").ask()
    seen = LabSource(world.lab).look()
    run = seen.run("run")
    assert run is not None
    assert seen.counts().paid_micro == run.spent_micro > 0


def test_cases_are_the_same_for_pages_and_for_machines(court: World) -> None:
    run, shown = court.run(), look(court).audits(0, 99)
    facts = {each.work: case_facts(run, each) for each in cases_of(run)}
    assert len(shown) == len(facts) >= 2
    for each in shown:
        fact = facts[each.work]
        assert (each.node, each.stage, each.verdict) == (
            fact["node"],
            fact["stage"],
            fact["outcome"],
        )
        assert (each.reason, each.closed_ms) == (fact["reason"], fact["at_ms"])
        assert list(each.looks) == [said["work"] for said in fact["opinions"]]
    is_closed = [each.closed_ms is not None for each in shown]
    assert is_closed == sorted(is_closed)
    assert [*look(court).audits(0, 1), *look(court).audits(1, 99)] == list(shown)
    mine = look(court).audits(0, 99, operator=identity("honest").did)
    assert {each.node for each in mine} == {identity("honest").did}


def test_counts_are_what_the_lists_come_to(court: World) -> None:
    seen = look(court)
    counts = seen.counts()
    assert (counts.nodes, counts.operators) == (len(seen.nodes(0, 99)), len(seen.operators(0, 99)))
    assert counts.here == sum(node.present for node in seen.nodes(0, 99))
    assert counts.open_cases == sum(each.closed_ms is None for each in seen.audits(0, 99))
    assert counts.paid_micro == sum(run.spent_micro for run in seen.runs(0, 99))
    assert (counts.runs, counts.live_runs) == (1, 1)


def test_a_replica_knows_who_joined_and_did_not_leave(court: World) -> None:
    late_ms = court.now_ms + 365 * 86_400_000
    idle = replace(court.state, leases=Table(), nodes=Table({
        did: replace(node, leases=()) for did, node in court.state.nodes.items()
    }))  # fmt: skip
    assert Look(idle, late_ms).counts().here == len(idle.nodes)
    assert Look(idle, late_ms, {}).counts().here == 0


def crowd(num: int) -> LabState:
    """So many nodes, each of which earned something else."""
    nodes, postings = {}, []
    for number in range(num):
        did = f"did:key:z{number:06d}"
        nodes[did] = Node(
            did,
            CAPABILITIES,
            joined_at_ms=START_MS + number % 977,
            last_seen_ms=START_MS,
            tallies={"rollout": Tally(works=1, units=number % 31, tokens=number)},
        )
        postings.append(Posting(Move.PAY_IN, OUTSIDE, did, number * 7919 % 10_007))
    return LabState(lab="did:key:zlab", nodes=Table(nodes), book=post(Table(), postings))


@pytest.mark.parametrize("by", ["joined", "earned", "work"])
def test_pages_of_a_crowd_are_its_order_cut_in_pieces(by: NodeOrder) -> None:
    state = crowd(200)
    seen = Look(state, START_MS, {})
    whole = seen.nodes(0, 200, by)
    cut = [node for start in range(0, 200, 64) for node in seen.nodes(start, 64, by)]
    assert cut == list(whole)
    keys = {
        "joined": [seen.joined(node.node) for node in whole],
        "earned": [node.credit_micro for node in whole],
        "work": [node.groups for node in whole],
    }[by]
    assert keys == sorted(keys, reverse=True)  # type: ignore[type-var]
    assert len({node.node for node in whole}) == 200
    with pytest.raises(KeyError):
        seen.nodes(0, 9, "device")  # type: ignore[arg-type]


def test_of_a_crowd_only_what_is_shown_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    computed, view = list[str](), views.node_view

    def counted(state: LabState, node: Node, *rest: Any) -> NodeView:
        computed.append(node.did)
        return view(state, node, *rest)

    monkeypatch.setattr(views, "node_view", counted)
    seen = Look(crowd(500), START_MS, {})
    seen.nodes(450, 10, "earned")
    seen.operators(0, 10)
    seen.counts()
    assert len(computed) == 10


def test_an_operator_is_shown_with_all_that_its_nodes_did() -> None:
    state = crowd(100)
    boss = "did:key:zboss"
    state = replace(state, delegations=Table({
        did: Delegated(operator=boss, issued_ms=START_MS) for did in list(state.nodes)[:90]
    }))  # fmt: skip
    view = Look(state, START_MS, {}).operator(boss)
    assert view is not None
    mine = [state.nodes[did] for did in list(state.nodes)[:90]]
    assert view.num_nodes == 90
    assert len(view.nodes) == MAX_NODES_SHOWN
    assert view.groups == sum(node.tallies["rollout"].units for node in mine)
    assert len(Look(state, START_MS, {}).operators(0, 999)) == 11
    assert len(Look(state, START_MS, {}).nodes(0, 999, operator=boss)) == 90
    assert Crowd(state).nodes_of[boss]


def test_whoever_waits_for_growth_is_told_at_once_and_waits_no_longer_than_it_said(
    world: World,
) -> None:
    source = LabSource(world.lab)

    async def story() -> tuple[int, int, int, float]:
        size = world.lab.state.size
        waiting = asyncio.ensure_future(source.grown(size, 30.0))
        await asyncio.sleep(0)
        world.provider("comes")
        told = await waiting
        known = await source.grown(size, 30.0)
        began = time.monotonic()
        unchanged = await source.grown(world.lab.state.size, 0.01)
        took = time.monotonic() - began
        held = asyncio.ensure_future(source.grown(world.lab.state.size, 30.0))
        await asyncio.sleep(0)
        world.lab.news.close()
        assert await held == unchanged
        return told, known, unchanged, took

    told, known, unchanged, _ = world.await_(story())
    assert told == known == unchanged == world.lab.state.size


def test_the_fold_once_more_tells_every_entry_and_what_moved(court: World) -> None:
    lab = court.state.lab
    entries = [read_examined(data) for data in pages(court.lab.log)]
    state, told = LabState(lab=lab), list[Retold]()
    for state, each in retelling(LabState(lab=lab), entries):  # noqa: B007
        told.append(each)
    assert state == court.state
    assert [each.number for each in told] == list(range(court.state.size))
    book = post(Table(), [posting for each in told for posting in each.postings])
    assert book == court.state.book
    assert any(each.postings for each in told)
    # from any state on, the same
    middle = next(s for s, each in retelling(LabState(lab=lab), entries) if each.number == 3)
    assert [each for _, each in retelling(middle, entries[4:])] == told[4:]
