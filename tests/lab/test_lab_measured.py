"""Audits by measure over a whole lab in memory: one answer condemns nobody, a sum over many does, and replays agree."""

import random
from collections.abc import Iterator

import pytest

from archipel.lab import drawing, refusals, sums
from archipel.lab.audits import audits, closed_case
from archipel.lab.cases import Case, Committed, Opinion, Outcome, Verdict
from archipel.lab.run_story import RunStory
from archipel.records.audits import AuditTerms, VerdictContested
from archipel.records.changed import changed
from archipel.records.kinds.audit import AuditAnswer
from archipel.records.measures import Measured, Measures, SumTest
from archipel.records.statements import LeaseGranted
from keyring import delegation
from people import Cheat, Learner, Provider, identity
from world import World

CLASS = "archipel-fp32-cpu"
LIMITS = {"excess_mean": 1000, "logprob_mean": 2000}
BEYOND = SumTest(odd_micro=4_000_000, even_micro=-700_000, accuses_micro=14_000_000)
HIGH = SumTest(
    figure="logprob_mean", border_nano=1500, odd_micro=4_000_000, even_micro=-700_000, accuses_micro=14_000_000
)  # fmt: skip
MEASURES = Measures(
    calibration="sha256:" + "0" * 64, limits=LIMITS, least_drawn=32, tests=(BEYOND, HIGH)
)
TERMS = AuditTerms(
    floor_micro=1_000_000, pay_milli=500, deadline_ms=10_000, window_ms=600_000, measures=MEASURES
)
BOTH = ("audit", "rollout")
BOSS = identity("boss")
NEAR = Measured(drawn=40, figures={"excess_mean": 0, "logprob_mean": 1900})
NEEDED = 4
"""Audits of 4 nats each that make 14."""


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.check_replay()
    assert sum(found.state.book.values()) == 0
    found.close()


def opened(world: World, **changes: bool) -> Learner:
    terms = TERMS.model_copy(update={"measures": MEASURES.model_copy(update=changes)})
    world.open_run(
        engine=CLASS, audit=terms, max_groups_per_lease=1, groups_per_update=8, max_staleness=8, versions=50
    )  # fmt: skip
    learner = world.learner(kinds=("update", "evaluate", "audit"))
    learner.work()
    return learner


def node(world: World, name: str, kind: type[Provider] = Provider, **stated: object) -> Provider:
    given = {"classes": (CLASS,), "kinds": BOTH} | stated
    found = kind(world, identity(name), 0, **given)  # type: ignore[arg-type]
    found.join()
    return found


def of_boss(world: World, *names: str, kind: type[Provider] = Provider) -> list[Provider]:
    """Nodes of one operator."""
    found = [node(world, name, kind) for name in names]
    for each in found:
        each.join(delegation=delegation(BOSS, each.did))
    return found


def one(world: World, who: Provider, kind: str) -> LeaseGranted | None:
    """One lease of this kind, done, if there is any."""
    kinds, who.kinds = who.kinds, (kind,)
    granted = who.ask()
    who.kinds = kinds
    if granted is not None:
        world.tick(5)
        who.answer(granted)
    return granted


def judged(world: World, who: Provider, *auditors: Provider) -> Verdict:
    """One answer, and what it comes to."""
    granted = one(world, who, "rollout")
    assert granted is not None
    for _ in range(8):
        world.tick(drawing.DRAW_EVERY_MS)
        world.tick(drawing.DRAW_EVERY_MS)
        case = closed_case(world.run(), granted.work)
        if case is not None and case.verdict is not None:
            return case.verdict
        for each in auditors:
            one(world, each, "audit")
    raise AssertionError("the case did not end")


def test_answers_beyond_a_limit_are_unpaid_one_by_one_and_accuse_together(world: World) -> None:
    opened(world)
    cheat, first, second = node(world, "cheat", Cheat), node(world, "first"), node(world, "second")
    for number in range(1, NEEDED):
        verdict = judged(world, cheat, first, second)
        assert verdict.outcome is Outcome.SOFT
        assert audits(world.run()).sums[cheat.did][0].micro == number * BEYOND.odd_micro
    assert world.state.nodes[cheat.did].standing.failures == 0
    last = judged(world, cheat, first, second)
    assert last.outcome is Outcome.HARD
    assert "beyond a limit too often in 4 audits: 16.0 nats where 14.0 accuse" in last.reason
    assert cheat.did not in audits(world.run()).sums
    assert world.state.book.get(cheat.did, 0) == 0
    with pytest.raises(refusals.NotAllowed, match="quarantine"):
        cheat.ask()
    assert all(world.state.nodes[each.did].standing.hard == 0 for each in (first, second))


def test_an_honest_node_is_verified_and_its_sums_stay_nothing(world: World) -> None:
    opened(world)
    honest, first, second = node(world, "honest"), node(world, "first"), node(world, "second")
    for _ in range(6):
        verdict = judged(world, honest, first, second)
        assert (verdict.outcome, verdict.reason) == (
            Outcome.VERIFIED,
            "measured, and within what honest answers reach",
        )
    assert world.state.nodes[honest.did].standing.verified == 6
    assert not audits(world.run()).sums


