"""Stories of a lab: silence, speed, several runs, departures, lost grants, trust."""

import pytest

from archipel.lab import refusals
from archipel.lab.kinds.evaluate import exams
from archipel.lab.programmes import rl
from archipel.lab.state import Phase
from archipel.lab.views import waits
from archipel.records.fields import BlobRef
from archipel.records.kinds.update import PromptBatch
from archipel.records.prompts import pack_prompts
from archipel.records.statements import LeaseReturned
from people import Learner, Provider, identity
from world import PACE, TERMS, World, finish


def taken(node: Provider) -> tuple[int, ...]:
    """Groups of the lease that `node` gets now."""
    granted = node.ask()
    assert granted is not None
    return granted.spec.groups


def proven(node: Provider) -> None:
    """From now on it may hold several leases."""
    node.prove(1)


def test_the_lease_of_a_silent_node_returns_to_the_pool_and_goes_out_first(world: World) -> None:
    world.started(max_groups_per_lease=2)
    silent, other = world.provider("silent"), world.provider("other")
    lost = taken(silent)
    world.tick(PACE["min_deadline_ms"])
    assert rl.course(world.run()).pool == ()
    world.tick(TERMS["trusted_deadline_ms"])
    assert rl.course(world.run()).pool == lost
    assert taken(other) == lost
    assert world.state.nodes[silent.did].expired == 1
    world.check()


def test_a_node_that_rejoins_gives_its_leases_back(world: World) -> None:
    world.started(max_groups_per_lease=2)
    node, other = world.provider("node"), world.provider("other")
    old = node.ask()
    assert old is not None
    node.join()
    assert rl.course(world.run()).pool == old.spec.groups
    assert taken(other) == old.spec.groups
    with pytest.raises(refusals.Late):
        node.answer(old)
    world.check()


def test_a_node_that_leaves_owes_nothing_gets_nothing_and_counts_no_more(world: World) -> None:
    world.started(groups_per_update=8, max_staleness=3)
    leaver, stayer = world.provider("leaver"), world.provider("stayer")
    proven(leaver)
    proven(stayer)
    assert len(taken(leaver)) == 4
    leaver.leave()
    assert not world.state.leases
    with pytest.raises(refusals.NotJoined):
        leaver.ask()
    assert len(taken(stayer)) == 8, "the share of who left is still kept free"
    leaver.join()
    assert leaver.ask() is not None


def test_a_grant_that_never_reached_its_node_returns_at_its_next_request(world: World) -> None:
    world.started(max_groups_per_lease=2)
    node = world.provider("node")
    proven(node)
    lost, kept = node.ask(), node.ask()
    assert lost is not None
    assert kept is not None
    del node.leases[lost.work]
    again = node.ask()
    assert again is not None
    assert again.spec.groups == lost.spec.groups
    assert dict(world.state.nodes[node.did].ends)[lost.work] == "expired"
    node.answer(kept)
    world.check()


def test_shares_follow_measured_speed_within_rounding(world: World) -> None:
    learner = world.started(groups_per_update=40, max_staleness=2, versions=3)
    fast, slow = world.provider("fast"), world.provider("slow")
    first = [node.ask() for node in (fast, slow)]
    for node, granted, speed in zip((fast, slow), first, (8, 2), strict=True):
        assert granted is not None
        world.now_ms += 1000 * len(granted.spec.groups) // speed
        node.answer(granted)
    rates = [world.state.nodes[node.did].tallies["rollout"].rate_micro for node in (fast, slow)]
    shares = [len(taken(node)) for node in (fast, slow)]
    expected = [40 * rate / sum(rates) for rate in rates]
    assert all(abs(share - due) <= 1 for share, due in zip(shares, expected, strict=True))
    assert shares[0] > 1.5 * shares[1]
    assert learner.batches == []


def test_a_lease_grows_with_the_batches_that_the_learner_has_at_hand(world: World) -> None:
    world.started(groups_per_update=8, max_staleness=4, versions=9)
    nodes = [world.provider("one"), world.provider("two")]
    for node in nodes:
        node.prove(1000)
    sizes: list[list[int]] = []
    for _ in range(3):
        granted = [node.ask() for node in nodes]
        world.now_ms += 1000
        for node, grant in zip(nodes, granted, strict=True):
            node.answer(grant)
        sizes.append([len(grant.spec.groups) for grant in granted])
    assert sizes[:2] == [[4, 4], [4, 4]], (
        "with at most one batch at hand, each gets its share of one"
    )
    assert sizes[2] == [8, 8], "nobody waits for these: two batches are at hand"


def test_a_braggart_gets_one_group_and_no_more_after_its_lease_ran_out(world: World) -> None:
    world.started(groups_per_update=16, max_staleness=4)
    braggart, honest = world.provider("braggart", 2**40), world.provider("honest")
    proven(honest)
    for _ in range(2):
        assert len(taken(braggart)) == 1
        world.tick(TERMS["trusted_deadline_ms"] + 1)
        braggart.leases.clear()
    assert len(taken(honest)) >= 8


def test_several_runs_share_the_nodes_and_their_books_stay_apart(world: World) -> None:
    learner = world.learner()
    for name, price in (("first", 1000), ("second", 1000), ("third", 1000)):
        world.open_run(name, price_micro=price, max_groups_per_lease=2)
    nodes = [world.provider(f"node {n}") for n in range(3)]
    for _ in range(3):
        learner.work()
    busy = {node.ask().spec.run for node in nodes}  # type: ignore[union-attr]  # there is work
    assert busy == {"first", "second", "third"}
    for node in nodes:
        for granted in list(node.leases.values()):
            node.answer(granted)
    finish(world, learner, nodes)
    for run in world.state.runs.values():
        assert run.phase is Phase.COMPLETE
        assert (
            rl.course(run).num_groups == run.opened.terms.versions * rl.pace(run).groups_per_update
        )
    world.check()
    world.check_replay()


