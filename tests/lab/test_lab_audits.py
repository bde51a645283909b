"""Audits over a whole lab in memory: who is drawn, who may look, what a verdict does, and that replays agree."""

from collections.abc import Iterator

import pytest

from archipel.lab import drawing, refusals
from archipel.lab.apply import Contradiction
from archipel.lab.audits import audits
from archipel.lab.cases import Outcome
from archipel.lab.programmes import rl
from archipel.lab.recovery import pages, replayed
from archipel.lab.run_story import RunStory
from archipel.lab.state import Phase
from archipel.lab.withdrawals import withdrawals
from archipel.records.audits import AuditsDrawn, AuditTerms, VerdictContested
from courtroom import (
    ALWAYS,
    TERMS,
    audited,
    case_of,
    check_money,
    draw,
    node,
    opened,
    sampled,
    settled,
)
from people import Cheat, Learner, Provider
from world import World


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.check_replay()
    check_money(found)
    found.close()


def test_an_honest_answer_is_verified_paid_and_makes_its_node_known(world: World) -> None:
    opened(world)
    honest, auditor, second = (node(world, name) for name in ("honest", "auditor", "second"))
    work = sampled(world, honest).work
    assert settled(world, work, auditor, second).outcome is Outcome.VERIFIED
    standing = world.state.nodes[honest.did].standing
    assert (standing.verified, standing.soft, standing.hard, standing.exposed_micro) == (1, 0, 0, 0)
    assert world.state.book[honest.did] == 1000
    assert world.state.book[auditor.did] == 500


def test_a_made_up_answer_found_by_two_is_hard_unpaid_withdrawn_and_its_node_quarantined(
    world: World,
) -> None:
    opened(world)
    cheat, first, second = node(world, "cheat", Cheat), node(world, "first"), node(world, "second")
    granted = sampled(world, cheat)
    draw(world)
    held = cheat.ask()
    assert held is not None
    verdict = settled(world, granted.work, first, second)
    assert verdict.outcome is Outcome.HARD
    assert "token 3 was recorded, 4 is right" in verdict.reason
    assert first.did[-12:] in verdict.reason
    assert verdict.withdrawn == (granted.work,)
    (why,) = withdrawals(world.state, world.run().name).values()
    assert why == f"a hard verdict on {granted.work}: {verdict.reason}"
    assert withdrawals(world.state, "another") == {}
    assert verdict.touched == ()
    assert world.state.book.get(cheat.did, 0) == 0
    assert granted.spec.groups[0] in rl.course(world.run()).pool  # type: ignore[union-attr]
    world.tick(200)
    assert held.work not in world.state.leases
    check_groups_audited(world)
    with pytest.raises(
        refusals.NotAllowed, match=r"in quarantine for its answer to run.*archipel node disputes"
    ):
        cheat.ask()
    with pytest.raises(refusals.NotAllowed, match="quarantine"):
        cheat.join()


def check_groups_audited(world: World) -> None:
    run = world.run()
    slice_ = rl.course(run)
    assert slice_.parties.keys() == slice_.results.keys()
    leased = set(slice_.holders)
    learned = range(max(run.version, 0) * rl.pace(run).groups_per_update)
    everywhere = sorted([*learned, *slice_.accepted, *slice_.pool, *leased])
    assert everywhere == list(range(slice_.next_group))
    assert slice_.owed == sum(group not in slice_.accepted for group in rl.next_batch(run))


def test_one_auditor_alone_never_makes_a_hard_verdict(world: World) -> None:
    """Who says no to everything, with nobody else to ask but the trusted role, ruins nobody but itself."""
    learner = opened(world)
    honest, liar = node(world, "honest"), node(world, "liar", says="differs")
    work = sampled(world, honest).work
    draw(world)
    assert audited(world, liar) is not None
    assert audited(world, liar) is None
    assert case_of(world, work).verdict is None
    assert settled(world, work, liar, learner).outcome is Outcome.VERIFIED
    assert world.state.nodes[honest.did].standing.verified == 1
    assert world.state.nodes[liar.did].standing.refuted == 1
    assert world.state.book.get(liar.did, 0) == 0
    assert world.state.book[honest.did] == 1000


def test_an_auditor_who_always_says_no_is_found_out_by_the_trusted_role_and_audits_no_more(
    world: World,
) -> None:
    learner = opened(world, ALWAYS, groups_per_update=8)
    honest, other, third = node(world, "honest"), node(world, "other"), node(world, "third")
    liar = node(world, "liar", says="differs")
    for _ in range(2):
        work = sampled(world, honest).work
        draw(world)
        assert audited(world, liar) is not None
        assert settled(world, work, other, third, learner).outcome is Outcome.VERIFIED
    standing = world.state.nodes[liar.did].standing
    assert standing.refuted == 2
    sampled(world, honest)
    draw(world)
    assert audited(world, liar) is None
    assert world.state.nodes[honest.did].standing.verified == 2
    assert world.state.nodes[honest.did].standing.quarantine is None


