"""What a lab shows of itself, against stories whose figures were computed by hand."""

import dataclasses

import pytest

from archipel.lab.metrics import StateCollector, prometheus_text
from archipel.lab.orders import page
from archipel.lab.views import key_view, learning_ms, lease_views, node_views, run_view, waits
from archipel.lab.waits import ACTIVE_MS
from archipel.records.documents import LeaseView, NodeView
from archipel.records.table import Table
from people import Learner, Provider, identity
from world import PACE, TERMS, World


def sampled(world: World, node: Provider, ms: int) -> int:
    """The node takes a lease and answers it after `ms`; its tokens."""
    granted = node.ask()
    assert granted is not None
    world.now_ms += ms
    fields = node.answer_fields(granted)
    node.answer(granted)
    return int(fields["answer"].num_tokens)


def shown(world: World, node: Provider) -> NodeView:
    (found,) = node_views(world.state, world.now_ms, [node.did])
    return found


def nodes_page(world: World, start: int, limit: int, now_ms: int) -> list[NodeView]:
    return node_views(world.state, now_ms, page(world.lab.orders.nodes, start, limit))


def leases_page(world: World, start: int, limit: int) -> list[LeaseView]:
    return lease_views(world.state, world.now_ms, page(world.lab.orders.leases, start, limit))


def updated(world: World, learner: Learner, ms: int, reward: int = 500_000) -> None:
    """The learner makes the next version in `ms`; exams come and go at once."""
    while (granted := learner.ask()) is not None:
        if granted.spec.kind == "update":
            world.now_ms += ms
            learner.answer(granted, metrics={"reward_micro": reward})
            return
        learner.answer(granted)
    raise AssertionError("no update was due")


def test_a_run_s_figures_are_those_of_its_story(world: World) -> None:
    opened_at = world.now_ms
    run = world.open_run(versions=2, groups_per_update=2, max_groups_per_lease=1, max_staleness=0)
    before = run_view(world.state, run, world.now_ms)
    assert (before.phase, before.version, before.versions) == ("preparing", -1, 2)
    assert (before.published_at_ms, before.learner_utilisation, before.reward) == ((), 0.0, None)
    assert (before.rewards, before.evaluations, before.spent_micro) == ((), (), 0)
    assert before.opened_at_ms == opened_at
    learner, node = world.learner(), world.provider("node")
    updated(world, learner, 5000)
    started_at = world.now_ms
    tokens = sampled(world, node, 400)
    held = node.ask()
    assert held is not None
    world.now_ms += 600
    view = run_view(world.state, world.run(), world.now_ms)
    assert view.spent_micro == 2 * PACE["price_micro"], "one paid, one promised"
    assert view.learner_utilisation == 0.0
    assert view.published_at_ms == (started_at,)
    assert view.progress == {
        "groups_accepted": 1,
        "groups_in_flight": 1,
        "groups_in_pool": 0,
        "groups_admissible": 0,
        "tokens": tokens,
        "rollout_bytes": view.progress["rollout_bytes"],
        "staleness": {},
    }
    node.answer(held)
    updated(world, learner, 1000, reward=250_000)
    view = run_view(world.state, world.run(), world.now_ms)
    assert view.learner_utilisation == 1000 / 2000
    world.now_ms += 2000
    view = run_view(world.state, world.run(), world.now_ms)
    assert view.learner_utilisation == 1000 / 4000
    assert view.published_at_ms == (started_at, started_at + 2000)
    assert (view.phase, view.version, view.reward, view.rewards) == ("running", 1, 0.25, (0.25,))
    assert view.progress["staleness"] == {"0": 2}
    sampled(world, node, 500)
    sampled(world, node, 500)
    updated(world, learner, 1000, reward=-750_000)
    world.now_ms += 10_000_000
    view = run_view(world.state, world.run(), world.now_ms)
    assert view.phase == "complete"
    assert view.learner_utilisation == 2000 / 6000, "nothing counts after the last version"
    assert view.published_at_ms == (started_at, started_at + 2000, started_at + 6000)
    assert (view.reward, view.rewards) == (-0.75, (0.25, -0.75))
    assert view.spent_micro == 4 * PACE["price_micro"]
    assert learning_ms(world.run(), world.now_ms) == 6000


