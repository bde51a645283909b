"""Real processes that really die: the run ends as it should, bit for bit, and the books are right."""

from collections.abc import Callable

import pytest

from stage import Outcome, Stage

MakeStage = Callable[..., Stage]


@pytest.mark.slow  # each death by itself is held in the rooms: ledger, lab, node, training
def test_a_run_in_which_everything_dies_once_ends_with_the_same_weights(
    make_stage: MakeStage, undisturbed: Outcome
) -> None:
    stage = make_stage()
    stage.open()
    for name in ("doomed", "steady"):
        stage.site.start_node(name, ["--latency", "0.2"])
    stage.wait(lambda: stage.leased("doomed", "rollout"), "a lease of the doomed node")
    stage.site.kill("doomed")
    stage.wait_for_update(3)
    stage.site.kill("update")
    stage.site.start_update()
    stage.wait_for_version(2)
    stage.restart_lab()
    stage.wait_for_version(3)
    stage.kill_child("steady")
    stage.site.start_node("late")
    outcome = stage.finished()
    assert outcome.policies == undisturbed.policies


@pytest.mark.slow
def test_the_work_of_a_killed_node_is_done_by_another(
    make_stage: MakeStage, undisturbed: Outcome
) -> None:
    stage = make_stage()
    stage.open()
    doomed = stage.site.start_node("doomed", ["--latency", "1.5"])
    stage.wait(lambda: stage.leased("doomed", "rollout"), "a lease of the doomed node")
    stage.site.kill("doomed")
    stage.site.start_node("heir")
    outcome = stage.finished()
    assert outcome.state.nodes[doomed].expired == 1
    assert outcome.policies == undisturbed.policies


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["in the making", "just published"])
def test_an_update_process_killed_at_any_moment_repeats_nothing_and_loses_nothing(
    make_stage: MakeStage, undisturbed: Outcome, moment: str
) -> None:
    stage = make_stage()
    stage.open()
    stage.site.start_node("node")
    for version in (0, 2, 4):
        if moment == "in the making":
            stage.wait_for_update(version + 1)
        else:
            stage.wait_for_version(version)
        stage.site.kill("update")
        stage.site.start_update()
    assert stage.finished().policies == undisturbed.policies


@pytest.mark.slow
def test_a_lab_killed_again_and_again_continues_with_nothing_accepted_lost(
    make_stage: MakeStage, undisturbed: Outcome
) -> None:
    stage = make_stage()
    stage.open()
    for name in ("a", "b"):
        stage.site.start_node(name)
    for version in (0, 1, 3, 5):
        stage.wait_for_version(version)
        stage.restart_lab()
    assert stage.finished().policies == undisturbed.policies


@pytest.mark.slow
def test_a_killed_child_costs_one_lease_and_not_its_node(
    make_stage: MakeStage, undisturbed: Outcome
) -> None:
    stage = make_stage()
    stage.open()
    node = stage.site.start_node("node")
    stage.wait_for_version(1)
    first = stage.child("node")
    stage.kill_child("node")
    outcome = stage.finished()
    assert outcome.policies == undisturbed.policies
    assert outcome.state.nodes[node].expired == 0
    assert outcome.state.nodes[node].returned <= 2  # the lost lease, and Ctrl-C at the end
    assert first > 0


@pytest.mark.slow
def test_two_trusted_processes_take_turns_and_the_weights_are_the_same(
    make_stage: MakeStage, undisturbed: Outcome
) -> None:
    stage = make_stage()
    stage.open("update", "second")
    stage.site.start_node("node")
    stage.wait_for_version(2)
    stage.site.kill("update")
    stage.wait_for_version(4)
    stage.site.start_update()
    stage.site.kill("second")
    assert stage.finished().policies == undisturbed.policies