def test_every_accepted_group_is_paid_once_by_the_operator(world: World) -> None:
    learner = world.started()
    nodes = [world.provider("a"), world.provider("b")]
    finish(world, learner, nodes)
    balances = world.state.book
    total = sum(balances[node.did] for node in nodes)
    assert total == rl.course(world.run()).num_groups * PACE["price_micro"]
    assert balances[world.operator.did] == -total
    assert learner.did not in balances


def test_update_work_goes_to_one_trusted_key_at_a_time_and_to_the_other_after_silence(
    world: World,
) -> None:
    names = ("learner", "second learner")
    learners = [Learner(world, identity(name)) for name in names]
    world.open_run(trusted=tuple(each.did for each in learners))
    for learner in learners:
        learner.join()
    silent = learners[0].ask()
    assert silent is not None
    assert learners[1].ask() is None
    world.tick(TERMS["trusted_deadline_ms"] + 1)
    granted = learners[1].work()
    assert granted is not None
    assert granted.spec.version == 0
    with pytest.raises(refusals.Late):
        learners[0].answer(silent)
    finish(world, learners[1], [world.provider("node")])
    world.check()


def test_a_key_that_no_run_trusts_never_gets_its_updates(world: World) -> None:
    world.open_run()
    outsider = world.learner("outsider")
    assert outsider.ask() is None
    assert world.learner().ask() is not None


@pytest.mark.parametrize("fault", ["missing batch", "one prompt short", "foreign token", "noise"])
def test_a_version_whose_prompts_would_strand_the_run_is_refused(world: World, fault: str) -> None:
    world.open_run()
    learner = world.learner()
    granted = learner.ask()
    assert granted is not None
    fields = learner.version_fields(granted)
    rows = [(1, 3)] * (PACE["groups_per_update"] - (fault == "one prompt short"))
    if fault == "foreign token":
        rows[0] = (PACE["vocab_size"],)
    data = b"noise" if fault == "noise" else pack_prompts(rows, batch=0)
    bad = (PromptBatch(batch=0, blob=world.put(data)), *fields["prompts"][1:])
    before = world.state
    kinds = {
        "missing batch": refusals.Conflict,
        "one prompt short": refusals.WrongShape,
        "foreign token": refusals.OutOfRange,
        "noise": refusals.BadResult,
    }
    with pytest.raises(kinds[fault]):
        learner.answer(granted, prompts=fields["prompts"][:-1] if fault == "missing batch" else bad)
    assert world.state == before
    learner.answer(granted)
    assert world.run().phase is Phase.RUNNING


def test_a_stopped_run_gives_no_work_and_still_pays_for_what_was_leased(world: World) -> None:
    world.started()
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    world.stop_run()
    assert node.ask() is None
    node.answer(granted)
    assert world.state.book[node.did] == len(granted.spec.groups) * PACE["price_micro"]
    assert world.run().phase is Phase.STOPPED
    with pytest.raises(refusals.Conflict):
        world.stop_run()
    world.check_replay()


def test_evaluations_fall_due_at_every_kth_version_and_the_last_each_once(world: World) -> None:
    learner = world.started(versions=5, evaluate_every=2)
    node = world.provider("node")
    finish(world, learner, [node])
    while learner.work() is not None:
        pass
    assert sorted(exams(world.run()).done) == [0, 2, 4, 5]


def test_giving_a_lease_back_buys_no_other_groups(world: World) -> None:
    world.started(max_groups_per_lease=1, max_staleness=3)
    node = world.provider("node")
    first = taken(node)
    for _ in range(5):
        node.give_back(next(iter(node.leases)))
        assert taken(node) == first


def test_a_lab_out_of_ledger_space_says_so_changes_nothing_and_recovers(world: World) -> None:
    learner = world.started(max_groups_per_lease=1)
    node = world.provider("node")
    proven(node)
    granted = node.ask()
    assert granted is not None
    before = world.state
    world.storage.room = world.lab.log.size
    with pytest.raises(refusals.StorageExhausted, match="room"):
        node.answer(granted)
    with pytest.raises(refusals.StorageExhausted):
        node.ask()
    world.now_ms += 10 * TERMS["trusted_deadline_ms"]
    world.await_(world._expire())
    assert world.state == before
    assert world.lab.ahead == before
    world.now_ms -= 10 * TERMS["trusted_deadline_ms"]
    world.storage.room = None
    node.answer(granted)
    finish(world, learner, [node])
    world.check()
    world.check_replay()


def test_why_stuck_names_the_owner_of_the_wait(world: World) -> None:
    world.open_run()
    (wait,) = waits(world.state, world.now_ms)
    assert wait.owner == identity("learner").did
    assert "update join" in wait.advice
    world.learner().work()
    (wait,) = waits(world.state, world.now_ms)
    assert wait.owner == "nobody"
    node = world.provider("node")
    node.ask()
    owners = {wait.owner for wait in waits(world.state, world.now_ms)}
    assert node.did in owners


def test_a_lease_belongs_to_its_node_alone(world: World) -> None:
    world.started()
    node, thief = world.provider("node"), world.provider("thief")
    granted = node.ask()
    assert granted is not None
    with pytest.raises(refusals.NotYours):
        thief.speak(LeaseReturned, work=granted.work, reason="mine")
    with pytest.raises(refusals.NotYours):
        thief.answer(granted)


def test_a_result_that_vanished_from_the_store_is_missing_not_a_crash(world: World) -> None:
    world.started()
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    gone = BlobRef(digest="sha256:" + "1" * 64, size=10)
    with pytest.raises(refusals.MissingBlob):
        node.answer(granted, result=gone)
