"""Audits of contributions to pretraining, in the lab: who looks, what a verdict takes back, and what it leaves alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from archipel.lab import refusals
from archipel.lab.audits import audits, closed_case
from archipel.lab.cases import Outcome, Verdict
from archipel.lab.escrow import rest_micro
from archipel.lab.garbage import needed
from archipel.lab.programmes import pretrain
from archipel.lab.stakes import staked_micro
from archipel.lab.state import Phase
from archipel.market.journal import TREASURY
from archipel.records.audits import AuditTerms, VerdictContested
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.audit import AuditAnswer, AuditSpec, Difference
from archipel.records.measures import MOST, Measured
from archipel.records.plants import PlantsCommitted
from archipel.records.statements import LeaseGranted
from archipel.records.words import WorkAnswer
from courtroom import audited, draw
from outer import OUTER_PACE, PRICE_MICRO, Member, Merger, check_outer, open_outer, outer_pace
from people import Provider, identity, ref
from world import World

NAME = "outer"
MACHINE = "processor with AVX2, torch 9, threads: 1"
TERMS = AuditTerms(
    floor_micro=1_000_000, pay_milli=500, deadline_ms=10_000, window_ms=600_000, stake=20
)
FAR = 10_000_000
BOTH = ("audit", "inner_step")
FRESH = OUTER_PACE["inner"].model_copy(update={"state": "fresh"})


def right(work: AcceptedWork) -> bool:
    """A member that lies commits to something else than the digest of its index."""
    spec, answer = work.spec, work.answer
    return bool(answer.commitments[0] == ref(f"{spec.policy}/{spec.index}".encode()).digest)  # type: ignore[attr-defined]  # contributions


class Looks(Provider):
    """Makes contributions again."""

    apart: int | None = None
    """Of another class of machine: the distance that it measures."""

    def _difference(self, spec: AuditSpec, done: AcceptedWork) -> Difference | None:
        if right(done):
            return None
        what = "state" if self.apart is None else "distance"
        return Difference(
            group=done.spec.index, rollout=done.spec.version, position=4, what=what,  # type: ignore[arg-type, attr-defined]  # contributions
            recorded="a" * 64, recomputed="b" * 64,
        )  # fmt: skip

    def _measured(self, run: str, says: str) -> dict[str, Any]:
        if self.apart is None:
            return {}
        return {"measured": Measured(drawn=0, figures={"distance": self.apart})}


@dataclass
class Trainer(Looks, Member):
    """A member that audits, too."""

    kinds: tuple[str, ...] = BOTH
    lies: bool = False
    steps: int = 0

    def answer_kind(self, grant: LeaseGranted) -> type[WorkAnswer]:
        return AuditAnswer if isinstance(grant.spec, AuditSpec) else super().answer_kind(grant)

    def words(self, grant: LeaseGranted) -> dict[str, Any]:
        spec = grant.spec
        if isinstance(spec, AuditSpec):
            return self.audited(spec)
        said, first = super().words(grant), f"{spec.policy}/{spec.index}".encode()  # type: ignore[attr-defined]  # contributions
        steps = self.steps or said["steps"]
        pace = pretrain.pace(self.world.run(spec.run))
        states = (ref(b"lie" if self.lies else first).digest, *said["commitments"][1:])
        return said | {
            "commitments": states[: pace.commitments_of(steps)],
            "machine": MACHINE,
            "steps": steps,
            "num_tokens": steps * pace.tokens_per_step,
        }


class Judge(Looks, Merger):
    """The trusted role."""


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.check_replay()
    check_money(found)
    found.close()


def check_money(world: World) -> None:
    """What is paid is owned, what is held is promised or waits for its merge, and nothing is from nowhere."""
    state = world.state
    check_outer(state, world.run(NAME))
    assert sum(state.book.values()) == 0
    paid = sum(run.paid_micro for run in state.runs.values())
    owned = sum(state.book.get(did, 0) + staked_micro(state, did) for did in state.nodes)
    assert paid == owned + state.book.get(TREASURY, 0)
    assert state.book.get(world.operator.did, 0) == -paid - state.book.get(f"held:{NAME}", 0)
    assert all(micro >= 0 for each, micro in state.book.items() if each.startswith("stake:"))


def opened(world: World, terms: AuditTerms = TERMS, **given: Any) -> Judge:
    """Two members an outer step, none of whom has to be waited for."""
    open_outer(world, NAME, audit=terms, inner=FRESH, **{"members": 2, "quorum": 1, **given})
    judge = Judge(world, identity("merger"), kinds=("merge", "evaluate", "audit"))
    judge.join()
    while judge.work() is not None:
        pass
    return judge


def trainer(world: World, name: str, **stated: Any) -> Trainer:
    found = Trainer(world, identity(name), **stated)
    found.join()
    return found


def trained(world: World, who: Trainer) -> LeaseGranted:
    who.kinds = ("inner_step",)
    granted = who.ask()
    who.kinds = BOTH
    assert granted is not None
    world.tick(400)
    who.answer(granted)
    return granted


def merged(world: World, judge: Judge) -> None:
    judge.kinds = ("merge",)
    world.tick(60_000)
    assert judge.work() is not None
    judge.kinds = ("merge", "evaluate", "audit")


def judged(world: World, work: str, *auditors: Any) -> Verdict:
    """What these come to, who look in this order, with time for draws between."""
    draw(world)
    for each in auditors:
        assert audited(world, each) is not None, each.did
        draw(world)
    case = closed_case(world.run(NAME), work)
    assert case is not None
    assert case.verdict is not None, case
    return case.verdict


def owned(world: World, who: Provider) -> int:
    return int(world.state.book.get(who.did, 0)) + staked_micro(world.state, who.did)


def test_a_contribution_found_wrong_before_its_merge_is_made_again_and_nothing_else_goes_back(
    world: World,
) -> None:
    opened(world)
    liar, one, two = trainer(world, "liar", lies=True), trainer(world, "one"), trainer(world, "two")
    granted = trained(world, liar)
    verdict = judged(world, granted.work, one, two)
    assert verdict.outcome is Outcome.HARD
    assert "contribution 0 to version 0, after 4 inner steps: state" in verdict.reason
    assert (verdict.withdrawn, verdict.touched) == ((granted.work,), ())
    assert verdict.taken == ((NAME, PRICE_MICRO),), "should it be overturned, that is given"
    assert owned(world, liar) == 0
    assert pretrain.free(world.run(NAME)) == [0, 1]
    with pytest.raises(refusals.NotAllowed, match="quarantine"):
        liar.ask()


@pytest.mark.parametrize("when", ["in the merge", "merged", "refused", "fewer steps"])
def test_a_contribution_that_a_merge_took_costs_what_was_paid_for_it_and_no_more(
    world: World, when: str
) -> None:
    judge = opened(world)
    liar, one, two = trainer(world, "liar", lies=True), trainer(world, "one"), trainer(world, "two")
    liar.steps = 5 if when == "fewer steps" else 0
    work = trained(world, liar).work
    trained(world, one)
    if when == "in the merge":
        judge.kinds = ("merge",)
        merge = judge.ask()
        assert merge is not None
        verdict = judged(world, work, two, one)
        judge.answer(merge)
    else:
        judge.refuses = {liar.did: "loss"} if when == "refused" else {}
        merged(world, judge)
        paid = {"merged": PRICE_MICRO, "refused": 0, "fewer steps": PRICE_MICRO // 2}[when]
        assert owned(world, liar) == staked_micro(world.state, liar.did) == paid
        verdict = judged(world, work, two, one)
    assert verdict.outcome is Outcome.HARD
    assert (verdict.withdrawn, verdict.touched) == ((), (1,))
    assert verdict.slashed_micro == 0 or when in ("merged", "fewer steps")
    # What it was paid went back once: out of its stake, of which the verdict had taken as much, so the rest is owed.
    assert owned(world, liar) == -verdict.slashed_micro


def test_a_verdict_that_is_overturned_gives_what_was_withheld(world: World) -> None:
    judge = opened(world)
    honest, one, two = (trainer(world, name) for name in ("honest", "one", "two"))
    one.says = two.says = "differs"
    work = trained(world, honest).work
    assert judged(world, work, one, two).outcome is Outcome.HARD
    assert owned(world, honest) == 0
    honest.speak(VerdictContested, run=NAME, work=work, reason="I made it twice")
    assert judged(world, work, judge).outcome is Outcome.VERIFIED
    assert owned(world, honest) == PRICE_MICRO
    assert [world.state.nodes[each.did].standing.refuted for each in (one, two)] == [1, 1]
    honest.leases.clear()
    assert honest.ask() is not None


def test_a_right_contribution_is_verified_and_its_pay_vouches_for_the_next(world: World) -> None:
    judge = opened(world)
    honest, one, two = (trainer(world, name) for name in ("honest", "one", "two"))
    work = trained(world, honest).work
    trained(world, one)
    merged(world, judge)
    assert judged(world, work, two, one).outcome is Outcome.VERIFIED
    assert world.state.nodes[honest.did].standing.verified == 1
    assert staked_micro(world.state, honest.did) == PRICE_MICRO
    assert owned(world, two) == PRICE_MICRO // 2, "an audit is paid"


def test_text_and_payload_stay_while_somebody_may_have_to_make_it_again(world: World) -> None:
    judge = opened(world, versions=1)
    honest, one = trainer(world, "honest"), trainer(world, "one")
    trained(world, honest)
    trained(world, one)
    merged(world, judge)
    while judge.work() is not None:
        pass
    run = world.run(NAME)
    assert run.phase is Phase.COMPLETE
    draw(world)
    assert audits(world.run(NAME)).cases
    kept = needed(world.state)
    payloads = {
        case.answer.done.answer.payload.digest for case in audits(world.run(NAME)).cases.values()
    }  # type: ignore[attr-defined]  # contributions
    shards = {each.digest for each in pretrain.pace(run).corpus.shards}
    assert payloads | shards | {pretrain.pace(run).corpus.manifest.digest} <= set(kept)


def test_what_another_class_of_machine_measures_is_soft_and_what_it_says_has_to_fit(
    world: World,
) -> None:
    opened(world, TERMS.model_copy(update={"distance_nano": FAR}))
    liar, one, two = trainer(world, "liar", lies=True), trainer(world, "one"), trainer(world, "two")
    work = trained(world, liar).work
    draw(world)
    one.kinds, one.apart = ("audit",), FAR
    granted = one.ask()
    assert granted is not None
    with pytest.raises(
        refusals.WrongShape, match="says differs, and measured beyond its limits: n"
    ):
        one.answer(granted)
    one.apart = two.apart = MOST
    one.answer(granted)
    draw(world)
    assert judged(world, work, two).outcome is Outcome.SOFT
    liar.leases.clear()
    assert trained(world, liar), "it is believed less, and may go on"


def test_who_measures_far_from_what_is_right_is_refuted_and_who_is_near_the_limit_is_not(
    world: World,
) -> None:
    judge = opened(world, TERMS.model_copy(update={"distance_nano": FAR}))
    honest, near, far = (trainer(world, name) for name in ("honest", "near", "far"))
    near.says = far.says = "differs"
    near.apart, far.apart = FAR + 1, 3 * FAR
    work = trained(world, honest).work
    assert judged(world, work, near, far).outcome is Outcome.SOFT
    honest.speak(VerdictContested, run=NAME, work=work, reason="I made it twice")
    assert judged(world, work, judge).outcome is Outcome.VERIFIED
    assert [world.state.nodes[each.did].standing.refuted for each in (near, far)] == [0, 1]
    assert (owned(world, near), owned(world, far)) == (PRICE_MICRO // 2, 0)


def test_what_a_run_may_cost_has_its_audits_in_it_and_nothing_can_be_planted(world: World) -> None:
    opened(world, versions=3)
    contributions = 3 * 2 * PRICE_MICRO
    assert rest_micro(world.state, world.run(NAME)) == contributions + contributions // 2
    with pytest.raises(refusals.Conflict, match="no log-probability"):
        world.speak(world.operator, PlantsCommitted, run=NAME, digest=ref(b"plant").digest)


def test_without_a_distance_nothing_is_measured(world: World) -> None:
    opened(world)
    liar, one = trainer(world, "liar", lies=True), trainer(world, "one")
    trained(world, liar)
    draw(world)
    one.kinds, one.apart = ("audit",), MOST
    granted = one.ask()
    assert granted is not None
    with pytest.raises(refusals.WrongShape, match="has nothing to measure here"):
        one.answer(granted)


def test_a_contribution_has_to_say_where_it_was_made_and_runs_that_nobody_can_repeat_have_no_audits(
    world: World,
) -> None:
    opened(world)
    plain = Member(world, identity("plain"))
    plain.join()
    granted = plain.ask()
    assert granted is not None
    with pytest.raises(refusals.WrongShape, match="on which class of machine"):
        plain.answer(granted)
    with pytest.raises(ValueError, match="nobody could make them again"):
        outer_pace(audit=TERMS)
    payload = OUTER_PACE["payload"].model_copy(update={"feedback_micro": 1})
    with pytest.raises(ValueError, match="nobody could make them again"):
        outer_pace(audit=TERMS, inner=FRESH, payload=payload)
    with pytest.raises(ValueError, match="made again whole"):
        outer_pace(audit=TERMS.model_copy(update={"part_milli": 500}), inner=FRESH)