def test_an_auditor_who_always_says_yes_is_found_out_when_it_is_audited(world: World) -> None:
    learner = opened(world)
    cheat, liar = node(world, "cheat", Cheat), node(world, "liar", says="agree")
    other, third = node(world, "other"), node(world, "third")
    work = sampled(world, cheat).work
    draw(world)
    assert audited(world, liar) is not None
    assert case_of(world, work).verdict is None
    assert settled(world, work, other, third, learner).outcome is Outcome.HARD
    assert world.state.nodes[cheat.did].standing.quarantine is not None
    assert world.state.nodes[liar.did].standing.refuted == 1
    assert world.state.book.get(liar.did, 0) == 0


def test_where_only_the_trusted_role_can_look_the_first_failure_is_soft_and_the_second_hard(
    world: World,
) -> None:
    learner = opened(world, max_groups_per_lease=1, groups_per_update=8)
    cheat = node(world, "cheat", Cheat)
    first = sampled(world, cheat).work
    assert settled(world, first, learner).outcome is Outcome.SOFT
    assert world.state.book.get(cheat.did, 0) == 0
    assert world.state.nodes[cheat.did].standing.quarantine is None
    second = sampled(world, cheat).work
    assert settled(world, second, learner).outcome is Outcome.HARD
    standing = world.state.nodes[cheat.did].standing
    assert (standing.soft, standing.hard) == (1, 1)
    assert standing.quarantine is not None


def test_who_cannot_tell_is_not_paid_and_after_two_the_trusted_role_is_asked(world: World) -> None:
    learner = opened(world)
    honest = node(world, "honest")
    lost = [node(world, f"lost {n}", says="cannot") for n in range(2)]
    work = sampled(world, honest).work
    draw(world)
    assert [audited(world, each) is not None for each in lost] == [True, True]
    assert audited(world, node(world, "late")) is None
    assert settled(world, work, learner).outcome is Outcome.VERIFIED
    assert [world.state.book.get(each.did, 0) for each in lost] == [0, 0]


def test_nobody_audits_itself_nor_twice_and_a_silent_auditor_is_replaced(world: World) -> None:
    learner = opened(world)
    honest, silent, auditor = (node(world, name) for name in ("honest", "silent", "auditor"))
    work = sampled(world, honest).work
    draw(world)
    assert audited(world, honest) is None
    silent.kinds = ("audit",)
    granted = silent.ask()
    assert granted is not None
    world.tick(ALWAYS.deadline_ms + 1)
    assert granted.work not in world.state.leases
    silent.leases.clear()
    assert silent.ask() is None
    assert settled(world, work, auditor, learner).outcome is Outcome.VERIFIED


def test_a_contest_is_decided_by_the_trusted_role_and_gives_back_pay_name_and_work(
    world: World,
) -> None:
    learner = opened(world)
    honest, one, two = (
        node(world, "honest"), node(world, "one", says="differs"), node(world, "two", says="differs"),
    )  # fmt: skip
    work = sampled(world, honest).work
    assert settled(world, work, one, two).outcome is Outcome.HARD
    assert world.state.nodes[honest.did].standing.quarantine is not None
    with pytest.raises(refusals.Conflict, match="is not about"):
        one.speak(VerdictContested, run="run", work=work, reason="it is")
    honest.speak(VerdictContested, run="run", work=work, reason="I computed it twice")
    with pytest.raises(refusals.Conflict, match="no verdict"):
        honest.speak(VerdictContested, run="run", work=work, reason="again")
    assert settled(world, work, one, two, learner).outcome is Outcome.VERIFIED
    standing = world.state.nodes[honest.did].standing
    assert (standing.hard, standing.verified, standing.quarantine) == (0, 1, None)
    assert world.state.book[honest.did] == 1000
    assert [world.state.nodes[each.did].standing.refuted for each in (one, two)] == [1, 1]
    assert [world.state.book.get(each.did, 0) for each in (one, two)] == [0, 0]
    with pytest.raises(refusals.Conflict, match="nothing to contest"):
        honest.speak(VerdictContested, run="run", work=work, reason="and now pay me twice")
    honest.leases.clear()
    assert honest.ask() is not None


def test_a_contest_that_fails_is_final_and_one_that_comes_late_is_refused(world: World) -> None:
    learner = opened(world, max_groups_per_lease=1, groups_per_update=8)
    cheat, one, two = node(world, "cheat", Cheat), node(world, "one"), node(world, "two")
    work = sampled(world, cheat).work
    assert settled(world, work, one, two).outcome is Outcome.HARD
    cheat.speak(VerdictContested, run="run", work=work, reason="never")
    assert settled(world, work, learner).outcome is Outcome.HARD
    with pytest.raises(refusals.Conflict, match="its word is the last"):
        cheat.speak(VerdictContested, run="run", work=work, reason="never")
    assert world.state.nodes[cheat.did].standing.hard == 1
    other = node(world, "another cheat", Cheat)
    late = sampled(world, other).work
    assert settled(world, late, one, two).outcome is Outcome.HARD
    world.tick(TERMS.window_ms + 1)
    with pytest.raises(refusals.Conflict, match="could be contested until"):
        other.speak(VerdictContested, run="run", work=late, reason="late")


