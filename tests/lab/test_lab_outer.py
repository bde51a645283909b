"""Pretraining in the lab: when a merge begins, what it takes in, who is paid, and what is refused."""

from typing import Any

import pytest

from archipel.lab import refusals
from archipel.lab.apply import Contradiction, apply
from archipel.lab.escrow import left_micro, rest_micro
from archipel.lab.garbage import needed
from archipel.lab.kinds import RULES_OF
from archipel.lab.programmes import pretrain
from archipel.lab.programmes.pretrain import Held
from archipel.lab.programmes.pretrain_rules import answered_by, withdrawn
from archipel.lab.programmes.pretrain_waiting import longest_us, median, waits_until_ms
from archipel.lab.state import Lease, Phase
from archipel.lab.views import run_view, waits
from archipel.records.changed import changed
from archipel.records.documents import inputs_digest
from archipel.records.kinds.inner_step import InnerStepSpec
from archipel.records.kinds.merge import MergeSpec
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.pretraining import MAX_AGE, MAX_LATE
from archipel.records.recipe_charter import CharterSection, charter_terms
from archipel.records.statements import LeaseGranted
from archipel.records.table import Table
from outer import (
    GATE,
    OUTER_PACE,
    PAYLOAD_BYTES,
    PRICE_MICRO,
    Member,
    Merger,
    member,
    merged_once,
    open_outer,
    outer_started,
)
from people import identity, ref
from world import World


def held(who: Member) -> LeaseGranted:
    granted = who.ask()
    assert granted is not None
    return granted


def answered(world: World, who: Member, ms: int = 400) -> str:
    """Ask, and answer so much later."""
    granted = held(who)
    world.tick(ms)
    who.answer(granted)
    return granted.work


def balance(world: World, who: Member) -> int:
    return int(world.state.book.get(who.did, 0))


def outer_step(world: World, merger: Merger, members: list[Member]) -> LeaseGranted | None:
    """Everybody answers, and it is merged."""
    for each in members:
        answered(world, each)
    return merger.work()


def two_of_three(world: World, **given: Any) -> tuple[Merger, list[Member], LeaseGranted]:
    """Two have answered, and the third has its lease."""
    merger = outer_started(world, **given)
    members = [member(world, name) for name in ("one", "two", "slow")]
    late = held(members[2])
    for each in members[:2]:
        answered(world, each)
    return merger, members, late


def test_the_middle_of_times_and_how_long_one_may_take_are_exact() -> None:
    assert [median(each) for each in ([3], [1, 2], [5, 1, 9], [1, 2, 4, 100])] == [3, 1, 5, 3]
    with pytest.raises(ValueError, match="median"):
        median([])
    assert longest_us([10, 10, 10], 3000) == 10
    assert longest_us([10, 12, 20], 3000) == 12 + 3 * 2
    assert longest_us([10, 12, 20], 500) == 12 + 1


def test_a_merge_begins_at_once_when_all_contributions_are_there(world: World) -> None:
    merger = outer_started(world)
    members = [member(world, name) for name in ("one", "two", "three")]
    for each in members:
        assert merger.ask() is None
        answered(world, each)
    granted = merger.work()
    assert granted is not None
    assert isinstance(granted.spec, MergeSpec)
    assert merger.merged == [(1, (0, 0)), (1, (0, 1)), (1, (0, 2))]
    assert [balance(world, each) for each in members] == [PRICE_MICRO] * 3
    world.check()


def test_below_the_quorum_no_time_is_long_enough(world: World) -> None:
    merger = outer_started(world)
    answered(world, member(world, "one"))
    world.tick(10_000_000)
    assert merger.ask() is None


def test_with_a_quorum_a_merge_begins_when_the_deadline_has_passed_and_not_a_moment_before(
    world: World,
) -> None:
    merger, members, late = two_of_three(world)
    # The median step took 40 ms, none deviates; ten of them are less than the shortest deadline, 1000 ms from the grant.
    world.now_ms = world.state.leases[late.work].granted_at_ms + 999
    assert merger.ask() is None
    world.tick(1)
    assert merger.work() is not None
    assert [index for _, (_, index) in merger.merged] == [1, 2]
    assert dict(world.state.nodes[members[2].did].ends)[late.work] == "missed"
    with pytest.raises(refusals.Late, match="merged without it, because it took longer"):
        members[2].answer(late)
    assert balance(world, members[2]) == 0
    world.check()
    world.check_replay()


