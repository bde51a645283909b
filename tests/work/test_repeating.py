"""Contributions made again by whoever audits: what is right passes, and every lie is named, by the code that nodes run."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from archipel.bench.replay_ground import QUICK, Ground, Made
from archipel.bench.replay_lies import LIES, Lie
from archipel.node.assigned import assigned_shards
from archipel.records.canonical import sha256_digest
from archipel.records.documents import AcceptedWork, inputs_digest
from archipel.records.kinds.audit import AuditSpec
from archipel.records.kinds.inner_step import WORDS as INNER_STEP
from archipel.records.measures import MOST
from archipel.work.kind import Answer, EngineChoice
from archipel.work.kinds.audit import AuditsDone
from archipel.work.kinds.merge import Merges
from work.outer_steps import NAME, OuterSteps, members, recipe_of, write_corpus

SENT = {"x10", "sign flipped", "noise", "a little is enough", "copy"}
"""What is said otherwise than it was learned."""


@cache
def ground() -> Ground:
    return Ground(QUICK, 0, "e3m0", "adamw")


def elsewhere(made: Made) -> Made:
    """As a machine of another class would have it."""
    return Made(made.answer.model_copy(update={"machine": "another"}), made.payload)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_every_lie_is_found_and_named_and_lies_further_than_another_machine_may(lie: Lie) -> None:
    made = ground().contribution(0, lie)
    found = ground().look(0, made)
    assert found.difference is not None
    assert (found.difference.group, found.difference.rollout) == (0, 0)
    assert found.difference.what == ("payload" if lie.name in SENT else "state")
    if lie.name in SENT:
        assert found.difference.position == QUICK.steps
    assert found.positions == QUICK.steps * QUICK.batch * QUICK.sequence_length
    assert ground().apart_nano(0, made) > 100_000_000


def test_what_is_right_passes_to_the_bit_and_a_wrong_state_alone_does_not() -> None:
    made = ground().contribution(0)
    assert ground().look(0, made).difference is None
    assert ground().look(0, elsewhere(made)).cannot is None, "bits that are equal need no class"
    states = (*made.answer.commitments[:-1], sha256_digest(b"another"))
    lying = Made(made.answer.model_copy(update={"commitments": states}), made.payload)
    found = ground().look(0, lying).difference
    assert found is not None
    assert (found.what, found.position) == ("state", QUICK.steps)
    assert f"after {QUICK.steps} inner steps: state" in str(found)


def test_another_class_of_machine_tells_nothing_without_a_distance_and_by_it_with_one() -> None:
    lying = elsewhere(ground().contribution(0, LIES[0]))
    assert ground().look(0, lying).cannot == "machine"
    apart = ground().apart_nano(0, lying)
    near = ground().look(0, lying, far_nano=apart)
    assert near.difference is None
    assert near.measured is not None
    far = ground().look(0, lying, far_nano=apart - 1)
    assert far.difference is not None
    assert far.difference.what == "distance"
    assert far.measured is not None
    assert far.measured.figures == {"distance": apart}
    garbage = Made(lying.answer, b"no payload at all")
    measured = ground().look(0, garbage, far_nano=1).measured
    assert measured is not None
    assert measured.figures == {"distance": MOST}


def test_of_its_own_class_an_auditor_blames_nobody_for_bits_that_lie_near() -> None:
    """A class is a name: two processors of one may differ in a bit, and then the distance decides."""
    made = ground().contribution(0)
    states = (sha256_digest(b"another"), *made.answer.commitments[1:])
    near = Made(made.answer.model_copy(update={"commitments": states}), made.payload)
    assert ground().look(0, near, far_nano=1).difference is None
    far = ground().look(0, ground().contribution(0, LIES[0]), far_nano=1_000)
    assert far.difference is not None
    assert (far.difference.what, far.measured) == ("state", None)


def test_steps_that_lead_to_no_numbers_nobody_can_have_made() -> None:
    made, own = ground().contribution(0), Ground(QUICK, 0, "e3m0", "adamw")
    own.base = {name: each * float("nan") for name, each in own.base.items()}
    found = own.look(0, made).difference
    assert found is not None
    assert (found.what, found.position, found.recomputed) == ("state", 0, "no finite numbers")


# A run as a lab sees it.


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> OuterSteps:
    """A run whose members remember nothing, at version 0."""
    recipe = recipe_of(write_corpus(tmp_path_factory.mktemp("text") / "corpus")).model_dump()
    recipe["inner"]["state"] = "fresh"
    recipe["audit"] = {}
    run = OuterSteps(
        tmp_path_factory.mktemp("run"), type(recipe_of(Path("corpus"))).model_validate(recipe)
    )
    run.publish(run.merge(Merges()))
    return run


def audited(run: OuterSteps, done: AcceptedWork) -> dict[str, Any]:
    """What a node says that audits it, with what an agent lays ready."""
    spec = AuditSpec(
        run=NAME, work=done.work, record=sha256_digest(b"record"), inputs=inputs_digest((done,)),
        version=done.spec.version, policy=done.spec.policy, blobs=(done.spec.corpus,),  # type: ignore[attr-defined]  # a contribution
    )  # fmt: skip
    named = (*spec.blobs, *INNER_STEP.blobs(done.answer))  # type: ignore[arg-type]  # a contribution
    blobs = {each.digest: run.blobs[each.digest] for each in named}
    further = assigned_shards(spec, run.pace, blobs, (done,))
    blobs |= {each.digest: run.blobs[each.digest] for each in further}
    context = run.context("auditor", f"{NAME}.77", chain=run.chain(), blobs=blobs, inputs=(done,))
    told: list[int] = []
    answer: Answer = AuditsDone(EngineChoice()).run(spec, context, told.append)
    assert told == [run.pace.tokens_per_step, 2 * run.pace.tokens_per_step]
    return dict(answer.values)


def test_a_node_makes_a_contribution_again_from_what_its_agent_lays_ready(
    story: OuterSteps,
) -> None:
    (kind, name), _ = members(2)
    done = story.accepted(0, story.member(kind, name, 0))
    assert done.answer.machine  # type: ignore[attr-defined]  # a contribution
    assert audited(story, done)["says"] == "agree"
    # The same bytes as the contribution of another index: trained on another's text.
    said = story.accepted(1, story.member(kind, name, 0))
    found = audited(story, said)
    assert found["says"] == "differs"
    assert (found["difference"]["what"], found["difference"]["position"]) == ("state", 1)
    assert found["difference"]["group"] == 1
