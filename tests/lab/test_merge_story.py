"""What a ledger tells of a run's merges, and which of them a lab should have refused."""

from dataclasses import replace

import pytest

from archipel.lab.entry import read_entry
from archipel.lab.merge_story import MergeStory, Told
from archipel.lab.recovery import pages
from outer import GATE, Member, Merger, member, outer_started
from people import ref
from world import World


@pytest.fixture
def story(world: World) -> MergeStory:
    """Two versions with a gate, and between them a merge that was void."""
    merger = outer_started(world, gate=GATE)
    members = [member(world, name) for name in ("a", "b", "c")]
    _outer_step(world, merger, members)
    for each in members:
        merger.refuses[each.did] = "loss"
    _outer_step(world, merger, members)
    merger.refuses.clear()
    _outer_step(world, merger, members)
    told = MergeStory("outer")
    for entry in pages(world.lab.log):
        told.hear(read_entry(entry).statement)
    return told


def _outer_step(world: World, merger: Merger, members: list[Member]) -> None:
    for each in members:
        granted = each.ask()
        assert granted is not None
        world.tick(400)
        each.answer(granted)
    while merger.work() is not None:
        pass


def changed(story: MergeStory, version: int, **answer: object) -> list[str]:
    """Faults with another answer in place of this version's."""
    told = story.versions[version]
    other = replace(told, answer=told.answer.model_copy(update=answer))
    versions = [*story.versions[:version], other, *story.versions[version + 1 :]]
    return list(replace(story, versions=versions).faults())


def test_a_run_as_its_lab_ran_it_has_no_fault(story: MergeStory) -> None:
    assert [told.answer.version for told in story.versions] == [0, 1, 2]
    assert [told.answer.version for told in story.void] == [2]
    assert [len(story.inputs(told)) for told in story.versions] == [0, 3, 3]
    assert len(story.contributions) == 9
    assert list(story.faults()) == []


def test_what_a_lab_should_have_refused_is_found(story: MergeStory) -> None:
    by_others = [replace(told, author="did:key:other") for told in story.versions]
    assert "whom the run does not trust" in next(replace(story, versions=by_others).faults())
    assert any("does not name version 0" in each for each in changed(story, 1, parent=None))
    fewer = story.versions[1].answer.verdicts[1:]
    assert any("its verdicts are on" in each for each in changed(story, 1, verdicts=fewer))
    twice = story.versions[1].answer.verdicts
    assert any("is in two versions" in each for each in changed(story, 2, verdicts=twice))
    text = ref(b"chosen afterwards")
    assert any("was bound before" in each for each in changed(story, 1, gate=text))
    assert any("does not show" in each for each in changed(story, 2, gate=None))
    gap = [story.versions[0], story.versions[2]]
    assert list(replace(story, versions=gap).faults()) == [
        "version 2 was published where 1 was due"
    ]
    unknown = replace(story, contributions={})
    assert any("never accepted" in each for each in unknown.faults())


def test_a_run_that_merges_nothing_is_said_to_be_none(world: World) -> None:
    story = MergeStory("run")
    with pytest.raises(ValueError, match="opens no run"):
        _ = story.pace
    world.started()
    for entry in pages(world.lab.log):
        story.hear(read_entry(entry).statement)
    with pytest.raises(ValueError, match="run of rl"):
        _ = story.pace


def test_told_is_what_was_bound_before(story: MergeStory) -> None:
    void: Told = story.void[0]
    assert void.answer.gate is not None
    assert void.bound == void.answer.gate.digest