def test_a_figure_within_limits_accuses_too_if_it_is_high_again_and_again(world: World) -> None:
    opened(world)
    prover = node(world, "prover")
    first, second = (node(world, name, odd="logprob_mean") for name in ("first", "second"))
    outcomes = [judged(world, prover, first, second).outcome for _ in range(NEEDED)]
    assert outcomes == [Outcome.VERIFIED] * (NEEDED - 1) + [Outcome.HARD]


def test_an_auditor_that_nobody_confirms_brings_no_more_than_half_of_what_accuses() -> None:
    before: sums.Sums = ()
    for _ in range(50):
        before = (
            sums._after(BEYOND, sums.NOTHING, "liar", is_odd=False),
            sums._after(HIGH, before[1] if before else sums.NOTHING, "liar", is_odd=True),
        )
    assert HIGH.is_odd(NEAR, LIMITS)
    assert before[1].micro == HIGH.accuses_micro // 2
    other = before[1]
    for _ in range(2):
        other = sums._after(HIGH, other, "another", is_odd=True)
    assert other.micro >= HIGH.accuses_micro


def lone(found: sums.Sums, who: str, is_odd: bool) -> sums.Sums:
    """The sums of the second test after one stranger alone has looked; the first has nothing."""
    return (sums.NOTHING, sums._after(HIGH, found[1], who, is_odd, share=1))


APART = MEASURES.model_copy(update={"apart": True})


def test_without_what_any_one_auditor_told_a_sum_is_never_more_than_the_others_alone_tell() -> None:
    """Whatever a liar says and whenever: so an honest node is accused as seldom as if it were not there."""
    chance = random.Random(5)
    for _ in range(200):
        held: sums.Sums = (sums.NOTHING, sums.NOTHING)
        others: sums.Sums = held
        for _ in range(60):
            if chance.random() < 0.5:
                held = lone(held, "liar", chance.random() < 0.7)
                continue
            honest = f"honest {chance.randrange(3)}", chance.random() < 0.3
            held, others = lone(held, *honest), lone(others, *honest)
            parts = dict(held[1].by_auditor)
            assert held[1].micro - parts.get("liar", 0) <= others[1].micro
        assert sums._told_by_others(held[1], APART) <= held[1].micro - dict(held[1].by_auditor).get(
            "liar", 0
        )


