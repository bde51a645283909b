"""A run that its operator pauses hands nothing out, owes nothing, and goes on as if no time had passed."""

import asyncio
from typing import Any

import pytest

from archipel.lab import pauses, refusals
from archipel.lab.decide import late_leases, opportunities
from archipel.lab.run_story import RunStory
from archipel.lab.state import Phase
from archipel.lab.views import learning_ms, run_view, waits
from archipel.records.pauses import RunPaused, RunResumed
from archipel.records.statements import LeaseGranted, Statement
from people import Learner, envelope, identity
from world import PACE, TERMS, World, finish

FLOOR = PACE["min_deadline_ms"]


def policies(world: World, name: str = "run") -> list[str]:
    return [version.policy for version in world.run(name).chain]


def wait_of(world: World, name: str = "run") -> Any:
    (wait,) = [each for each in waits(world.state, world.now_ms) if each.run == name]
    return wait


def test_a_paused_run_hands_out_nothing_and_its_nodes_work_for_the_others(world: World) -> None:
    learner = world.learner()
    for name in ("one", "two"):
        world.open_run(name)
        learner.work()
    node = world.provider("node")
    world.pause_run("one")
    for _ in range(20):
        granted = learner.ask() or node.ask()
        if granted is None:
            break
        assert granted.spec.run == "two"
        (learner if granted.work in learner.leases else node).answer(granted)
    assert world.run("two").phase is Phase.COMPLETE
    assert [each.run.name for each in opportunities(world.state)] == []
    assert node.ask() is None
    world.resume_run("one")
    granted = node.ask()
    assert granted is not None
    assert granted.spec.run == "one"


def test_a_node_that_waits_gets_work_the_moment_its_run_goes_on(world: World) -> None:
    world.started()
    node = world.provider("node")
    world.pause_run()

    async def story() -> Any:
        asked = asyncio.create_task(world.lab.lease(node.request(), 5.0))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not asked.done()
        said = world.statement(world.operator, RunResumed, run="run")
        await world.lab.submit(envelope(world.operator, said))
        return await asked

    assert world.await_(story()) is not None


def test_what_was_leased_before_may_be_answered_and_is_paid(world: World) -> None:
    learner = world.started()
    node = world.provider("node")
    granted = node.ask()
    assert granted is not None
    world.pause_run()
    world.tick(10)
    node.answer(granted)
    assert world.state.book[node.did] == granted.price_micro > 0
    assert learner.ask() is None
    world.resume_run()
    finish(world, learner, [node])
    world.check()
    world.check_replay()


def test_a_lease_that_runs_out_meanwhile_goes_out_again_afterwards(world: World) -> None:
    learner = world.started(max_staleness=0)
    slow, quick = world.provider("slow"), world.provider("quick")
    granted = slow.ask()
    assert granted is not None
    world.pause_run()
    world.tick(TERMS["trusted_deadline_ms"] + 1)
    assert not world.state.leases
    assert quick.ask() is None
    with pytest.raises(refusals.Late):
        slow.answer(granted)
    world.resume_run()
    finish(world, learner, [quick])
    world.check_replay()


def test_no_second_node_gets_the_late_work_of_a_paused_run(world: World) -> None:
    learner = world.started(groups_per_update=2, max_staleness=0, max_groups_per_lease=1)
    slow, quick = world.provider("slow"), world.provider("quick")
    slow.prove(FLOOR)
    quick.prove(10)
    while world.run().version < 1:
        learner.work()
    assert slow.ask() is not None
    quick.prove(10)
    world.now_ms += 2 * FLOOR - 100
    slow.leases.clear()
    world.pause_run()
    assert late_leases(world.state, world.now_ms + 101) == []
    assert quick.wait(101) is None
    world.resume_run()
    assert late_leases(world.state, world.now_ms) != [], "else the test shows nothing"
    assert quick.wait(0) is not None


