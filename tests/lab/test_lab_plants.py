"""Auditors are audited: what planted answers show of who looks at them, in a whole lab in memory."""

from collections.abc import Iterator

import pytest

from archipel.lab import refusals
from archipel.lab.apply import Contradiction, apply
from archipel.lab.audits import audits
from archipel.lab.cases import Outcome, sentence
from archipel.lab.plants import MAX_PLANTS
from archipel.lab.reputation import MAX_REFUTED
from archipel.lab.stakes import staked_micro
from archipel.node.decoys import FORMS, Decoy, spoiled
from archipel.records.audits import AuditTerms
from archipel.records.payload import read_payload, write_payload
from archipel.records.plants import PlantsCommitted, PlantsRevealed, is_planted
from archipel.records.stakes import StakeGiven
from courtroom import audited, case_of, draw, node, opened, sampled, settled
from people import Learner, Provider, identity
from world import World

TERMS = AuditTerms(
    floor_micro=1_000_000, pay_milli=500, deadline_ms=10_000, window_ms=600_000, stake=3, part_milli=250
)  # fmt: skip
WRONG, RIGHT = 1000, 0
"""Of a decoy's answers, in thousandths."""


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.check_replay()
    assert sum(found.state.book.values()) == 0
    found.close()


class Planting(Provider):
    """A decoy: its answers are honest but for what its secret says."""

    decoy: Decoy

    def put(self, data: bytes):
        work = next(reversed(self.answering))
        if is_planted(self.decoy.secret, work, self.decoy.share_milli):
            payload = read_payload(data, FORMS[0])
            data = write_payload(spoiled(payload, self.decoy.secret, work))
        return super().put(data)

    def words(self, grant):
        self.answering = [grant.work]
        return super().words(grant)

    def reveal(self, **lies) -> None:
        said = {"run": "run", "secret": self.decoy.secret, "share_milli": self.decoy.share_milli}
        self.speak(PlantsRevealed, **(said | lies))


def court(world: World) -> Learner:
    return opened(world, TERMS, max_groups_per_lease=1, groups_per_update=8)


def decoy(world: World, learner: Learner, share_milli: int, name: str = "decoy") -> Planting:
    found = node(world, name, Planting)
    assert isinstance(found, Planting)
    found.decoy = Decoy("run", identity(name).did[-32:].encode().hex(), share_milli)
    learner.speak(PlantsCommitted, run="run", digest=found.decoy.commitment(found.did))
    return found


def looked_at(world: World, who: Planting, *auditors: Provider) -> str:
    """One answer of the decoy, audited by these in this order as far as they are asked."""
    work = sampled(world, who).work
    for each in auditors:
        draw(world)
        assert audited(world, each) is not None
    draw(world)
    return work


def refuted(world: World, who: Provider) -> int:
    return world.state.nodes[who.did].standing.refuted


def test_who_says_yes_and_who_copies_it_are_unpaid_for_it_and_watched(world: World) -> None:
    learner = court(world)
    planting = decoy(world, learner, WRONG)
    yes, copier = node(world, "yes", says="agree"), node(world, "copier", says="agree")
    for number in range(1, MAX_REFUTED + 1):
        work = looked_at(world, planting, yes, copier)
        assert case_of(world, work).verdict.outcome is Outcome.VERIFIED, "each confirms the other"
        planting.reveal()
        assert [refuted(world, each) for each in (yes, copier)] == [1, 1]
        for each in (yes, copier):
            assert world.state.book.get(each.did, 0) == staked_micro(world.state, each.did) == 0
            assert world.state.nodes[each.did].standing.confirmed == 0
        planting = decoy(world, learner, WRONG, f"decoy {number}")


def test_who_says_yes_where_another_stranger_sees_it_loses_a_part_of_its_stake_and_audits_no_more(
    world: World,
) -> None:
    learner = court(world)
    yes, honest = node(world, "yes", says="agree"), node(world, "honest")
    for number in range(1, MAX_REFUTED + 1):
        planting = decoy(world, learner, WRONG, f"decoy {number}")
        looked_at(world, planting, yes, honest)
        world.speak(world.operator, StakeGiven, node=yes.did, micro=1000)
        planting.reveal()
        assert refuted(world, yes) == number
    assert staked_micro(world.state, yes.did) == 0
    sampled(world, planting)
    draw(world)
    assert audited(world, yes) is None