def test_training_waits_for_an_audit_only_while_nodes_have_other_work(world: World) -> None:
    learner = opened(world, max_staleness=1, max_groups_per_lease=4)
    cheat, honest = node(world, "cheat", Cheat), node(world, "honest")
    bad = [sampled(world, cheat) for _ in range(2)]
    while sum(len(each.spec.groups) for each in bad) < 4:  # type: ignore[union-attr]
        bad.append(sampled(world, cheat))
    learner.kinds = ("update",)
    assert rl.course(world.run()).owed == 0
    assert rl.has_to_sample(world.run())
    assert learner.ask() is None
    while rl.has_to_sample(world.run()):
        sampled(world, honest)
    granted = learner.ask()
    assert granted is not None
    learner.answer(granted)
    draw(world)
    for each in (honest, node(world, "other")):
        audited(world, each)
    draw(world)
    verdicts = [case.verdict for case in audits(world.run()).closed if case.verdict is not None]
    assert [each.touched for each in verdicts if each.outcome is Outcome.HARD] == [(1,)]


def test_at_no_staleness_nothing_ever_waits(world: World) -> None:
    learner = opened(world, max_staleness=0)
    honest = node(world, "honest")
    while rl.course(world.run()).owed:
        sampled(world, honest)
    learner.kinds = ("update",)
    assert learner.ask() is not None


@pytest.mark.parametrize("bystander", [False, True])
def test_what_is_drawn_follows_from_ledger_and_record_and_not_from_who_asks(
    bystander: bool,
) -> None:
    """A node that asks, or one more that is there, moves no draw: the same entries give the same cases."""
    world = World()
    opened(world, AuditTerms(floor_micro=400_000, pay_milli=0, deadline_ms=1000, window_ms=1000))
    honest = node(world, "honest")
    for _ in range(2):
        sampled(world, honest)
    world.tick(drawing.DRAW_EVERY_MS)
    before = world.state
    if bystander:
        node(world, "bystander").wait()
    world.tick(drawing.DRAW_EVERY_MS)
    known = audits(world.run())
    drawn = sorted(known.cases)
    (statement,) = [
        each for each in world.statements()[before.size :] if each.kind == "audits.drawn"
    ]
    again = drawing.drawn(before, statement.model_copy(update={"size": before.size}), world.now_ms)
    assert sorted(audits(again.runs["run"]).cases) == drawn
    world.check_replay()
    world.close()


def finished(world: World, learner: Learner, everybody: list[Provider]) -> None:
    for _ in range(600):
        if world.run().phase is Phase.COMPLETE and not world.state.live:
            return
        learner.work()
        for each in everybody:
            try:
                granted = each.ask()
            except refusals.NotAllowed:
                continue
            if granted is not None:
                world.tick(40)
                each.answer(granted)
        world.tick(drawing.DRAW_EVERY_MS)
        check_groups_audited(world)
    raise AssertionError("the run did not end")


@pytest.mark.parametrize(
    "staleness",
    [1, pytest.param(0, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)],
)
def test_a_run_with_cheats_and_false_auditors_ends_and_its_books_balance(
    world: World, staleness: int
) -> None:
    learner = opened(world, versions=4, max_staleness=staleness, trusted_deadline_ms=30_000)
    honest = [node(world, f"honest {n}") for n in range(3)]
    cheats = [node(world, "cheat", Cheat), node(world, "sly", Cheat, says="agree")]
    no = node(world, "no", says="differs")
    finished(world, learner, [*honest, *cheats, no])
    nodes = world.state.nodes
    assert all(nodes[each.did].standing.quarantine is not None for each in cheats)
    assert all(nodes[each.did].standing.quarantine is None for each in (*honest, no))
    assert all(nodes[each.did].standing.hard == 0 for each in honest)
    assert nodes[no.did].standing.refuted >= (staleness > 0)
    counts = dict(audits(world.run()).outcomes)
    assert counts["hard"] >= 1
    assert not audits(world.run()).cases
    story = RunStory("run")
    for each in world.statements():
        story.hear(each)
    again = bool(audits(world.run()).withdrawn)
    assert any("accepted twice" in fault for fault in story.faults()) == again
    story.withdrawn = withdrawals(world.state, world.run().name)
    assert list(story.faults()) == []


def test_a_draw_by_another_root_is_found_by_whoever_folds_the_ledger(world: World) -> None:
    opened(world)
    sampled(world, node(world, "honest"))
    root = world.lab.log.head.root
    forged = AuditsDrawn(
        lab=world.state.lab, author=world.state.lab, seq=world.state.sequences[world.state.lab] + 1,
        size=world.state.size, root="sha256:" + bytes([root[0] ^ 1, *root[1:]]).hex(),
    )  # fmt: skip
    world.await_(world.lab.say(forged))
    with pytest.raises(Contradiction, match="audits were drawn by"):
        replayed(world.state.lab, pages(world.lab.log))
    world.check_replay = lambda: None  # type: ignore[method-assign]  # this ledger holds a lie
