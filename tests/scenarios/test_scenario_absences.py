"""Real processes that come late, leave early, or find nobody at home."""

import time
from collections.abc import Callable

import pytest

from archipel.blobs import BlobStore
from archipel.records.kinds.rollout import RolloutSpec
from stage import Outcome, Stage

MakeStage = Callable[..., Stage]


@pytest.mark.slow
def test_a_late_joiner_starts_from_an_anchor_and_a_leaver_owes_nothing(
    make_stage: MakeStage,
) -> None:
    stage = make_stage(versions=8, staleness=2)
    stage.open()
    leaver = stage.site.start_node("leaver", ["--latency", "0.7"])
    stage.wait_for_version(3)
    assert stage.site.interrupt("leaver") == 0
    late = stage.site.start_node("late")
    outcome = stage.finished()
    assert outcome.state.nodes[leaver].expired == 0
    assert not outcome.state.nodes[leaver].present
    assert outcome.state.nodes[late].works > 0
    fetched = set(BlobStore(stage.site.home("late") / "blobs").digests())
    versions = outcome.versions
    anchors = {each.anchor.digest for each in versions if each.anchor}
    early = {each.delta.digest for each in versions[:3] if each.delta}
    assert len(fetched & anchors) == 1
    assert not fetched & early, "what the anchor contains was replayed"


@pytest.mark.slow
def test_nodes_outlast_an_unreachable_lab(make_stage: MakeStage, undisturbed: Outcome) -> None:
    stage = make_stage()
    stage.open()
    for name in ("a", "b"):
        stage.site.start_node(name)
    stage.wait_for_version(1)
    stage.restart_lab(while_down=lambda: time.sleep(5.0))
    for name in ("a", "b", "update"):
        assert stage.site.running(name)
    assert stage.finished().policies == undisturbed.policies


@pytest.mark.slow
@pytest.mark.parametrize("staleness", [1, 4])
def test_staleness_stays_within_its_bound_among_unequal_nodes(
    make_stage: MakeStage, staleness: int
) -> None:
    stage = make_stage(versions=8, staleness=staleness)
    stage.open()
    for name, options in (("fast", []), ("slow", ["--duty", "0.2"]), ("far", ["--latency", "0.3"])):
        stage.site.start_node(name, options)
    outcome = stage.finished()
    assert max(outcome.staleness) <= staleness
    assert not any(isinstance(each.spec, RolloutSpec) for each in outcome.state.leases.values())


@pytest.mark.slow
def test_a_second_node_from_the_same_home_ends_with_a_sentence(make_stage: MakeStage) -> None:
    stage = make_stage(versions=2)
    stage.open()
    stage.site.start_node("node")
    stage.wait(lambda: bool(stage.node("node")), "the node to join")
    first = stage.site._processes.pop("node")
    stage.site.start_node("node")
    second = stage.site._processes["node"]
    assert second.wait(60.0) != 0
    stage.site._processes["node"] = first
    assert "another node runs from" in stage.site._output("node").read_text()
    stage.finished()
