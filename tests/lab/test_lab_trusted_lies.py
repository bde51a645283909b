"""A trusted key can lie as well: about versions, prompts, checkpoints and evaluations."""

from typing import Any

import pytest

from archipel.lab import refusals
from archipel.lab.kinds.evaluate import MAX_REPORT_BYTES, Exams, exams
from archipel.lab.programmes import rl
from archipel.records.fields import BlobRef
from archipel.records.kinds.update import PromptBatch
from archipel.records.prompts import pack_prompts
from archipel.records.statements import LeaseGranted
from people import Learner, ref
from world import PACE, World

ELSEWHERE = "sha256:" + "0" * 64


def leased(world: World, kind: str, version: int, **pace: Any) -> tuple[Learner, LeaseGranted]:
    """The learner's lease of this kind for this version, everything before it done honestly."""
    learner, node = world.started(**pace), world.provider("node")
    for _ in range(200):
        granted = learner.ask()
        if granted is None:
            sampled = node.ask()
            assert sampled is not None
            node.answer(sampled)
        elif (granted.spec.kind, granted.spec.version) == (kind, version):  # type: ignore[union-attr]  # trusted work
            return learner, granted
        else:
            learner.answer(granted)
    raise AssertionError(f"no {kind} of version {version} came")


def refused(world: World, learner: Learner, grant: LeaseGranted, why: type, **lies: Any) -> str:
    """The lie is refused for this reason and changes nothing."""
    before = world.state
    with pytest.raises(why) as error:
        learner.answer(grant, **lies)
    assert error.type is why
    assert world.state == world.lab.ahead == before
    return str(error.value)


@pytest.mark.parametrize(
    ("why", "lies"),
    [
        (refusals.WrongPolicy, {"version": 0}),
        (refusals.WrongPolicy, {"version": 4}),
        (refusals.WrongPolicy, {"policy": ELSEWHERE}),
        (refusals.TooLarge, {"report": BlobRef(digest=ELSEWHERE, size=MAX_REPORT_BYTES + 1)}),
        (refusals.MissingBlob, {"report": BlobRef(digest=ELSEWHERE, size=MAX_REPORT_BYTES)}),
    ],
)
def test_an_evaluation_is_of_the_weights_that_were_asked_and_its_report_is_here_and_not_too_large(
    world: World, why: type, lies: dict[str, Any]
) -> None:
    learner, granted = leased(world, "evaluate", 2)
    refused(world, learner, granted, why, **lies)
    learner.answer(granted)
    done = exams(world.run()).done
    assert sorted(done) == [0, 2]
    assert done[2].metrics == {"score_micro": 1}
    assert done[2].report == ref(granted.work.encode())


@pytest.mark.parametrize(
    ("why", "lies"),
    [
        (refusals.Conflict, {"version": 2}),
        (refusals.Conflict, {"version": 0}),
        (refusals.Conflict, {"parent": None}),
        (refusals.Conflict, {"parent": ELSEWHERE}),
        (refusals.MissingBlob, {"anchor": None, "delta": None}),
        (refusals.MissingBlob, {"anchor": ref(b"never sent")}),
        (refusals.MissingBlob, {"delta": ref(b"never sent")}),
        (refusals.MissingBlob, {"manifest": ref(b"never sent")}),
        (refusals.MissingBlob, {"memory": ref(b"never sent")}),
        (refusals.Conflict, {"prompts": ()}),
    ],
)
def test_a_version_is_the_one_that_was_asked_with_its_weights_and_all_of_it_is_here(
    world: World, why: type, lies: dict[str, Any]
) -> None:
    learner, granted = leased(world, "update", 1, checkpoint_every=2)
    refused(world, learner, granted, why, **lies)
    learner.answer(granted)
    assert world.run().version == 1