@pytest.mark.parametrize("share", [WRONG, RIGHT])
def test_a_decoy_that_lies_about_itself_costs_honest_auditors_neither_stake_nor_audits(
    world: World, share: int
) -> None:
    """Whoever commits to a share and gives other answers has every honest audit called false: by one party alone."""
    learner = court(world)
    honest = node(world, "honest")
    world.speak(world.operator, StakeGiven, node=honest.did, micro=5000)
    for number in range(MAX_REFUTED + 2):
        lying = decoy(world, learner, 1000 - share, f"decoy {number}")
        committed = lying.decoy
        lying.decoy = Decoy("run", committed.secret, share)  # by which it answers
        sampled(world, lying)
        draw(world)
        assert audited(world, honest) is not None
        lying.decoy = committed
        lying.reveal()
        assert refuted(world, honest) == 1
        assert staked_micro(world.state, honest.did) == 5000


def test_who_says_no_to_everything_is_found_by_honest_work_of_a_decoy(world: World) -> None:
    learner = court(world)
    planting = decoy(world, learner, RIGHT)
    no = node(world, "no", says="differs")
    copier = node(world, "copier", says="differs")
    work = looked_at(world, planting, no)
    assert audited(world, copier) is not None
    planting.reveal()
    assert [refuted(world, each) for each in (no, copier)] == [1, 1]
    assert world.state.book.get(no.did, 0) == staked_micro(world.state, no.did) == 0
    assert case_of(world, work).planted == "agree"


@pytest.mark.parametrize("share", [WRONG, RIGHT])
def test_an_honest_auditor_is_paid_and_believed_whatever_was_planted(
    world: World, share: int
) -> None:
    learner = court(world)
    planting = decoy(world, learner, share)
    honest, other = node(world, "honest"), node(world, "other")
    work = looked_at(world, planting, honest)
    before = world.state.nodes[honest.did].standing.confirmed
    planting.reveal()
    standing = world.state.nodes[honest.did].standing
    assert (standing.refuted, standing.confirmed) == (0, before + 1)
    assert staked_micro(world.state, honest.did) == 500
    settled(world, work, other, learner)
    assert refuted(world, honest) == refuted(world, other) == 0


def test_planted_work_looks_like_any_other_until_it_is_revealed(world: World) -> None:
    """An auditor's lease on it has nothing that a lease on another answer has not."""
    learner = court(world)
    planting, plain = decoy(world, learner, WRONG), node(world, "plain")
    auditor = node(world, "auditor")
    specs = []
    for who in (planting, plain):
        sampled(world, who)
        draw(world)
        granted = audited(world, auditor)
        assert granted is not None
        specs.append(granted.spec.model_dump())
    assert specs[0].keys() == specs[1].keys()
    same = ("kind", "run", "version", "policy", "blobs")
    assert [specs[0][key] for key in same] == [specs[1][key] for key in same]


def test_a_reveal_saves_no_cheat_and_undoes_no_verdict(world: World) -> None:
    learner = court(world)
    planting = decoy(world, learner, WRONG)
    one, two = node(world, "one"), node(world, "two")
    work = looked_at(world, planting, one, two)
    assert case_of(world, work).verdict.outcome is Outcome.HARD
    planting.reveal()
    assert world.state.nodes[planting.did].standing.quarantine is not None
    case = case_of(world, work)
    assert case.verdict.outcome is Outcome.HARD
    assert "planted: whoever looked should have said differs" in sentence(case)
    assert [refuted(world, each) for each in (one, two)] == [0, 0]


def test_an_auditor_whom_the_trusted_role_refuted_is_not_struck_again_by_a_reveal(
    world: World,
) -> None:
    learner = court(world)
    planting = decoy(world, learner, WRONG)
    yes, other = node(world, "yes", says="agree"), node(world, "other")
    work = looked_at(world, planting, yes, other)
    assert settled(world, work, learner).outcome is Outcome.HARD
    assert refuted(world, yes) == 1
    planting.reveal()
    assert refuted(world, yes) == 1


