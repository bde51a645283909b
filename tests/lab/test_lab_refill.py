"""Batches that ask for further groups: given out at once, never stale, in nobody's place twice, replayed alike."""

from typing import Any

import pytest

from archipel.lab import refusals
from archipel.lab.programmes import rl
from archipel.lab.run_story import RunStory
from archipel.lab.state import Phase
from archipel.records.documents import inputs_digest
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.kinds.update import UpdateAnswer, UpdateSpec
from archipel.records.statements import LeaseGranted, WorkAnswered
from people import Learner
from world import PACE, World

SIZE = PACE["groups_per_update"]


class Asking(Learner):
    """A trusted role whose batches want more: `wants` says how many groups, each time that it looks."""

    wants: dict[int, list[int]]

    def version_fields(self, grant: LeaseGranted) -> dict[str, Any]:
        spec = grant.spec
        assert isinstance(spec, UpdateSpec)
        pending = self.wants.get(spec.version, [])
        return self.more_fields(spec, pending.pop(0)) if pending else super().version_fields(grant)

    def more_fields(self, spec: UpdateSpec, more: int) -> dict[str, Any]:
        run = self.world.run(spec.run)
        own, before = rl.batches(run), rl.num_further(run)
        held = rl.course(run).prompts
        blocks = [n for n in own.blocks_of(spec.version - 1, before + more) if n not in held]
        return {
            "version": spec.version, "parent": spec.parent, "policy": spec.parent,
            "manifest": self.put(b"manifest"), "anchor": None, "delta": None, "memory": None,
            "prompts": tuple(self._prompts(rl.pace(run), n) for n in blocks), "metrics": {},
            "more": more,
        }  # fmt: skip


def asking(world: World, wants: dict[int, list[int]], **pace: Any) -> Asking:
    learner = world.started(**{"refill": 2} | pace)
    learner.__class__ = Asking
    learner.wants = wants
    return learner


def played(world: World, learner: Asking) -> list[LeaseGranted]:
    """Everybody works to the end; what was handed out."""
    nodes, grants = [world.provider("one"), world.provider("two")], list[LeaseGranted]()
    for _ in range(400):
        if world.run().phase is Phase.COMPLETE:
            return grants
        learner.work()
        for node in nodes:
            granted = node.ask()
            if granted is not None:
                grants.append(granted)
                node.answer(granted)
            world.check()
            run = world.run()
            held = [rl.batches(run).origin(SIZE * n) for n in rl.course(run).prompts]
            assert min(held, default=run.version) >= run.version, "prompts go with their batch"
    raise AssertionError("the run did not end")


@pytest.mark.parametrize("staleness", [0, 1])
def test_further_groups_are_sampled_by_the_newest_policy_and_learned_from_with_their_batch(
    world: World, staleness: int
) -> None:
    learner = asking(world, {1: [3], 3: [4, 4], 4: [8]}, max_staleness=staleness)
    grants = played(world, learner)
    own = rl.batches(world.run())
    assert [len(each) for each in learner.batches] == [SIZE + 3, SIZE, SIZE + 8, SIZE + 8]
    for batch, learned in enumerate(learner.batches):
        assert learned == list(own.groups(batch, len(learned) - SIZE))
    specs = [each.spec for each in grants if isinstance(each.spec, RolloutSpec)]
    for spec in specs:
        for group in spec.groups:
            if group >= 4 * SIZE:
                assert spec.version == own.origin(group), "asked for now, sampled now"
    assert max(rl.course(world.run()).staleness) <= staleness
    world.check_replay()
    story = RunStory("run")
    for said in world.statements():
        story.hear(said)
    assert list(story.faults()) == []
    assert [len(story.batch(version)) for version in range(1, 5)] == list(map(len, learner.batches))


def test_a_run_comes_back_in_the_middle_of_a_refill(world: World) -> None:
    learner = asking(world, {1: [5]}, versions=1, max_staleness=0)
    node = world.provider("one")
    while rl.num_further(world.run()) == 0:
        learner.work()
        granted = node.ask()
        if granted is not None:
            node.answer(granted)
    lost = node.ask()
    assert lost is not None
    assert min(lost.spec.groups) >= SIZE
    world.restart()
    world.check_replay()
    world.tick(10**7)
    world.lab.expire_leases()
    assert rl.num_further(world.run()) == 5, "they are in the pool again"
    other = world.provider("two")
    while world.run().phase is not Phase.COMPLETE:
        learner.work()
        granted = other.ask()
        if granted is not None:
            other.answer(granted)
    assert [len(each) for each in learner.batches] == [SIZE + 5]
    world.check_replay()


def at_its_update(world: World, **pace: Any) -> tuple[Asking, LeaseGranted]:
    learner, node = asking(world, {}, **pace), world.provider("node")
    for _ in range(50):
        granted = learner.ask()
        if granted is None:
            sampled = node.ask()
            assert sampled is not None
            node.answer(sampled)
        elif isinstance(granted.spec, UpdateSpec) and granted.spec.version == 1:
            return learner, granted
        else:
            learner.answer(granted)
    raise AssertionError("no update came")


def lies(learner: Asking, spec: UpdateSpec) -> list[tuple[dict[str, Any], str]]:
    honest = learner.more_fields(spec, 5)
    return [
        (honest | {"more": 9}, "may have 8 more"),
        (honest | {"policy": "sha256:" + "0" * 64}, "from its parent's weights"),
        (honest | {"anchor": learner.put(b"weights")}, "brings no weights"),
        (honest | {"prompts": honest["prompts"][:1]}, "expected"),
        (honest | {"more": 4}, "expected"),
    ]


def test_a_trusted_key_asks_for_what_a_batch_may_have_and_brings_the_prompts(world: World) -> None:
    learner, granted = at_its_update(world)
    assert isinstance(granted.spec, UpdateSpec)
    for fields, said in lies(learner, granted.spec):
        before = world.state
        with pytest.raises(refusals.Conflict, match=said):
            learner.answer(granted, **fields)
        assert world.state == before
    learner.answer(granted, **learner.more_fields(granted.spec, 5))
    assert rl.num_further(world.run()) == 5
    assert world.run().version == 0


def test_a_run_that_does_not_refill_takes_no_such_answer(world: World) -> None:
    learner, granted = at_its_update(world, refill=None)
    assert isinstance(granted.spec, UpdateSpec)
    with pytest.raises(refusals.Conflict, match="may have 0 more"):
        learner.answer(granted, **learner.more_fields(granted.spec, 1))


def test_whoever_reads_the_ledger_sees_who_asked_for_more_than_a_batch_may_have(
    world: World,
) -> None:
    learner = asking(world, {1: [8]}, versions=1, max_staleness=0)
    played(world, learner)
    story = RunStory("run")
    for said in world.statements():
        if (
            isinstance(said, WorkAnswered)
            and isinstance(said.answer, UpdateAnswer)
            and said.answer.more
        ):
            said = said.model_copy(update={"answer": said.answer.model_copy(update={"more": 9})})
        story.hear(said)
    assert "the batch of version 1 asked for more groups than it may have" in list(story.faults())
    assert inputs_digest(story.inputs(1, 0)) == story.refills[1][0].spec.inputs