def test_a_version_may_be_a_delta_alone_but_version_0_may_not(world: World) -> None:
    world.open_run(checkpoint_every=2)
    learner = world.learner()
    granted = learner.ask()
    assert granted is not None
    delta = world.put(b"change")
    said = refused(world, learner, granted, refusals.MissingBlob, anchor=None, delta=delta)
    assert "anchor" in said
    learner.answer(granted)
    node = world.provider("node")
    while world.run().version < 1:
        granted = learner.ask()
        if granted is None:
            sampled = node.ask()
            assert sampled is not None
            node.answer(sampled)
        elif granted.spec.kind == "update":
            learner.answer(granted, anchor=None, delta=delta)
        else:
            learner.answer(granted)
    newest = world.run().chain[-1]
    assert (newest.anchor, newest.delta) == (None, delta)


@pytest.mark.parametrize(("version", "is_due"), [(1, False), (2, True), (3, False), (4, True)])
def test_a_checkpoint_is_due_at_every_kth_version_only(
    world: World, version: int, is_due: bool
) -> None:
    learner, granted = leased(world, "update", version, checkpoint_every=2)
    if is_due:
        refused(world, learner, granted, refusals.MissingBlob, memory=None)
        learner.answer(granted)
    else:
        learner.answer(granted, memory=None)
    assert world.run().version == version


def test_version_0_needs_no_checkpoint_even_when_every_version_does(world: World) -> None:
    world.open_run(checkpoint_every=1)
    learner = world.learner()
    granted = learner.ask()
    assert granted is not None
    learner.answer(granted, memory=None)
    assert world.run().version == 0


def batches(world: World, numbers: tuple[int, ...]) -> tuple[PromptBatch, ...]:
    rows = [(1, 3)] * PACE["groups_per_update"]
    return tuple(
        PromptBatch(batch=number, blob=world.put(pack_prompts(rows, batch=number)))
        for number in numbers
    )


@pytest.mark.parametrize("numbers", [(), (1,), (3,), (1, 2), (2, 3), (2, 2)])
def test_a_version_brings_exactly_the_batch_that_it_lets_nodes_sample(
    world: World, numbers: tuple[int, ...]
) -> None:
    learner, granted = leased(world, "update", 1)
    said = refused(world, learner, granted, refusals.Conflict, prompts=batches(world, numbers))
    assert "expected [2]" in said
    learner.answer(granted, prompts=batches(world, (2,)))
    assert sorted(rl.course(world.run()).prompts) == [1, 2]


@pytest.mark.parametrize("staleness", [0, 1, 3, 9])
def test_version_0_brings_all_batches_that_staleness_lets_nodes_sample_and_no_more_than_there_are(
    world: World, staleness: int
) -> None:
    world.open_run(max_staleness=staleness)
    learner = world.learner()
    granted = learner.ask()
    assert granted is not None
    due = tuple(range(min(staleness + 1, 4)))
    for numbers in (due[1:], (*due, len(due))):
        refused(world, learner, granted, refusals.Conflict, prompts=batches(world, numbers))
    learner.answer(granted, prompts=batches(world, due))
    assert tuple(sorted(rl.course(world.run()).prompts)) == due


def test_the_last_versions_bring_no_prompts_that_nobody_would_sample(world: World) -> None:
    learner, granted = leased(world, "update", 3)
    refused(world, learner, granted, refusals.Conflict, prompts=batches(world, (4,)))
    learner.answer(granted, prompts=())
    assert world.run().version == 3


def test_prompts_of_another_batch_or_too_large_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, granted = leased(world, "update", 1)
    (other,) = batches(world, (3,))
    mislabelled = (PromptBatch(batch=2, blob=other.blob),)
    said = refused(world, learner, granted, refusals.WrongShape, prompts=mislabelled)
    assert "of batch 3, expected 4 of batch 2" in said
    honest = batches(world, (2,))
    limit = "archipel.lab.kinds.update.MAX_PROMPTS_BYTES"
    monkeypatch.setattr(limit, honest[0].blob.size - 1)
    refused(world, learner, granted, refusals.TooLarge, prompts=honest)
    monkeypatch.setattr(limit, honest[0].blob.size)
    learner.answer(granted, prompts=honest)