def test_a_run_s_time_begins_with_its_first_version_and_is_never_zero(world: World) -> None:
    run = world.open_run()
    assert learning_ms(run, world.now_ms + 5) == 0
    world.now_ms += 7
    world.learner().work()
    assert learning_ms(world.run(), world.now_ms) == 1
    assert learning_ms(world.run(), world.now_ms + 9) == 9


def test_the_published_times_are_of_the_first_and_the_two_newest(world: World) -> None:
    learner = world.started(versions=4, groups_per_update=1)
    node, times = world.provider("node"), [world.now_ms]
    for _ in range(4):
        sampled(world, node, 10)
        updated(world, learner, 100)
        times.append(world.now_ms)
    view = run_view(world.state, world.run(), world.now_ms)
    assert view.published_at_ms == (times[0], times[3], times[4])


def test_evaluations_are_shown_by_version_with_their_metrics(world: World) -> None:
    learner = world.started(evaluate_every=1, groups_per_update=1)
    node = world.provider("node")
    learner.work()
    sampled(world, node, 1)
    updated(world, learner, 1)
    exam = learner.ask()
    assert exam is not None
    learner.answer(exam, metrics={"score_micro": 7})
    view = run_view(world.state, world.run(), world.now_ms)
    assert view.evaluations == (
        {"version": 0, "score_micro": 1},
        {"version": 1, "score_micro": 7},
    )
    assert "evaluations" not in view.progress