def test_a_grant_of_a_merge_before_its_time_cannot_be_folded(world: World) -> None:
    _, _, late = two_of_three(world)
    at_ms = world.state.leases[late.work].granted_at_ms + 1000
    run = world.run("outer")
    forged = world.statement(
        identity("lab"),
        LeaseGranted,
        work=f"outer.{run.next_work}",
        node=identity("merger").did,
        request_seq=10**9,
        deadline_ms=at_ms + 10_000,
        price_micro=0,
        spec=MergeSpec(
            run="outer",
            version=1,
            parent=run.chain[-1].policy,
            inputs=world_inputs(world),
            memory=None,
        ),
    )
    with pytest.raises(Contradiction, match="before its contributions are there"):
        apply(world.state, forged, at_ms - 1)
    assert apply(world.state, forged, at_ms).size == world.state.size + 1
    other = forged.model_copy(
        update={"spec": forged.spec.model_copy(update={"inputs": ref(b"else").digest})}
    )
    with pytest.raises(Contradiction, match="expected 1 from"):
        apply(world.state, other, at_ms)


def world_inputs(world: World) -> str:
    return inputs_digest(pretrain.inputs(world.run("outer")))


def test_a_contribution_that_comes_late_is_in_the_next_version_where_late_ones_are_used(
    world: World,
) -> None:
    merger, members, late = two_of_three(world, late="use", slack_milli=40_000)
    world.tick(1000)
    merger.work()
    assert list(pretrain.course(world.run("outer")).behind) == [late.work]
    members[2].answer(late)
    assert pretrain.late(world.run("outer")) == [late.work]
    world.check()
    outer_step(world, merger, members)
    assert merger.merged[2:] == [(2, (0, 0)), (2, (1, 0)), (2, (1, 1)), (2, (1, 2))]
    assert pretrain.course(world.run("outer")).counts.late == 1
    assert balance(world, members[2]) == PRICE_MICRO + PRICE_MICRO // 5, (
        "slow, it was asked for fewer steps"
    )
    merged_once(merger)
    world.check()
    world.check_replay()


def test_nothing_waits_for_a_merge_that_never_comes(world: World) -> None:
    """Whoever is late for the last version has missed it, used or not."""
    merger, members, late = two_of_three(world, late="use", versions=1)
    world.tick(1000)
    merger.work()
    run = world.run("outer")
    assert (run.phase, late.work in world.state.leases) == (Phase.COMPLETE, False)
    with pytest.raises(refusals.Late):
        members[2].answer(late)
    world.check()


def test_late_ones_are_waited_for_as_far_as_their_age_and_a_record_allow(world: World) -> None:
    outer_started(world, late="use", versions=20)
    run = world.run("outer")

    def behind(version: int, number: int) -> Held:
        return Held(f"outer.{number}", "node", version, number, 10, granted_at_ms=number)

    def missed(held: list[Held], version: int) -> list[str]:
        spec = MergeSpec(run="outer", version=version, parent=None, inputs=None, memory=None)
        lease = Lease("outer.999", "merger", spec, 0, 0, 0, 0)
        known = pretrain.with_course(run, behind=Table({each.work: each for each in held}))
        return list(RULES_OF["merge"].missed(known, lease))

    ages = [behind(version, 100 + version) for version in range(10)]
    young = [f"outer.{100 + version}" for version in range(10 - MAX_AGE)]
    assert missed(ages, 10) == young, "whatever would be more than four versions old in the next"
    many = [behind(9, number) for number in range(100, 100 + MAX_LATE + 2)]
    assert missed(many, 10) == ["outer.164", "outer.165"], "the newest of too many"
    assert len(missed(many, 20)) == len(many), "nothing follows the last version"


def test_nobody_keeps_an_outer_step_waiting_by_coming_late(world: World) -> None:
    """One contribution takes a second; two seconds after the beginning nobody is waited for, whoever holds what."""
    _, _, late = two_of_three(world)
    run = world.run("outer")
    began_ms = pretrain.course(run).began_ms
    held = pretrain.course(run).held
    index, known = next(iter(held.items()))
    assert waits_until_ms(run) == world.state.leases[late.work].granted_at_ms + 1000
    just_now = held.put(index, changed(known, granted_at_ms=began_ms + 1900))
    assert waits_until_ms(pretrain.with_course(run, held=just_now)) == began_ms + 2000
    nobody = pretrain.with_course(run, held=Table())
    assert waits_until_ms(nobody) == began_ms + 1000


def test_who_let_a_lease_run_out_is_asked_for_half(world: World) -> None:
    outer_started(world, steps=8, min_steps=3)
    one = member(world, "one")
    assert held(one).spec.steps == 8  # type: ignore[union-attr]  # a contribution
    for steps in (4, 3):
        world.tick(100_000)
        one.leases.clear()
        assert held(one).spec.steps == steps  # type: ignore[union-attr]  # a contribution


