"""Work that fails: it rests where it failed, everybody else goes on, and whoever asks is told why."""

import pytest

from archipel.lab import refusals
from archipel.lab.failures import ASIDE_AFTER, FIRST_REST_MS, LONGEST_REST_MS, MAX_FAILING
from archipel.lab.kinds import RULES_OF
from archipel.lab.views import run_view, waits
from archipel.records.canonical import canonical_json
from archipel.records.pauses import RunRetried
from archipel.records.statements import InvalidRecord, decode, encode
from people import Learner, Provider
from specimens import SMALL
from world import World, finish

GROUPS = {"max_groups_per_lease": 1, "groups_per_update": 8}


def started(world: World, *names: str) -> Learner:
    learner = world.learner()
    for name in names:
        world.open_run(name, **GROUPS)
    while learner.work() is not None:
        pass
    return learner


def works_at(node: Provider) -> str | None:
    granted = node.ask()
    if granted is None:
        return None
    node.answer(granted)
    return granted.spec.run


def fails_until_it_rests(node: Provider) -> None:
    for _ in range(50):
        if node.fail() is None:
            return
    raise AssertionError("what fails is offered again and again")


def test_a_run_that_fails_rests_on_that_node_and_the_healthy_one_goes_on(world: World) -> None:
    started(world, "bad", "good")
    node, done = world.provider("node"), []
    for _ in range(12):
        granted = node.ask()
        if granted is not None and granted.spec.run == "bad":
            node.give_back(granted.work, "it does not fit", fault="work")
        elif granted is not None:
            node.answer(granted)
            done.append(granted.spec.run)
    assert len(done) == 10, "the bad run cost it two tries, one of them its right"
    assert world.state.nodes[node.did].returned == 2
    world.check()
    world.check_replay()


def test_rests_grow_up_to_a_bound_and_end_by_themselves(world: World) -> None:
    started(world, "bad")
    node, rests = world.provider("node"), []
    assert node.fail() == "bad", "the first failure is free"
    for _ in range(10):
        assert node.fail() == "bad"
        waited = 0
        while node.ask() is None:
            world.tick(FIRST_REST_MS)
            waited += FIRST_REST_MS
        rests.append(waited)
        node.give_back(next(iter(node.leases)))
    assert rests[:4] == [FIRST_REST_MS << n for n in range(4)]
    assert rests[-1] == LONGEST_REST_MS


def test_work_that_was_done_and_a_node_that_joins_anew_begin_afresh(world: World) -> None:
    started(world, "bad")
    node = world.provider("node")
    node.fail()
    assert works_at(node) == "bad"
    assert world.state.nodes[node.did].failing == ()
    assert world.run("bad").troubles == ()
    node.fail()
    node.fail()
    assert node.ask() is None
    node.join()
    assert node.ask() is not None


def test_strangers_who_say_that_all_work_fails_stop_nobody(world: World) -> None:
    learner = started(world, "run")
    for number in range(12):
        liar = world.provider(f"liar {number}")
        fails_until_it_rests(liar)
    told = waits(world.state, world.now_ms)
    assert "rollout work failed 24 times in a row on 8 or more nodes" in told[0].waiting_for
    assert works_at(world.provider("honest")) == "run"
    assert world.run("run").troubles == ()
    finish(world, learner, [world.provider("honest")])
    world.check_replay()


@pytest.mark.parametrize("fault", [{}, {"fault": "time"}])
def test_a_stop_or_a_want_of_time_is_no_failure(world: World, fault: dict[str, str]) -> None:
    started(world, "run")
    node = world.provider("node")
    for _ in range(5):
        granted = node.ask()
        assert granted is not None
        node.give_back(granted.work, **fault)
    assert world.run("run").troubles == ()
    assert world.state.nodes[node.did].failing == ()