def test_a_node_s_figures_are_those_of_its_story(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node", 12)
    joined = shown(world, node)
    assert (joined.groups, joined.tokens, joined.groups_per_s, joined.bytes_in) == (0, 0, 0.0, 0)
    assert (joined.credit_micro, joined.leases, joined.present) == (0, (), True)
    assert (joined.kinds, joined.engine, joined.device) == (("rollout",), "archipel", "cpu")
    assert joined.batch_invariant
    tokens = sampled(world, node, 250)
    one = shown(world, node)
    assert (one.groups, one.tokens, one.groups_per_s) == (1, tokens, 4.0)
    assert one.bytes_in > 0
    tokens += sampled(world, node, 500)
    two = shown(world, node)
    assert (two.groups, two.tokens, two.groups_per_s) == (2, tokens, 3.5)
    assert two.bytes_in > one.bytes_in
    assert two.credit_micro == 2 * PACE["price_micro"]
    given, kept = node.ask(), node.ask()
    assert given is not None
    assert kept is not None
    assert shown(world, node).leases == (given.work, kept.work)
    node.give_back(given.work)
    world.tick(TERMS["trusted_deadline_ms"] + 1)
    last = shown(world, node)
    assert (last.returned, last.expired, last.leases) == (1, 1, ())
    assert last.silent_s == (TERMS["trusted_deadline_ms"] + 1) / 1000
    node.leave()
    assert not shown(world, node).present
    assert shown(world, node).silent_s == 0
    (early,) = nodes_page(world, 1, 1, world.now_ms - 50)
    assert early.silent_s == 0, "a clock that was set back shows no time before now"


def test_nodes_come_in_the_order_of_their_joining_by_pages(world: World) -> None:
    nodes = []
    for name in ("c", "a", "b", "d"):
        nodes.append(world.provider(name).did)
        world.now_ms += 1
    pages = [nodes_page(world, start, 3, world.now_ms) for start in (0, 1, 3, 4)]
    assert [[each.node for each in each_page] for each_page in pages] == [
        nodes[:3],
        nodes[1:],
        nodes[3:],
        [],
    ]
    same = [world.provider(name).did for name in "wxyz"]
    assert [each.node for each in nodes_page(world, 4, 9, world.now_ms)] == same
    world.restart()
    assert [each.node for each in nodes_page(world, 0, 4, world.now_ms)] == nodes
    assert [each.node for each in nodes_page(world, 4, 9, world.now_ms)] == sorted(same)


def test_a_lease_s_figures_are_those_of_its_story_and_leases_come_oldest_first(
    world: World,
) -> None:
    learner = world.started(max_groups_per_lease=3)
    node = world.provider("node")
    node.prove(1)
    granted = node.ask()
    world.now_ms += 1500
    exam = learner.ask()
    assert granted is not None
    assert exam is not None
    world.now_ms += 500
    first, second = leases_page(world, 0, 9)
    assert (first.work, first.kind, first.node) == (granted.work, "rollout", node.did)
    assert (first.version, first.groups) == (0, 3)
    assert (first.age_s, first.left_s) == (2.0, (PACE["min_deadline_ms"] - 2000) / 1000)
    assert (second.work, second.kind, second.groups) == (exam.work, "evaluate", 0)
    assert second.age_s == 0.5
    assert leases_page(world, 1, 9) == [second]
    assert leases_page(world, 0, 1) == [first]
    assert leases_page(world, 2, 1) == []


def test_an_update_counts_no_groups_and_shows_the_version_in_the_making(world: World) -> None:
    world.open_run()
    world.learner().ask()
    (view,) = leases_page(world, 0, 9)
    assert (view.kind, view.version, view.groups) == ("update", 0, 0)


def test_a_key_is_told_the_highest_number_that_it_used_and_the_time(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    assert key_view(world.state, node.did, 5).last_seq == world.state.sequences[node.did]
    assert key_view(world.state, node.did, 5).now_ms == 5
    assert node.ask() is not None
    assert world.state.asked[node.did] > world.state.sequences[node.did]
    assert key_view(world.state, node.did, 5).last_seq == world.state.asked[node.did]
    assert key_view(world.state, identity("stranger").did, 5).last_seq == 0


def only(world: World):  # type: ignore[no-untyped-def]  # a Wait
    (wait,) = waits(world.state, world.now_ms)
    return wait


def test_a_run_waits_for_its_trusted_key_to_come_then_to_take_the_update(world: World) -> None:
    world.open_run()
    absent = only(world)
    assert (absent.run, absent.owner, absent.left_s) == ("run", identity("learner").did, None)
    assert absent.waiting_for == "nobody has taken the update to version 0"
    assert absent.advice.startswith("start it with")
    learner = world.learner()
    assert only(world).advice.startswith("its machine was last heard of 0 s ago")
    world.now_ms += ACTIVE_MS - 1
    assert only(world).advice.startswith("its machine was last heard of 60 s ago"), (
        "no more is known"
    )
    world.now_ms += 1
    assert only(world).advice.startswith("start it with")
    learner.join()
    learner.leave()
    assert only(world).advice.startswith("start it with")


def test_of_two_trusted_keys_the_one_that_is_here_owns_the_wait(world: World) -> None:
    second = Learner(world, identity("second learner"))
    world.open_run(trusted=(identity("learner").did, second.did))
    assert only(world).owner == identity("learner").did
    second.join()
    assert only(world).owner == second.did


def test_work_in_somebody_s_hands_is_waited_for_until_its_deadline(world: World) -> None:
    world.open_run()
    learner = world.learner()
    granted = learner.ask()
    assert granted is not None
    world.now_ms += 20_000
    wait = only(world)
    assert wait.owner == learner.did
    assert wait.waiting_for == f"version 0 is being made ({granted.work})"
    assert wait.left_s == (TERMS["trusted_deadline_ms"] - 20_000) / 1000


def test_a_batch_waits_for_who_samples_it_and_for_what_nobody_has(world: World) -> None:
    world.started(groups_per_update=5, max_groups_per_lease=3)
    nobody = only(world)
    assert (nobody.owner, nobody.left_s) == ("nobody", None)
    assert nobody.waiting_for == "5 groups of the next batch are with nobody"
    assert "node join" in nobody.advice
    node = world.provider("node")
    node.prove(1)
    lab = only(world)
    assert lab.owner == "the lab"
    assert lab.advice.startswith("1 node was heard of")
    world.now_ms += ACTIVE_MS
    assert only(world).owner == "nobody"
    granted = node.ask()
    assert granted is not None
    leased, rest = waits(world.state, world.now_ms)
    assert leased.owner == node.did
    assert leased.waiting_for == f"3 groups of the next batch are being sampled ({granted.work})"
    assert leased.left_s == PACE["min_deadline_ms"] / 1000
    assert rest.waiting_for == "1 group of the next batch is with nobody"
    assert rest.owner == "the lab", "who holds work is at work, however long it is silent"
    other = world.provider("other")
    granted = other.ask()
    assert granted is not None
    first, second = waits(world.state, world.now_ms)
    assert [first.owner, second.owner] == [node.did, other.did]
    assert second.waiting_for == f"1 group of the next batch is being sampled ({granted.work})"


def test_a_whole_batch_waits_for_the_learner_and_a_run_that_ended_for_nobody(world: World) -> None:
    world.started(groups_per_update=1)
    sampled(world, world.provider("node"), 1)
    assert only(world).waiting_for == "nobody has taken the update to version 1"
    world.open_run("second")
    assert [each.run for each in waits(world.state, world.now_ms)] == ["run", "second"]
    world.stop_run()
    assert [each.run for each in waits(world.state, world.now_ms)] == ["second"]


def test_nodes_that_left_or_do_other_kinds_are_not_asked_next(world: World) -> None:
    world.started()
    node = world.provider("node")
    node.leave()
    wait = only(world)
    assert wait.owner == "nobody"


def values(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_the_metrics_are_the_figures_of_the_views(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.started(max_groups_per_lease=1, groups_per_update=2)
    node, left = world.provider("node"), world.provider("left")
    tokens = sampled(world, node, 250)
    held = node.ask()
    assert held is not None
    left.leave()
    world.now_ms += 2500
    text = prometheus_text(StateCollector(world.state, world.now_ms, 99))
    found = values(text)
    one = f'{{node="{node.did}"}}'
    view = run_view(world.state, world.run(), world.now_ms)
    expected = {
        "archipel_ledger_entries": 99,
        "archipel_open_leases": 1,
        "archipel_nodes": 2,
        'archipel_run_version{run="run"}': 0,
        'archipel_run_groups_in_flight{run="run"}': 1,
        'archipel_run_groups_admissible{run="run"}': 2,
        'archipel_run_learner_utilisation{run="run"}': 0,
        'archipel_run_groups_accepted_total{run="run"}': 1,
        'archipel_run_tokens_total{run="run"}': tokens,
        'archipel_run_rollout_bytes_total{run="run"}': view.progress["rollout_bytes"],
        'archipel_run_spent_micro_total{run="run"}': 2 * PACE["price_micro"],
        f"archipel_node_groups_total{one}": 1,
        f"archipel_node_tokens_total{one}": tokens,
        f"archipel_node_expired_total{one}": 0,
        f"archipel_node_returned_total{one}": 0,
        f"archipel_node_silent_s{one}": 2.5,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert 'archipel_run_reward{run="run"}' not in found, "there is none yet"
    for name in ("archipel_run_version", "archipel_node_silent_s", "archipel_nodes"):
        assert f"# TYPE {name} gauge" in text
    assert "# TYPE archipel_run_tokens_total counter" in text
    assert "# TYPE archipel_node_groups_total counter" in text
    monkeypatch.setattr("archipel.lab.metrics.MAX_NODE_SERIES", 2)
    assert "archipel_node_groups" in prometheus_text(StateCollector(world.state, world.now_ms, 1))
    monkeypatch.setattr("archipel.lab.metrics.MAX_NODE_SERIES", 1)
    few = values(prometheus_text(StateCollector(world.state, world.now_ms, 1)))
    assert not any(name.startswith("archipel_node_") for name in few)
    assert few["archipel_nodes"] == 2


def test_however_many_runs_wait_the_nodes_are_looked_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        world.open_run(f"run-{number}")
    learner = world.learner()
    while learner.work() is not None:
        pass
    world.provider("node")
    looks: list[int] = []

    class Watched(Table):  # type: ignore[type-arg]  # as the state's
        def values(self):  # type: ignore[no-untyped-def]  # as a mapping's
            looks.append(1)
            return super().values()

    state = dataclasses.replace(world.state, nodes=Watched(dict(world.state.nodes)))
    assert [wait.owner for wait in waits(state, world.now_ms)] == ["the lab"] * 3
    assert len(looks) == 1