def test_what_was_said_before_the_commitment_is_not_judged_by_it(world: World) -> None:
    learner = court(world)
    planting = node(world, "decoy", Planting)
    planting.decoy = Decoy("run", "00" * 32, WRONG)
    yes = node(world, "yes", says="agree")
    work = looked_at(world, planting, yes)
    learner.speak(PlantsCommitted, run="run", digest=planting.decoy.commitment(planting.did))
    planting.reveal()
    assert refuted(world, yes) == 0
    assert case_of(world, work).planted == ""


def test_a_reveal_has_to_be_what_was_committed_to_by_the_decoy_itself_and_once(
    world: World,
) -> None:
    learner = court(world)
    planting = decoy(world, learner, WRONG)
    stranger = node(world, "stranger", Planting)
    stranger.decoy = planting.decoy
    for who, lies in (
        (stranger, {}),
        (planting, {"share_milli": 999}),
        (planting, {"secret": "11" * 32}),
    ):
        with pytest.raises(refusals.Conflict, match="no commitment in this run"):
            who.reveal(**lies)
    planting.reveal()
    with pytest.raises(refusals.Conflict, match="revealed once"):
        planting.reveal()


def test_only_whom_the_run_trusts_commits_and_not_without_bound(world: World) -> None:
    learner = court(world)
    digest = "sha256:" + "00" * 32
    with pytest.raises(refusals.NotAllowed, match="neither an operator of this lab nor trusted"):
        node(world, "stranger").speak(PlantsCommitted, run="run", digest=digest)
    with pytest.raises(refusals.Unknown, match="no run other"):
        learner.speak(PlantsCommitted, run="other", digest=digest)
    for number in range(MAX_PLANTS):
        learner.speak(PlantsCommitted, run="run", digest=f"sha256:{number:064x}")
    with pytest.raises(refusals.CommittedBefore, match="committed to before"):
        learner.speak(PlantsCommitted, run="run", digest=digest)
    with pytest.raises(refusals.Conflict, match="64 decoys") as told:
        world.speak(world.operator, PlantsCommitted, run="run", digest="sha256:" + "f" * 64)
    assert told.value.problem == "conflict", "nobody takes it for committed"


def test_nothing_is_planted_where_nobody_audits(world: World) -> None:
    world.started()
    with pytest.raises(refusals.Conflict, match="is not audited"):
        world.speak(world.operator, PlantsCommitted, run="run", digest="sha256:" + "f" * 64)


@pytest.mark.parametrize("kind", ["committed", "revealed"])
def test_a_ledger_with_plants_against_the_rules_does_not_fold(world: World, kind: str) -> None:
    court(world)
    stranger = node(world, "stranger")
    said = {
        "committed": (PlantsCommitted, {"digest": "sha256:" + "0" * 64}),
        "revealed": (PlantsRevealed, {"secret": "00" * 32, "share_milli": 1}),
    }
    form, fields = said[kind]
    statement = world.statement(stranger.identity, form, run="run", **fields)
    with pytest.raises(Contradiction, match=f"plants.{kind} cannot follow"):
        apply(world.state, statement, world.now_ms)  # type: ignore[arg-type]  # it is recorded


def test_a_case_that_is_open_is_shown_once(world: World) -> None:
    """A second decoy of the same key does not judge the same opinion again."""
    learner = court(world)
    planting = decoy(world, learner, WRONG)
    second = Decoy("run", "22" * 32, WRONG)
    learner.speak(PlantsCommitted, run="run", digest=second.commitment(planting.did))
    yes = node(world, "yes", says="agree")
    work = looked_at(world, planting, yes)
    assert work in audits(world.run()).cases
    planting.reveal()
    planting.decoy = second
    planting.reveal()
    assert refuted(world, yes) == 1
    other = node(world, "other")
    assert settled(world, work, other, learner).outcome is Outcome.HARD
    assert refuted(world, yes) == 1, "nor does the verdict that comes after"