def test_a_merge_that_is_given_back_loses_nothing_and_the_next_takes_in_what_came_meanwhile(
    world: World,
) -> None:
    merger, members, late = two_of_three(world, late="use", slack_milli=40_000)
    world.tick(1000)
    given = merger.ask()
    assert given is not None
    members[2].answer(late)
    merger.give_back(given.work)
    assert sorted(pretrain.course(world.run("outer")).answered) == [0, 1, 2]
    merger.work()
    assert [index for _, (_, index) in merger.merged] == [0, 1, 2]
    world.check()


def test_what_a_merge_refuses_is_not_paid_but_what_its_aggregate_left_out_is(world: World) -> None:
    merger = outer_started(world)
    members = [member(world, name) for name in ("one", "two", "three")]
    works = [answered(world, each) for each in members]
    run = world.run("outer")
    assert world.state.book[f"held:{run.name}"] == 3 * PRICE_MICRO
    assert [balance(world, each) for each in members] == [0, 0, 0]
    merger.refuses = {members[0].did: "loss", members[1].did: "outlier"}
    merger.work()
    assert [balance(world, each) for each in members] == [0, PRICE_MICRO, PRICE_MICRO]
    assert world.run("outer").paid_micro == 2 * PRICE_MICRO
    assert f"held:{run.name}" not in world.state.book
    view = run_view(world.state, world.run("outer"), world.now_ms)
    assert view.progress["contributions_refused"] == {"loss": 1, "outlier": 1}
    assert view.progress["refused_last"] == [
        f"{works[0]}, not in version 1: loss",
        f"{works[1]}, not in version 1: outlier",
    ]
    world.check()
    world.check_replay()


def test_a_void_merge_makes_no_version_and_its_contributions_are_made_again(world: World) -> None:
    merger = outer_started(world, gate=GATE)
    members = [member(world, name) for name in ("one", "two", "three")]
    merger.refuses = dict.fromkeys((each.did for each in members), "own_data")
    outer_step(world, merger, members)
    run = world.run("outer")
    assert (run.version, pretrain.free(run), run.paid_micro) == (0, [0, 1, 2], 0)
    assert pretrain.course(run).counts.void == 1
    merger.refuses = {}
    outer_step(world, merger, members)
    assert world.run("outer").version == 1
    world.check()
    world.check_replay()


def test_a_node_makes_one_contribution_of_a_version_and_more_only_where_nodes_are_few(
    world: World,
) -> None:
    outer_started(world, members=4, quorum=4)
    one, two = member(world, "one"), member(world, "two")
    first, second = held(one), held(two)
    one.answer(first)
    two.answer(second)
    answered(world, one)
    assert one.ask() is None, "four of two nodes are two each"
    three = member(world, "three")
    world.tick(2000)
    assert two.ask() is not None, "of three nodes they are at most two each"
    assert three.ask() is None, "there is none left"


def test_what_nobody_takes_in_time_is_anybody_s(world: World) -> None:
    outer_started(world)
    one, _, _ = (member(world, name) for name in ("one", "idle", "idle too"))
    answered(world, one)
    assert one.ask() is None
    world.tick(1000)
    assert one.ask() is not None


def test_a_slow_member_is_asked_for_fewer_steps_and_paid_for_these(world: World) -> None:
    merger = outer_started(world, slack_milli=40_000)
    members = [member(world, name) for name in ("one", "two", "slow")]
    for each, ms in zip(members, (400, 400, 1600), strict=True):
        answered(world, each, ms)
    merger.work()
    asked = {each.did: held(each) for each in members}
    steps = [asked[each.did].spec.steps for each in members]  # type: ignore[union-attr]  # contributions
    assert steps == [10, 10, 2]
    first = {grant.spec.first_step for grant in asked.values()}  # type: ignore[union-attr]  # contributions
    assert first == {10}
    slow = asked[members[2].did]
    assert slow.price_micro == PRICE_MICRO * 2 // 10
    for each in members:
        each.answer(asked[each.did])
    merger.work()
    assert balance(world, members[2]) == PRICE_MICRO + PRICE_MICRO // 5
    world.check()


def test_who_makes_fewer_steps_than_asked_is_paid_for_what_was_made(world: World) -> None:
    merger = outer_started(world, members=1, quorum=1)
    one = member(world, "one")
    tokens = pretrain.pace(world.run("outer")).tokens_per_step
    states = tuple(ref(bytes([n])).digest for n in range(2))
    one.answer(held(one), steps=7, num_tokens=7 * tokens, commitments=states)
    merger.work()
    assert balance(world, one) == PRICE_MICRO * 7 // 10
    world.check()