@pytest.mark.parametrize(("token", "is_taken"), [(0, True), (15, True), (16, False), (-1, False)])
def test_a_prompt_s_tokens_are_in_the_vocabulary(world: World, token: int, is_taken: bool) -> None:
    learner, granted = leased(world, "update", 1)
    rows = [(1, 3)] * (PACE["groups_per_update"] - 1) + [(1, token)]
    named = (PromptBatch(batch=2, blob=world.put(pack_prompts(rows, batch=2))),)
    if is_taken:
        learner.answer(granted, prompts=named)
        return
    before = world.state
    with pytest.raises(refusals.BadResult):
        learner.answer(granted, prompts=named)
    assert world.state == before


def test_an_update_names_its_parent_its_inputs_and_the_newest_checkpoint(world: World) -> None:
    learner, granted = leased(world, "update", 2, checkpoint_every=1)
    run = world.run()
    spec: Any = granted.spec
    assert spec.parent == run.chain[-1].policy
    assert spec.inputs is not None
    assert spec.memory is not None
    assert spec.memory.version == 1
    assert rl.course(run).updating == granted.work
    learner.give_back(granted.work)
    assert rl.course(world.run()).updating is None
    again = learner.ask()
    assert again is not None
    assert again.spec == spec


def test_an_exam_that_comes_back_is_handed_out_again_before_newer_ones(world: World) -> None:
    learner, granted = leased(world, "evaluate", 0, evaluate_every=1)
    learner.give_back(granted.work)
    assert exams(world.run()) == Exams(next=1, returned=(0,))
    again = learner.ask()
    assert again is not None
    assert again.spec == granted.spec
    assert exams(world.run()) == Exams(next=1)
    assert learner.ask() is None, "nothing else is due: version 0 is in its hands"


def test_a_returned_exam_of_a_version_that_is_gone_is_skipped(world: World) -> None:
    learner, granted = leased(world, "evaluate", 0, evaluate_every=1, keep_versions=1)
    node = world.provider("node")
    while world.run().version < 2:
        sampled = node.ask()
        if sampled is not None:
            node.answer(sampled)
        other = learner.ask()
        if other is not None:
            learner.answer(other)
    learner.give_back(granted.work)
    seen = []
    while (due := learner.ask()) is not None:
        seen.append(due.spec.version)  # type: ignore[union-attr]  # trusted work
        learner.answer(due)
    assert 0 not in seen
    assert sorted(exams(world.run()).done)[-1] == 2


def test_only_so_many_exams_are_remembered_and_the_oldest_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.lab.kinds.evaluate.MAX_EXAMS_REMEMBERED", 2)
    learner, granted = leased(world, "evaluate", 3, evaluate_every=1)
    assert sorted(exams(world.run()).done) == [1, 2]
    learner.answer(granted)
    assert sorted(exams(world.run()).done) == [2, 3]


def test_a_stopped_run_gives_no_exams(world: World) -> None:
    world.started()
    learner = Learner(world, world.learner().identity)
    world.stop_run()
    assert learner.ask() is None


@pytest.mark.parametrize(
    ("every", "versions", "due"),
    [(1, 3, [0, 1, 2, 3]), (2, 4, [0, 2, 4]), (3, 4, [0, 3, 4]), (9, 2, [0, 2])],
)
def test_exams_are_due_at_0_every_kth_and_the_last(
    world: World, every: int, versions: int, due: list[int]
) -> None:
    learner, node = world.started(evaluate_every=every, versions=versions), world.provider("node")
    for _ in range(60):
        learner.work()
        sampled = node.ask()
        if sampled is not None:
            node.answer(sampled)
    assert sorted(exams(world.run()).done) == due