def test_what_a_machine_cannot_do_rests_there_and_says_nothing_of_the_run(world: World) -> None:
    started(world, "large", "small")
    node = world.provider("node")
    tried = [node.fail("out of memory", "machine") for _ in range(6)]
    assert "small" in tried
    assert tried.count("large") == 2
    assert world.run("large").troubles == ()


def test_the_trusted_role_does_other_runs_and_why_stuck_repeats_what_it_said(world: World) -> None:
    for name in ("bad", "good"):
        world.open_run(name, versions=1)
    learner = world.learner()
    for _ in range(2 * ASIDE_AFTER):  # both runs in turn
        learner.fail("cannot read gone.jsonl: no such file\x1b[2J")
        world.tick(FIRST_REST_MS * 8)
    (bad,) = [wait for wait in waits(world.state, world.now_ms) if wait.run == "bad"]
    assert "set aside: update work failed" in bad.waiting_for
    assert bad.waiting_for.endswith("last: cannot read gone.jsonl: no such file [2J")
    assert bad.owner == learner.did
    assert "archipel run retry bad" in bad.advice
    assert run_view(world.state, world.run("bad"), world.now_ms).troubles[0] in bad.waiting_for
    learner.join()
    finish(world, learner, [world.provider("node")])
    world.check_replay()


def test_an_evaluation_that_fails_keeps_no_update_and_is_told(world: World) -> None:
    world.open_run(versions=1)
    learner, node = world.learner(), world.provider("node")
    learner.work()
    for _ in range(2):
        assert learner.fail("dev task 3 does not fit") == "run"
    assert learner.ask() is None, "no update is due"
    for _ in range(2):  # one group, then the rest
        works_at(node)
    learner.work()
    assert world.run().version == 1
    assert RULES_OF["evaluate"].due(world.run())
    (told,) = waits(world.state, world.now_ms)
    assert "dev task 3 does not fit" in told.waiting_for


def test_a_node_remembers_a_bounded_number_of_failures(world: World) -> None:
    names = [f"run-{number:02}" for number in range(MAX_FAILING + 4)]
    started(world, *names)
    node = world.provider("node")
    for _ in range(4 * len(names)):
        node.fail()
    assert len(world.state.nodes[node.did].failing) == MAX_FAILING
    world.check_replay()


def test_a_fault_is_written_only_if_there_is_one_and_never_as_null() -> None:
    plain = SMALL["lease.returned"]
    data = encode(plain)
    assert b"fault" not in data
    told = plain.model_copy(update={"fault": "work"})
    assert decode(encode(told)) == told
    null = canonical_json({**plain.model_dump(mode="json"), "fault": None})
    with pytest.raises(InvalidRecord, match="instead of writing null"):
        decode(null)


def test_an_operator_s_word_brings_back_what_rests_on_every_node(world: World) -> None:
    learner = started(world, "run")
    nodes = [world.provider(f"node {number}") for number in range(3)]
    for node in nodes:
        fails_until_it_rests(node)
    assert [node.ask() for node in nodes] == [None] * 3
    world.tick(1)
    world.retry_run("run")
    assert world.run("run").troubles == ()
    assert [works_at(node) for node in nodes] == ["run"] * 3
    world.tick(1)
    assert nodes[0].fail() == "run"
    assert nodes[0].ask() is not None, "what failed before is forgotten: this was a first failure"
    nodes[0].leases.clear()
    finish(world, learner, nodes)
    world.check_replay()


def test_only_an_operator_or_a_trusted_role_retries_a_run_that_has_work(world: World) -> None:
    learner = started(world, "run")
    node = world.provider("node")
    with pytest.raises(refusals.NotAllowed, match="neither an operator"):
        node.speak(RunRetried, run="run")
    learner.speak(RunRetried, run="run")
    with pytest.raises(refusals.Unknown, match="no run other"):
        world.retry_run("other")
    finish(world, learner, [node])
    while learner.work() is not None:
        pass
    with pytest.raises(refusals.Conflict, match="is complete and has no work"):
        world.retry_run("run")