@pytest.mark.parametrize(
    ("lies", "refusal", "said"),
    [
        ({"policy": ref(b"other").digest}, refusals.WrongPolicy, "trained from"),
        ({"steps": 1}, refusals.WrongShape, "expected 2 to 10"),
        ({"steps": 11}, refusals.WrongShape, "expected 2 to 10"),
        ({"num_tokens": 159}, refusals.WrongShape, "learn from 160"),
        ({"commitments": (ref(b"x").digest,) * 2}, refusals.WrongShape, "have 3"),
        ({"payload": ref(b"y" * 63)}, refusals.WrongShape, "every one of this run has 64"),
        ({"payload": ref(b"y" * 65)}, refusals.WrongShape, "every one of this run has 64"),
        ({"payload": ref(b"z" * 64)}, refusals.MissingBlob, "not uploaded"),
    ],
)
def test_a_contribution_that_is_not_what_was_asked_is_refused_at_the_door(
    world: World, lies: dict[str, Any], refusal: type[Exception], said: str
) -> None:
    outer_started(world)
    one = member(world, "one")
    granted = held(one)
    with pytest.raises(refusal, match=said):
        one.answer(granted, **lies)
    one.answer(granted)
    assert len(pretrain.course(world.run("outer")).answered) == 1


@pytest.mark.parametrize(
    ("lies", "refusal", "said"),
    [
        ({"version": 1}, refusals.Conflict, "version 1 was not asked; 2 was"),
        (
            {"verdicts": ()},
            refusals.Conflict,
            "verdicts on 0 contributions; expected one on each of 3",
        ),
        ({"memory": None}, refusals.MissingBlob, "needs the outer optimiser's state"),
        ({"anchor": None}, refusals.MissingBlob, "an anchor, or a delta"),
        ({"gate": None}, refusals.Conflict, "held-out text None was revealed"),
        ({"gate": ref(b"better text")}, refusals.Conflict, "committed to was"),
        ({"next_gate": None}, refusals.Conflict, "is not committed to"),
        ({"void": True}, refusals.Conflict, "a merge is void if all"),
    ],
)
def test_a_merge_that_is_not_what_was_asked_is_refused(
    world: World, lies: dict[str, Any], refusal: type[Exception], said: str
) -> None:
    merger = outer_started(world, gate=GATE)
    members = [member(world, name) for name in ("one", "two", "three")]
    outer_step(world, merger, members)
    for each in members:
        answered(world, each)
    granted = merger.ask()
    assert granted is not None
    with pytest.raises(refusal, match=said):
        merger.answer(granted, **lies)
    merger.answer(granted)
    assert world.run("outer").version == 2


def test_verdicts_are_told_in_the_order_of_the_contributions(world: World) -> None:
    merger = outer_started(world)
    for name in ("one", "two", "three"):
        answered(world, member(world, name))
    granted = merger.ask()
    assert granted is not None
    honest = merger.version_fields(granted)["verdicts"]
    with pytest.raises(refusals.Conflict, match="in their order"):
        merger.answer(granted, verdicts=honest[::-1])


def test_a_run_that_is_stopped_pays_what_waited_for_its_merge(world: World) -> None:
    _, members, late = two_of_three(world)
    world.stop_run("outer")
    assert balance(world, members[0]) == 0, "a lease is still out"
    members[2].answer(late)
    assert [balance(world, each) for each in members] == [PRICE_MICRO] * 3
    world.check()
    world.check_replay()


def test_what_a_run_may_still_cost_is_every_contribution_that_nobody_makes_or_made(
    world: World,
) -> None:
    merger, _, _ = two_of_three(world, versions=3)
    assert rest_micro(world.state, world.run("outer")) == (9 - 3) * PRICE_MICRO
    world.tick(1000)
    merger.work()
    assert rest_micro(world.state, world.run("outer")) == (9 - 3) * PRICE_MICRO
    held(member(world, "four"))
    assert rest_micro(world.state, world.run("outer")) == (9 - 4) * PRICE_MICRO