def test_a_lone_liar_brings_an_honest_node_no_nearer_to_an_accusation() -> None:
    held: sums.Sums = (sums.NOTHING, sums.NOTHING)
    for _ in range(50):
        held = lone(held, "liar", True)
    assert held[1].micro == HIGH.accuses_micro
    assert sums._told_by_others(held[1], APART) == 0
    needed = -(-HIGH.accuses_micro // HIGH.odd_micro)
    for number in range(needed):
        assert sums._told_by_others(held[1], APART) < HIGH.accuses_micro, number
        held = lone(held, "another", True)
    assert sums._told_by_others(held[1], APART) >= HIGH.accuses_micro


def test_in_a_run_that_takes_sums_apart_two_auditors_accuse_who_is_odd_to_both(
    world: World,
) -> None:
    """A figure within limits, by one alone each time; and one of them alone accuses nobody."""
    opened(world, apart=True)
    prover = node(world, "prover")
    first, second = (node(world, name, odd="logprob_mean") for name in ("first", "second"))
    outcomes = [judged(world, prover, first, second).outcome for _ in range(NEEDED)]
    assert outcomes == [Outcome.VERIFIED] * (NEEDED - 1) + [Outcome.HARD], "where both look at each"


def test_what_speaks_against_an_operators_nodes_is_one_sum(world: World) -> None:
    opened(world)
    cheats = of_boss(world, *"abcd", kind=Cheat)
    first, second = node(world, "first"), node(world, "second")
    outcomes = [judged(world, cheat, first, second).outcome for cheat in cheats]
    assert outcomes == [Outcome.SOFT] * (NEEDED - 1) + [Outcome.HARD]
    assert not audits(world.run()).sums


def test_a_key_that_comes_under_an_operator_brings_what_speaks_against_it(world: World) -> None:
    opened(world)
    (_,), cheat = of_boss(world, "a", kind=Cheat), node(world, "cheat", Cheat)
    first, second = node(world, "first"), node(world, "second")
    for _ in range(NEEDED - 1):
        judged(world, cheat, first, second)
    cheat.join(delegation=delegation(BOSS, cheat.did))
    assert audits(world.run()).sums.keys() == {BOSS.did}
    assert judged(world, cheat, first, second).outcome is Outcome.HARD


def test_two_auditors_of_one_operator_accuse_nobody_together() -> None:
    answer = Committed("honest", 0, 0, "", 0, 0, None)  # type: ignore[arg-type]  # nobody reads it
    case = Case(answer, 0)
    before: sums.Sums = ()
    for number in range(12):
        said = Opinion(f"key {number}", False, "work", 0, "agree", None, None, NEAR)
        own = sums.weighed(MEASURES, before, changed(case, opinions=(said,)), lambda key: key[:3])
        before, accuses = own.sums, own.accuses
        assert accuses is None
    assert before[1].micro == HIGH.accuses_micro // 2
    joint = sums.told_by((changed(before[1], by_auditor=(("a", 3), ("b", 4))),), "a", "b")
    assert joint[0].by_auditor == (("b", 7),)


@pytest.mark.parametrize(("seen", "refuted"), [("", 1), ("all", 0)])
def test_where_auditors_disagree_the_trusted_role_decides_and_who_measured_nearly_the_same_is_not_refuted(
    world: World, seen: str, refuted: int
) -> None:
    learner = opened(world)
    learner.odd = seen
    honest, liar = node(world, "honest"), node(world, "liar", says="differs")
    assert judged(world, honest, liar, learner).outcome is Outcome.VERIFIED
    assert world.state.nodes[liar.did].standing.refuted == refuted
    held = audits(world.run()).sums.get(honest.did, (sums.NOTHING,))
    assert held[0] == sums.NOTHING, "a limit that the trusted role saw kept counts for nothing"


def test_a_contested_sum_stands_if_its_last_answer_is_odd_to_the_trusted_role(world: World) -> None:
    learner = opened(world)
    cheat, first, second = node(world, "cheat", Cheat), node(world, "first"), node(world, "second")
    verdicts = [judged(world, cheat, first, second) for _ in range(NEEDED)]
    assert verdicts[-1].outcome is Outcome.HARD
    work = audits(world.run()).closed[-1].work
    cheat.speak(VerdictContested, run="run", work=work, reason="my memory is fine")
    for _ in range(3):
        one(world, learner, "audit")
    case = closed_case(world.run(), work)
    assert case is not None
    assert case.verdict is not None
    assert (case.verdict.outcome, case.verdict.is_final) == (Outcome.HARD, True)
    assert world.state.nodes[cheat.did].standing.quarantine is not None


def test_a_sum_against_an_honest_node_ends_with_the_trusted_role_s_word(world: World) -> None:
    learner = opened(world)
    honest = node(world, "honest")
    liars = [node(world, name, says="differs") for name in ("liar", "friend")]
    verdicts = [judged(world, honest, *liars) for _ in range(NEEDED)]
    assert verdicts[-1].outcome is Outcome.HARD
    work = audits(world.run()).closed[-1].work
    honest.speak(VerdictContested, run="run", work=work, reason="it is right")
    for _ in range(3):
        one(world, learner, "audit")
    case = closed_case(world.run(), work)
    assert case is not None
    assert case.verdict is not None
    assert case.verdict.outcome is Outcome.VERIFIED
    assert world.state.nodes[honest.did].standing.quarantine is None


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"measured": None}, "says what it measured"),
        ({"measured": Measured(drawn=40, figures={"excess_mean": 0})}, "expected excess_mean, logprob_mean"),
        ({"measured": Measured(drawn=31, figures=dict.fromkeys(LIMITS, 0))}, "at least 32"),
        ({"measured": Measured(drawn=40, figures={"excess_mean": 1001, "logprob_mean": 0})}, "beyond its limits: excess"),
    ],
)  # fmt: skip
def test_an_audit_that_says_another_thing_than_it_measured_is_refused(
    world: World, told: dict[str, object], message: str
) -> None:
    opened(world)
    honest, auditor = node(world, "honest"), node(world, "auditor")
    one(world, honest, "rollout")
    world.tick(drawing.DRAW_EVERY_MS)
    world.tick(drawing.DRAW_EVERY_MS)
    auditor.kinds = ("audit",)
    granted = auditor.ask()
    assert granted is not None
    with pytest.raises(refusals.Refused, match=message):
        auditor.answer(granted, **told)


def test_a_run_that_names_an_engine_asks_those_alone_that_stated_it_and_takes_no_other_answer(
    world: World,
) -> None:
    opened(world)
    other = node(world, "other", classes=("archipel-bf16-cpu", "made-up-cpu"))
    assert other.ask() is None
    right = node(world, "right")
    right.kinds = ("rollout",)
    granted = right.ask()
    assert granted is not None
    with pytest.raises(refusals.WrongContract, match="the run asks for archipel-fp32-cpu"):
        right.answer(granted, engine="archipel-bf16-cpu")
    right.leases[granted.work] = granted
    right.answer(granted)
    story = RunStory("run")
    for said in world.statements():
        story.hear(said)
    assert not list(story.faults())


def test_an_audit_of_an_exact_run_has_nothing_to_measure() -> None:
    said = AuditAnswer.model_validate(
        {"record": "sha256:" + "0" * 64, "says": "agree", "positions": 3, "busy_ms": 1}
    )
    assert "measured" not in said.model_dump(mode="json")
