"""Pledges of compute in a lab's ledger: who may make one, what counts for it, and what everybody reads of it."""

import pytest

from archipel.lab import compute, refusals
from archipel.lab.compute import MAX_PLEDGES_OF_ONE
from archipel.lab.compute_views import compute_view
from archipel.lab.snapshots import decode_state, encode_state
from archipel.records.compute import MAX_PLEDGED_MS, ComputePledged, ComputeWithdrawn
from keyring import delegation
from people import identity
from world import World

DAY_MS = 86_400_000
NAME = "0123456789abcdef"


def _pledge(world: World, **changed: object) -> dict[str, object]:
    return {"name": NAME, "share": 250_000, "until_ms": world.now_ms + DAY_MS} | changed


def test_what_a_provider_gives_is_counted_for_its_pledges_and_nobody_else_s(world: World) -> None:
    world.started(versions=2, groups_per_update=8, max_groups_per_lease=2, purposes=("medicine",))
    giver, other = world.provider("giver"), world.provider("other")
    giver.speak(ComputePledged, **_pledge(world))
    giver.speak(ComputePledged, **_pledge(world, name=16 * "1", purpose="medicine"))
    giver.speak(ComputePledged, **_pledge(world, name=16 * "2", purpose="weather"))
    other.speak(ComputePledged, **_pledge(world))
    giver.prove()
    told = {(each.provider, each.name): each for each in compute_view(world.state, 0, 100).pledges}
    lab, medicine, weather = (told[giver.did, name] for name in (NAME, 16 * "1", 16 * "2"))
    assert lab.works == medicine.works == 1
    assert lab.tokens == medicine.tokens > 0
    assert lab.given_ms == medicine.given_ms
    assert (weather.works, weather.tokens, weather.given_ms) == (0, 0, 0)
    assert told[other.did, NAME].works == 0
    world.check()
    world.check_replay()


def test_a_pledge_that_is_over_or_withdrawn_counts_nothing_more(world: World) -> None:
    world.started(versions=2, groups_per_update=8, max_groups_per_lease=1)
    giver = world.provider("giver")
    giver.speak(ComputePledged, **_pledge(world))
    giver.speak(ComputePledged, **_pledge(world, name=16 * "1", until_ms=world.now_ms + 1))
    giver.speak(ComputeWithdrawn, name=NAME)
    world.tick(2)
    giver.prove()
    assert [each.works for each in compute_view(world.state, world.now_ms, 100).pledges] == [0, 0]
    with pytest.raises(refusals.Conflict, match="that holds"):
        giver.speak(ComputeWithdrawn, name=NAME)
    world.check_replay()


def test_only_the_account_whose_machines_joined_pledges_them(world: World) -> None:
    world.started()
    with pytest.raises(refusals.Conflict, match="join it first"):
        world.speak(identity("stranger"), ComputePledged, **_pledge(world))
    boss = identity("boss")
    node = world.provider("node", join=False)
    node.join(delegation=delegation(boss, node.did))
    with pytest.raises(refusals.Conflict, match="alone may pledge"):
        node.speak(ComputePledged, **_pledge(world))
    world.speak(boss, ComputePledged, **_pledge(world))
    assert set(world.state.compute) == {boss.did}


def test_pledges_are_bounded_in_number_and_time(world: World) -> None:
    world.started()
    giver = world.provider("giver")
    for wrong_ms in (world.now_ms, world.now_ms + MAX_PLEDGED_MS + 1):
        with pytest.raises(refusals.Conflict, match="expected a time to come"):
            giver.speak(ComputePledged, **_pledge(world, until_ms=wrong_ms))
    for n in range(MAX_PLEDGES_OF_ONE):
        giver.speak(ComputePledged, **_pledge(world, name=f"{n:016x}"))
    with pytest.raises(refusals.Conflict, match="withdraw one first"):
        giver.speak(ComputePledged, **_pledge(world))
    giver.speak(ComputePledged, **_pledge(world, name=f"{0:016x}", share=1))  # said anew
    for _ in range(3 * MAX_PLEDGES_OF_ONE):
        name = world.state.compute[giver.did][-1].name
        giver.speak(ComputeWithdrawn, name=name)
        giver.speak(ComputePledged, **_pledge(world, name=f"{world.state.size:016x}"))
    assert len(world.state.compute[giver.did]) <= 2 * MAX_PLEDGES_OF_ONE
    world.check_replay()


def test_so_many_providers_pledge_and_those_who_do_may_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "MAX_PLEDGERS", 1)
    world.started()
    first, second = world.provider("first"), world.provider("second")
    first.speak(ComputePledged, **_pledge(world))
    with pytest.raises(refusals.Conflict, match=r"^1 providers pledge already"):
        second.speak(ComputePledged, **_pledge(world))
    first.speak(ComputePledged, **_pledge(world, name=16 * "1"))
    assert [each.name for each in world.state.compute[first.did]] == [NAME, 16 * "1"]


def test_a_state_without_pledges_has_the_bytes_that_it_had_before_there_were_any(
    world: World,
) -> None:
    world.started()
    before = encode_state(world.state)
    assert b'"compute"' not in before
    assert decode_state(before) == world.state
    giver = world.provider("giver")
    giver.speak(ComputePledged, **_pledge(world))
    assert b'"compute"' in encode_state(world.state)


def test_a_request_that_names_runs_is_given_work_of_no_other(world: World) -> None:
    world.started(versions=2, groups_per_update=8, max_groups_per_lease=1)
    world.open_run("second", versions=2)
    world.learner(join=False).work()
    node = world.provider("node")
    assert world.ask(node.request(runs=("third",))) is None
    for name in ("second", "run"):
        granted = world.ask(node.request(runs=("third", name)))
        assert granted is not None
        assert granted.spec.run == name
        node.answer(granted)
