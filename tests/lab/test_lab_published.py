"""What a lab says of its own interface and of its bounds is what it does."""

from archipel.lab.presence import GONE_MS
from archipel.lab.programmes import rl_rules
from archipel.lab.views import node_views, run_view, waits
from archipel.records.parcel import MEDIA_TYPE
from door import Door
from world import World, finish


def test_trusted_work_counts_no_groups_no_tokens_no_bytes_and_no_money(world: World) -> None:
    learner = world.started(versions=2, groups_per_update=1)
    finish(world, learner, [world.provider("node")])
    while learner.work() is not None:
        pass
    shown = {each.node: each for each in node_views(world.state, world.now_ms, world.state.nodes)}
    mine = shown[learner.did]
    assert (mine.groups, mine.tokens, mine.bytes_in, mine.credit_micro) == (0, 0, 0, 0)
    assert mine.groups_per_s == 0.0
    tallies = world.state.nodes[learner.did].tallies
    assert {kind: tally.works for kind, tally in tallies.items()} == {"update": 3, "evaluate": 2}
    others = [each for did, each in shown.items() if did != learner.did]
    progress = run_view(world.state, world.run(), world.now_ms).progress
    assert sum(each.groups for each in others) == progress["groups_accepted"] == 2
    assert sum(each.tokens for each in others) == progress["tokens"]
    assert sum(each.bytes_in for each in others) == progress["rollout_bytes"]


def test_the_description_names_the_parcels_that_leases_and_receipts_come_in(world: World) -> None:
    door = Door(world)
    paths = door.get("/openapi.json").json()["paths"]
    for path in ("/records", "/leases"):
        answers = paths[path]["post"]["responses"]
        assert set(answers["200"]["content"]) == {"application/json", MEDIA_TYPE}
        assert {name for name in answers if name < "400"} - {"204"} == {"200"}
    assert "Nothing to do now" in paths["/leases"]["post"]["responses"]["204"]["description"]
    door.close()


def test_a_node_is_gone_after_an_hour() -> None:
    assert GONE_MS == 60 * 60 * 1000


def test_a_version_s_inputs_are_kept_until_the_next_checkpoint_and_named_by_its_grant(
    world: World,
) -> None:
    learner = world.started(versions=3, groups_per_update=2, checkpoint_every=3)
    node = world.provider("node")
    while world.run().version < 2:
        sampled = node.ask()
        if sampled is not None:
            node.answer(sampled)
        learner.work()
    inputs = rl_rules.RULES.inputs
    for version in (1, 2):
        made = inputs(world.run(), version)
        assert made is not None
        position, works = made
        granted = world.statements()[position]
        assert granted.kind == "lease.granted"  # type: ignore[attr-defined]  # every statement has one
        assert granted.spec.version == version  # type: ignore[attr-defined]  # an update's
        groups = {group for each in works for group in each.spec.groups}  # type: ignore[attr-defined]  # rollouts
        assert groups >= {2 * version - 2, 2 * version - 1}
    assert inputs(world.run(), 0) is None
    assert inputs(world.run(), 3) is None
    finish(world, learner, [node])
    assert [inputs(world.run(), version) for version in (1, 2, 3)] == [None] * 3


def test_leases_are_waited_for_in_the_order_of_their_groups(world: World) -> None:
    world.started(groups_per_update=3, max_groups_per_lease=1, max_staleness=0)
    first, second, third = (world.provider(name) for name in "abc")
    granted = first.ask()
    assert granted is not None
    assert second.ask() is not None
    first.give_back(granted.work)
    assert third.ask() is not None
    found = waits(world.state, world.now_ms)
    assert [each.owner for each in found] == [third.did, second.did, "the lab"]
