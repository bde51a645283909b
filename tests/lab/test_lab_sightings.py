"""When a node was last heard of, and what its departure and silence mean."""

import pytest

from archipel.lab import refusals
from archipel.lab.company import crowds
from archipel.lab.forgetting import forgettable
from archipel.lab.presence import GONE_MS
from archipel.lab.rules import Crowd
from archipel.lab.waits import ACTIVE_MS
from archipel.records.statements import NodeJoined
from people import Provider, identity
from world import PACE, TERMS, World


def seen_ms(world: World, node: Provider) -> int:
    """When it was last heard of, since it joined."""
    found = world.state.nodes[node.did]
    return found.last_seen_ms - found.joined_at_ms


def test_joining_asking_with_success_answering_returning_and_leaving_are_heard(
    world: World,
) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    assert seen_ms(world, node) == 0
    world.now_ms += 10
    first = node.ask()
    assert first is not None
    assert seen_ms(world, node) == 10
    world.now_ms += 10
    node.answer(first)
    assert seen_ms(world, node) == 20
    world.now_ms += 10
    second = node.ask()
    world.now_ms += 10
    assert second is not None
    node.give_back(second.work)
    assert seen_ms(world, node) == 40
    world.now_ms += 10
    node.leave()
    assert seen_ms(world, node) == 50
    assert not world.state.nodes[node.did].present
    world.now_ms += 10
    node.join()
    assert seen_ms(world, node) == 60
    assert world.state.nodes[node.did].present
    world.check_replay()


def test_a_lease_that_runs_out_is_no_sign_of_life(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    assert node.ask() is not None
    world.tick(TERMS["trusted_deadline_ms"] + 1)
    assert world.state.nodes[node.did].expired == 1
    assert world.state.nodes[node.did].returned == 0
    assert seen_ms(world, node) == 0


def test_joining_again_keeps_totals_takes_new_capabilities_and_returns_leases(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node", 5)
    granted = node.ask()
    assert granted is not None
    node.answer(granted)
    assert node.ask() is not None
    before = world.state.nodes[node.did]
    world.now_ms += 1
    node.speed_milli = 9
    node.join()
    after = world.state.nodes[node.did]
    assert after.tallies == before.tallies
    assert after.joined_at_ms == before.joined_at_ms
    assert (after.capabilities.speed_milli, after.leases, after.returned) == (9, (), 1)


def test_leaving_returns_every_lease(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    node.answer(granted)
    assert node.ask() is not None
    assert node.ask() is not None
    node.leave()
    assert not world.state.leases
    assert world.state.nodes[node.did].returned == 2
    with pytest.raises(refusals.NotJoined):
        node.leave()
    world.check()


def test_the_crowd_is_counted_by_measure_by_claim_or_as_unknown(world: World) -> None:
    world.started(max_groups_per_lease=1, groups_per_update=16)
    rates = []
    for name, ms in (("quick", 100), ("slow", 400)):
        node = world.provider(name, 77)
        granted = node.ask()
        assert granted is not None
        world.now_ms += ms
        node.answer(granted)
        rates.append(1_000_000_000 // ms)
    for number, claim in enumerate((3000, 2000, 0)):
        world.provider(f"claims {number}", claim)
    assert crowds(world.state, world.now_ms)["rollout"] == Crowd(
        count=5,
        measured=sum(rates),
        slowest=min(rates),
        claimed_milli=5000,
        slowest_claim_milli=2000,
        unknown=1,
    )
    assert crowds(world.state, world.now_ms)["update"] == Crowd(count=1, unknown=1)


def test_who_let_a_lease_run_out_is_counted_without_its_claim(world: World) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node", 3000)
    assert node.ask() is not None
    world.tick(TERMS["trusted_deadline_ms"] + 1)
    node.leases.clear()
    node.join()
    assert crowds(world.state, world.now_ms)["rollout"] == Crowd(count=1, unknown=1)


def test_a_node_counts_while_it_holds_work_or_was_heard_of_in_the_last_minute(world: World) -> None:
    world.started(max_groups_per_lease=1)
    silent, holder, leaver = (world.provider(name) for name in ("silent", "holder", "leaver"))
    assert holder.ask() is not None
    leaver.leave()

    def counted(after_ms: int) -> int:
        return crowds(world.state, world.now_ms + after_ms).get("rollout", Crowd()).count

    assert ACTIVE_MS == 60_000
    assert counted(ACTIVE_MS - 1) == 2
    assert counted(ACTIVE_MS) == 1
    assert counted(ACTIVE_MS * 1000) == 1
    assert world.state.nodes[silent.did].present


def test_only_who_left_or_was_silent_beyond_an_hour_is_gone(world: World) -> None:
    world.started(max_groups_per_lease=1)
    worker = world.provider("worker")
    granted = worker.ask()
    assert granted is not None
    worker.answer(granted)
    world.now_ms += GONE_MS
    fresh = world.provider("fresh")
    found = forgettable(world.state, world.now_ms, 10)
    assert found is not None
    assert worker.did not in found.nodes
    world.now_ms += 1
    found = forgettable(world.state, world.now_ms, 10)
    assert found is not None
    assert worker.did in found.nodes
    assert fresh.did not in found.nodes
    one = forgettable(world.state, world.now_ms, 1)
    assert one is not None
    assert one.nodes == found.nodes[:1]


def test_nobody_is_forgotten_who_works_or_has_worked_within_the_hour(world: World) -> None:
    learner = world.started(max_groups_per_lease=1)
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    node.answer(granted)
    assert world.state.nodes[learner.did].works == 1
    assert forgettable(world.state, world.now_ms, 10) is None
    newcomer = world.provider("newcomer")
    found = forgettable(world.state, world.now_ms, 10)
    assert found is not None
    assert found.nodes == (newcomer.did,)
    assert newcomer.ask() is not None
    assert forgettable(world.state, world.now_ms, 10) is None


def test_a_forgotten_node_s_money_stays_and_its_numbers_count_for_all_strangers(
    world: World,
) -> None:
    world.started(max_groups_per_lease=1)
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    node.answer(granted)
    asked = world.state.asked[node.did]
    node.leave()
    spoken = world.state.sequences[node.did]
    assert spoken > asked
    found = forgettable(world.state, world.now_ms, 10)
    assert found is not None
    world.await_(world.lab.say(found))
    assert node.did not in world.state.nodes
    assert node.did not in world.state.sequences
    assert node.did not in world.state.asked
    assert world.state.forgotten_seq == spoken
    assert world.state.book[node.did] == PACE["price_micro"]
    stranger = Provider(world, identity("stranger"))
    fields = {"capabilities": world.state.nodes[identity("learner").did].capabilities}
    with pytest.raises(refusals.Replayed, match=str(spoken)):
        stranger.speak(NodeJoined, seq=spoken, **fields)
    stranger.speak(NodeJoined, seq=spoken + 1, **fields)
    assert stranger.did in world.state.nodes


def test_who_asks_for_work_in_vain_is_here_and_keeps_its_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = world.started(max_groups_per_lease=1)
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    node.answer(granted)
    world.stop_run()
    world.now_ms += GONE_MS + 1
    assert node.ask() is None
    monkeypatch.setattr("archipel.lab.lab.MAX_NODES", len(world.state.nodes))
    world.provider("newcomer").join()
    assert learner.did not in world.state.nodes
    assert node.did in world.state.nodes
