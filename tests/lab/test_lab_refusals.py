"""Bad input at the HTTP door: each kind refused by its own name, the lab untouched, honest work goes on."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel.lab import refusals
from archipel.lab.state import Phase
from door import problem
from lies import LIES
from scene import Scene
from world import finish


@pytest.fixture
def scene(quick_folder: Path) -> Iterator[Scene]:
    made = Scene(quick_folder)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_by_its_name_and_changes_nothing(scene: Scene, lie: str) -> None:
    kind, tell = LIES[lie]
    """Each in a lab of its own; all of one after another is of the fast tests."""
    before = (scene.world.state, scene.world.lab.log.head)
    answer = tell(scene)
    assert problem(answer) == kind, answer.text
    assert 400 <= answer.status_code < 500
    assert (scene.world.state, scene.world.lab.log.head) == before
    scene.honest.answer(scene.kept)
    assert dict(scene.world.state.nodes[scene.honest.did].ends)[scene.kept.work] == "accepted"


def test_after_every_lie_in_a_row_the_run_still_ends_as_it_should(scene: Scene) -> None:
    for lie, (kind, tell) in LIES.items():
        before = (scene.world.state, scene.world.lab.log.head)
        answer = tell(scene)
        assert problem(answer) == kind, lie
        assert 400 <= answer.status_code < 500, lie
        assert (scene.world.state, scene.world.lab.log.head) == before, lie
    scene.honest.answer(scene.kept)
    scene.liar.answer(scene.grant)
    finish(scene.world, scene.learner, [scene.honest])
    assert scene.world.run().phase is Phase.COMPLETE
    scene.world.check()
    scene.world.check_replay()


def test_one_lease_takes_in_one_answer_s_worth_of_bytes_and_no_more(scene: Scene) -> None:
    data = scene.packed()
    assert scene.door.upload(scene.liar.identity, data, scene.grant.work).status_code == 201
    assert scene.door.upload(scene.liar.identity, data, scene.grant.work).status_code == 201
    refused = [
        scene.door.upload(scene.liar.identity, bytes([n]) * 4000, scene.grant.work).status_code
        for n in range(3)
    ]
    assert refused[-1] == 413
    assert refused.count(201) <= 1


def test_a_joined_node_without_trust_never_gets_update_or_evaluation_work(scene: Scene) -> None:
    scene.world.open_run("second")
    for _ in range(20):
        request = scene.liar.request(kinds=("update", "evaluate"))
        assert scene.door.ask(request).status_code == 204
    joined = dataclasses.replace(scene.liar, kinds=("update", "evaluate", "rollout"))
    joined.join()
    granted = joined.ask()
    assert granted is not None
    assert granted.spec.kind == "rollout"


def test_every_problem_of_a_refusal_has_its_own_name() -> None:
    kinds = [each for each in vars(refusals).values() if isinstance(each, type)]
    names = [each.problem for each in kinds if issubclass(each, refusals.Refused)]
    assert len(names) == len(set(names)) > 15