def test_a_pause_changes_no_weights(world: World) -> None:
    def whole_run(world: World, *, is_disturbed: bool) -> list[str]:
        learner, node = world.started(max_staleness=0), world.provider("node")
        for _ in range(100):
            if is_disturbed:
                world.pause_run()
                world.tick(3 * FLOOR)
                assert node.ask() is None
                assert learner.ask() is None
                world.resume_run()
            granted = node.ask()
            if is_disturbed:
                world.pause_run()
            if granted is not None:
                node.answer(granted)
            if is_disturbed:
                world.resume_run()
            learner.work()
            if world.run().phase is Phase.COMPLETE:
                return policies(world)
        raise AssertionError("the run did not end")

    calm = World()
    undisturbed = whole_run(calm, is_disturbed=False)
    calm.close()
    assert whole_run(world, is_disturbed=True) == undisturbed


def test_only_an_operator_resumes_and_nothing_is_done_twice(world: World) -> None:
    learner = world.started()
    node = world.provider("node")
    with pytest.raises(refusals.NotAllowed, match="neither an operator of this lab nor trusted"):
        node.speak(RunPaused, run="run", reason="")
    for stranger in (node, learner):
        with pytest.raises(refusals.NotAllowed, match="no operator"):
            stranger.speak(RunResumed, run="run")
    for kind, words in ((RunPaused, {"reason": ""}), (RunResumed, {})):
        with pytest.raises(refusals.Unknown, match="no run other"):
            world.speak(world.operator, kind, run="other", **words)
    with pytest.raises(refusals.Conflict, match="running and not paused"):
        world.resume_run()
    world.pause_run()
    before = world.state
    with pytest.raises(refusals.Conflict, match="paused already; `archipel run resume run`"):
        world.pause_run()
    assert world.state == before
    world.resume_run()
    with pytest.raises(refusals.Conflict, match="not paused"):
        world.resume_run()


def test_a_trusted_role_pauses_its_own_run_and_no_other(world: World) -> None:
    learner = world.started()
    world.open_run("other", trusted=(world.operator.did,))
    learner.speak(RunPaused, run="run", reason="alarm")
    assert world.run().paused is not None
    assert world.run().paused.by == learner.identity.did
    with pytest.raises(refusals.NotAllowed, match="nor trusted in other"):
        learner.speak(RunPaused, run="other", reason="alarm")
    world.resume_run()


def test_a_run_that_is_over_is_neither_paused_nor_resumed(world: World) -> None:
    learner = world.started()
    finish(world, learner, [world.provider("node")])
    world.open_run("other")
    world.pause_run("other")
    world.stop_run("other")
    assert world.run("other").paused is None
    for name, phase in (("run", "complete"), ("other", "stopped")):
        with pytest.raises(refusals.Conflict, match=f"{phase}: there is nothing to pause"):
            world.pause_run(name)
        with pytest.raises(refusals.Conflict, match=f"{phase} and not paused"):
            world.resume_run(name)


def test_a_last_version_that_comes_in_a_pause_leaves_its_evaluations_for_later(
    world: World,
) -> None:
    learner, node = world.started(versions=1, groups_per_update=1), world.provider("node")
    while (granted := learner.ask()) is None or granted.spec.kind != "update":
        if granted is not None:
            learner.answer(granted)
        elif (rollout := node.ask()) is not None:
            node.answer(rollout)
    world.now_ms += 1000
    world.pause_run()
    world.now_ms += 5000
    learner.answer(granted)
    assert run_view(world.state, world.run(), world.now_ms).phase == "complete"
    world.now_ms += 7000
    assert learning_ms(world.run(), world.now_ms) == 1000, "the pause is no part of it"
    assert learner.ask() is None
    assert "run resume run" in wait_of(world).waiting_for
    world.resume_run()
    assert learning_ms(world.run(), world.now_ms) == 1000
    while learner.work() is not None:
        pass
    assert not world.state.live
    world.check_replay()


def test_a_pause_is_no_less_than_nothing_and_what_is_not_paused_does_not_resume(
    world: World,
) -> None:
    world.started()
    world.pause_run()
    paused = world.run()
    assert paused.paused is not None
    assert pauses.idle_ms(paused, paused.paused.at_ms - 5) == 0, "the clock was set back"
    world.resume_run()
    with pytest.raises(ValueError, match="not paused"):
        pauses.resumed(world.run(), world.now_ms)


