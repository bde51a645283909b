"""A run of real processes that its operator pauses, once while everything dies meanwhile."""

import asyncio
import time
from collections.abc import Callable

import pytest

from archipel.lab.run_story import RunStory
from archipel.node.operator import pause_run, resume_run
from archipel.records.statements import LeaseGranted
from stage import Outcome, Stage
from tiny import NAME

MakeStage = Callable[..., Stage]


def pause(stage: Stage) -> None:
    asyncio.run(pause_run(stage.site.url, stage.site.operator(), NAME, "the machine is needed"))


def resume(stage: Stage) -> None:
    asyncio.run(resume_run(stage.site.url, stage.site.operator(), NAME))


@pytest.mark.slow
def test_a_run_that_is_paused_while_all_of_it_dies_ends_with_the_same_weights(
    make_stage: MakeStage, undisturbed: Outcome
) -> None:
    stage = make_stage()
    stage.open()
    stage.site.start_node("node", ["--latency", "0.2"])
    stage.wait(lambda: stage.leased("node", "rollout"), "a lease")
    pause(stage)
    stage.wait(lambda: not stage.site.leases(), "what was leased to be answered")
    stands_at = stage.version()
    time.sleep(1.0)
    run = stage.site.run(NAME)
    assert run is not None
    assert (run.phase, run.version) == ("paused", stands_at)
    stage.site.kill("update")
    stage.site.kill("node")
    stage.restart_lab()
    stage.site.start_update()
    stage.site.start_node("another")
    stage.wait(lambda: stage.node("another") is not None, "another node")
    time.sleep(0.5)
    assert not stage.site.leases()
    resume(stage)
    stage.wait_for_update(4)
    pause(stage)
    resume(stage)
    outcome = stage.finished()
    assert outcome.policies == undisturbed.policies
    story = RunStory(NAME)
    for said in outcome.history:
        story.hear(said)
    assert list(story.faults()) == []
    assert any(isinstance(said, LeaseGranted) for said in outcome.history)
