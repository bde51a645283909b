"""Audits where nodes have operators: nobody audits itself, and what one node is found wrong in counts for all."""

from collections.abc import Iterator

import pytest

from archipel.lab import drawing
from archipel.lab.audits import audits, closed_case
from archipel.lab.cases import Outcome
from archipel.lab.decide import quarantined_leases
from archipel.lab.providers import standing_of
from archipel.lab.refusals import NotAllowed
from archipel.lab.reputation import Standing, merged
from archipel.records.audits import AuditTerms, VerdictContested
from archipel.records.exact import CONTRACTS
from archipel.records.membership import KeyRevoked
from archipel.records.statements import LeaseGranted
from courtroom import audited
from keyring import delegation
from people import Cheat, Provider, identity
from world import World

EXACT = CONTRACTS["w7a8"]
ALWAYS = AuditTerms(floor_micro=1_000_000, pay_milli=500, deadline_ms=10_000, window_ms=600_000)
BOTH = ("audit", "rollout")
BOSS, OTHER = identity("boss"), identity("other boss")


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    made.open_run(exact=EXACT, audit=ALWAYS, max_groups_per_lease=2)
    yield made
    assert sum(made.state.book.values()) == 0
    made.check_replay()
    made.close()


def of(
    world: World, name: str, operator: object = BOSS, kind: type[Provider] = Provider
) -> Provider:
    found = kind(world, identity(name), 0, exact=(EXACT,), kinds=BOTH)
    found.join(delegation=delegation(operator, found.did))  # type: ignore[arg-type]  # an identity
    return found


def lone(world: World, name: str) -> Provider:
    found = Provider(world, identity(name), 0, exact=(EXACT,), kinds=BOTH)
    found.join()
    return found


def sampled(world: World, who: Provider) -> LeaseGranted:
    who.kinds = ("rollout",)
    granted = who.ask()
    who.kinds = BOTH
    assert granted is not None
    world.tick(5)
    who.answer(granted)
    world.tick(drawing.DRAW_EVERY_MS)
    world.tick(drawing.DRAW_EVERY_MS)
    return granted


def test_no_node_audits_an_answer_of_its_own_operator(world: World) -> None:
    learner = world.learner(kinds=("update", "evaluate", "audit"))
    learner.work()
    prover, sister, stranger = of(world, "one"), of(world, "two"), of(world, "three", OTHER)
    work = sampled(world, prover).work
    assert audits(world.run()).cases[work].verdict is None
    assert audited(world, sister) is None
    assert audited(world, stranger) is not None
    world.tick(drawing.DRAW_EVERY_MS)
    world.tick(drawing.DRAW_EVERY_MS)
    assert audited(world, sister) is None, "an audit of its operator's answer would be the next"
    audited(world, learner)
    case = closed_case(world.run(), work)
    assert case is not None
    assert case.verdict is not None
    assert case.verdict.outcome is Outcome.VERIFIED
    assert standing_of(world.state, sister.did).verified == 1
    assert world.state.nodes[prover.did].standing == Standing()


def test_two_auditors_of_one_operator_are_one_and_the_trusted_role_decides(world: World) -> None:
    learner = world.learner(kinds=("update", "evaluate", "audit"))
    learner.work()
    cheat = of(world, "cheat", BOSS, Cheat)
    one, two = of(world, "one", OTHER), of(world, "two", OTHER)
    work = sampled(world, cheat).work
    assert audited(world, one) is not None
    assert audited(world, two) is None, "its operator has looked already"
    assert audited(world, learner) is not None
    case = closed_case(world.run(), work)
    assert case is not None
    assert case.verdict is not None


def test_an_operator_that_is_alone_is_audited_by_the_trusted_role(world: World) -> None:
    learner = world.learner(kinds=("update", "evaluate", "audit"))
    learner.work()
    prover, sister = of(world, "one"), of(world, "two")
    sampled(world, prover)
    assert audited(world, sister) is None
    assert audited(world, learner) is not None


def test_a_hard_verdict_is_about_all_of_an_operators_nodes_and_its_new_keys(world: World) -> None:
    learner = world.learner(kinds=("update", "evaluate", "audit"))
    learner.work()
    cheat, sister = of(world, "cheat", BOSS, Cheat), of(world, "two")
    first, second = lone(world, "first"), lone(world, "second")
    honest = sampled(world, sister)
    paid = world.state.book[BOSS.did]
    sister.kinds = ("rollout",)
    held = sister.ask()
    assert held is not None
    work = sampled(world, cheat).work
    world.speak(BOSS, KeyRevoked, node=cheat.did, reason="it cheats")
    for _ in range(8):
        for each in (first, second):
            audited(world, each)
    case = closed_case(world.run(), work)
    assert case is not None
    assert case.verdict is not None
    assert case.verdict.outcome is Outcome.HARD
    assert world.state.book.get(BOSS.did, 0) < paid, "what was not learned from is not paid"
    assert honest.work in case.verdict.withdrawn
    assert {each.work for each in quarantined_leases(world.state)} <= {held.work}
    world.tick(5)
    assert held.work not in world.state.leases
    with pytest.raises(NotAllowed, match="quarantine"):
        sister.ask()
    with pytest.raises(NotAllowed, match="quarantine"):
        of(world, "a new key")
    with pytest.raises(Exception, match="not about"):
        world.speak(first.identity, VerdictContested, run="run", work=work, reason="mine")
    world.speak(BOSS, VerdictContested, run="run", work=work, reason="recomputed here, equal")


def test_what_two_are_known_for_adds_up_when_they_become_one() -> None:
    one = Standing(verified=3, exposed_micro=5, soft=1, hard=0, failures=1, confirmed=2, refuted=1)
    whole = merged(one, one)
    assert (whole.verified, whole.soft, whole.refuted, whole.exposed_micro) == (6, 2, 2, 10)
    assert merged(Standing(), one) == merged(one, Standing()) == one