def test_a_pause_is_shown_as_its_owner_s_and_not_as_being_stuck(world: World) -> None:
    world.started()
    node = world.provider("node")
    node.ask()
    world.pause_run(reason="the machine\x1b[2J is needed")
    wait = wait_of(world)
    assert wait.waiting_for == (
        "paused by run's owner (the machine [2J is needed); resume with `archipel run resume run`"
    )
    assert wait.owner == world.operator.did
    assert wait.left_s is None
    assert "1 lease is still out" in wait.advice
    assert run_view(world.state, world.run(), world.now_ms).phase == "paused"
    world.resume_run()
    assert run_view(world.state, world.run(), world.now_ms).phase == "running"
    assert not any("paused" in wait.waiting_for for wait in waits(world.state, world.now_ms))


def test_a_pause_is_no_time_in_which_the_learner_was_idle(world: World) -> None:
    learner, node = world.started(versions=2, max_staleness=0), world.provider("node")

    def one_version() -> None:
        version = world.run().version
        while world.run().version == version:
            granted = learner.ask()
            if granted is not None:
                world.now_ms += 1000
                learner.answer(granted)
            elif (rollout := node.ask()) is not None:
                world.now_ms += 1000
                node.answer(rollout)

    def busy() -> float:
        return run_view(world.state, world.run(), world.now_ms).learner_utilisation

    one_version()
    before = busy()
    assert 0 < before < 1
    world.pause_run()
    world.now_ms += 10**9
    assert busy() == before
    world.resume_run()
    assert busy() == before
    one_version()
    world.now_ms += 10**9
    assert busy() > before / 3


def test_a_paused_run_is_paused_after_a_restart_and_by_its_snapshot(world: World) -> None:
    world.started()
    world.pause_run()
    before = world.state
    world.restart()
    assert world.state == before
    world.check_replay()
    assert world.provider("node").ask() is None


def heard(*said: Statement) -> list[str]:
    world = World()
    learner = world.started(max_staleness=0)
    while (granted := learner.ask()) is not None:
        learner.answer(granted)
    node = world.provider("node")
    told = [*world.statements()]
    story = RunStory("run")
    for each in told:
        story.hear(each)  # type: ignore[arg-type]  # all of it is recorded
    assert list(story.faults()) == []
    granted = node.ask()
    assert granted is not None
    for each in (*said, granted):
        story.hear(each)  # type: ignore[arg-type]
    world.close()
    return list(story.faults())


def ruling(author: str, kind: type[Statement], **words: str) -> Statement:
    did = identity(author).did
    return kind(lab=identity("lab").did, author=did, seq=1, run="run", **words)  # type: ignore[arg-type]


def test_whoever_reads_the_ledger_sees_work_handed_out_in_a_pause() -> None:
    pause = ruling("operator", RunPaused, reason="")
    again = ruling("operator", RunResumed)
    (fault,) = heard(pause)
    assert "was handed out while the run was paused" in fault
    assert heard(pause, again) == []
    (fault,) = heard(ruling("node", RunPaused, reason=""), again)
    assert fault.startswith("run.paused by did:key:")
    assert "no operator" in fault


def test_a_grant_in_the_ledger_is_never_of_a_paused_run(world: World) -> None:
    """The same, of a lab that keeps the rules, however it is asked."""
    learner, node = world.started(max_staleness=0), world.provider("node")
    is_paused = False
    for step in range(40):
        if step % 3 == 0 and world.run().phase is Phase.RUNNING:
            (world.resume_run if is_paused else world.pause_run)()
            is_paused = not is_paused
        for each in (node, learner):
            if (granted := each.ask()) is not None:
                each.answer(granted)
    story = RunStory("run")
    for said in world.statements():
        story.hear(said)  # type: ignore[arg-type]
    assert list(story.faults()) == []
    assert any(isinstance(said, LeaseGranted) for said in world.statements())


def test_a_pause_before_version_0_holds_the_update_back(world: World) -> None:
    world.open_run()
    learner: Learner = world.learner()
    world.pause_run()
    assert learner.ask() is None
    world.tick(10 * TERMS["trusted_deadline_ms"])
    world.resume_run()
    assert learner.work() is not None
    assert world.run().version == 0
    assert world.run().paused_ms == 0