def test_pay_that_is_withheld_is_not_promised_again_and_what_is_refused_goes_back_to_sponsors(
    world: World,
) -> None:
    sponsor = identity("sponsor")
    world.speak(
        world.operator, CreditsSettled, account=sponsor.did, direction="in", micro=3000,
        reference="invoice", usd_micro=1,
    )  # fmt: skip
    merger = outer_started(world, versions=1)
    world.speak(sponsor, RunFunded, run="outer", micro=3000)
    members = [member(world, name) for name in ("one", "two", "three")]
    for each in members[:2]:
        answered(world, each)
    assert left_micro(world.state, world.run("outer")) == 1000
    answered(world, members[2])
    assert left_micro(world.state, world.run("outer")) == 0
    merger.refuses = {members[0].did: "norm"}
    merger.work()
    assert world.run("outer").phase is Phase.COMPLETE
    assert [balance(world, each) for each in members] == [0, PRICE_MICRO, PRICE_MICRO]
    assert world.state.book[sponsor.did] == 1000
    world.check()
    world.check_replay()


def test_owners_have_earned_what_was_merged(world: World) -> None:
    section = CharterSection(providers=1.0, sponsors=0.0, treasury=0.0)
    merger = outer_started(world, charter=charter_terms(section))
    members = [member(world, name) for name in ("one", "two", "three")]
    merger.refuses = {members[0].did: "loss"}
    outer_step(world, merger, members)
    earned = dict(world.state.owned["outer"].earned)
    assert earned == {each.did: PRICE_MICRO for each in members[1:]}


def test_blobs_are_kept_until_nobody_has_to_replay_them(world: World) -> None:
    merger = outer_started(world, gate=GATE, versions=3, checkpoint_every=2)
    members = [member(world, name) for name in ("one", "two", "three")]
    text = {ref(data).digest for data in (b"manifest of text", b"shard 0", b"shard 1")}
    assert text <= needed(world.state)
    outer_step(world, merger, members)
    run = world.run("outer")
    _, works = pretrain.course(run).made[1].grant, pretrain.course(run).made[1].inputs
    payloads = {each.answer.payload.digest for each in works}  # type: ignore[attr-defined]  # contributions
    assert payloads | {ref(b"text 1").digest} <= needed(world.state)
    outer_step(world, merger, members)
    assert pretrain.course(world.run("outer")).memory is not None
    assert not payloads & needed(world.state)
    outer_step(world, merger, members)
    assert world.run("outer").phase is Phase.COMPLETE
    assert not text & needed(world.state)


def test_a_run_does_not_open_without_its_text(world: World) -> None:
    corpus = OUTER_PACE["corpus"].model_copy(update={"shards": (ref(b"elsewhere"),)})
    with pytest.raises(refusals.MissingBlob):
        open_outer(world, corpus=corpus)


def test_a_contribution_of_a_party_that_is_believed_no_more_is_made_again_and_goes_unpaid(
    world: World,
) -> None:
    _, members, _ = two_of_three(world)
    run = world.run("outer")
    (work,) = answered_by(run, members[0].did)
    found = withdrawn(run, work)
    assert found is not None
    after, micro = found
    assert micro == 0
    assert pretrain.free(after) == [1]
    (pay,) = pretrain.course(after).due
    assert (pay.node, pay.paid_micro, pay.back_micro) == (members[0].did, 0, PRICE_MICRO)
    assert withdrawn(after, work) is None


def test_what_an_outer_step_waits_for_is_said(world: World) -> None:
    merger, _, late = two_of_three(world)
    said = [wait.waiting_for for wait in waits(world.state, world.now_ms)]
    assert said == [
        "2 of 3 contributions to version 0 are there",
        f"contribution 0 to version 0 is being made ({late.work})",
    ]
    world.tick(1000)
    said = [wait.waiting_for for wait in waits(world.state, world.now_ms)]
    assert said == ["nobody has taken the merge to version 1"]
    granted = merger.ask()
    assert granted is not None
    said = [wait.waiting_for for wait in waits(world.state, world.now_ms)]
    assert said == [f"version 1 is being merged ({granted.work})"]
    merger.answer(granted)
    said = [wait.waiting_for for wait in waits(world.state, world.now_ms)]
    assert said == ["3 contributions to version 1 are with nobody"]


def test_a_lab_that_comes_back_goes_on_in_the_middle_of_an_outer_step(world: World) -> None:
    merger, members, late = two_of_three(world, late="use", slack_milli=40_000)
    world.tick(1000)
    granted = merger.ask()
    assert granted is not None
    before = world.state
    world.restart()
    assert world.state == before
    members[2].answer(late)
    merger.answer(granted)
    assert isinstance(late.spec, InnerStepSpec)
    assert pretrain.late(world.run("outer")) == [late.work]
    assert pretrain.pace(world.run("outer")).payload_bytes == PAYLOAD_BYTES
    world.check()
