"""From opinions to verdicts, and how likely an answer is audited: what holds whatever is said, by whom, in any order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.lab import verdicts
from archipel.lab.cases import Case, Committed, Opinion, Outcome, Stage
from archipel.lab.reputation import Standing
from archipel.lab.risk import EXPOSURE, chance
from archipel.market.journal import BadPosting, Move, Posting, wallet
from archipel.records.audits import is_drawn
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.audit import Difference
from people import identity
from specimens import ANSWERS, SPECS

PARTY = identity("prover").did
DONE = AcceptedWork(work="run.7", spec=SPECS["rollout"], answer=ANSWERS["rollout"])
FEW = settings(max_examples=30)
ANSWER = Committed(PARTY, 1000, 3, "sha256:" + "0" * 64, 0, 10, DONE)
DIGEST = st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}")


def difference(position: int) -> Difference:
    return Difference(
        group=8, rollout=0, position=position, what="token", recorded="1", recomputed="2"
    )


@st.composite
def opinion(draw: st.DrawFn) -> Opinion:
    says = draw(st.sampled_from(["agree", "differs", "cannot"]))
    is_trusted = draw(st.integers(0, 3)) == 0
    return Opinion(
        auditor=f"{'role' if is_trusted else 'node'} {draw(st.integers(0, 5))}",
        is_trusted=is_trusted,
        work="run.9",
        price_micro=250,
        says=says,
        difference=difference(draw(st.integers(0, 1))) if says == "differs" else None,
        cannot="weights" if says == "cannot" else None,
    )


def told(opinions: list[Opinion], failed_before: bool) -> Case:
    """The case after as many of them as it takes, each auditor once."""
    case = Case(ANSWER, 0)
    for each in opinions:
        if case.verdict is not None:
            break
        wanted = case.wants_trusted if each.is_trusted else case.wants_strangers
        if wanted and each.auditor not in case.tried:
            case = verdicts.heard(case, each, failed_before, 5)
            case = verdicts.changed(case, tried=(*case.tried, each.auditor))
    return case


@FEW
@given(st.lists(opinion(), max_size=10), st.booleans())
def test_no_verdict_from_one_auditor_alone_is_worse_than_soft(
    opinions: list[Opinion], failed_before: bool
) -> None:
    case = told(opinions, failed_before)
    ended = case if case.verdict is not None else verdicts.lapsed(case, "nobody came", 9)
    verdict = ended.verdict
    assert verdict is not None
    accusers = {each.auditor for each in ended.opinions if each.says == "differs"}
    roles = {each.auditor for each in ended.opinions if each.is_trusted}
    if verdict.outcome is Outcome.HARD:
        assert len(accusers) > 1 or (failed_before and accusers <= roles)
    if verdict.outcome is Outcome.SOFT:
        assert accusers
        assert not any(each.says == "agree" for each in ended.opinions)
    if not roles:
        assert not list(verdicts.wronged(ended)), "only the trusted role's word costs an auditor"
    told_so = {each.auditor for each in verdicts.wronged(ended)}
    assert not told_so & {each.auditor for each in verdicts.upheld(ended)}
    assert not told_so & roles


@FEW
@given(st.lists(opinion(), max_size=10), st.booleans())
def test_the_trusted_role_s_word_is_the_end_and_a_contested_case_ends_with_it(
    opinions: list[Opinion], failed_before: bool
) -> None:
    case = told(opinions, failed_before)
    words = [each for each in case.opinions if each.is_trusted]
    assert len(words) <= 1
    if words:
        assert case.verdict is not None
        assert case.opinions[-1] is words[0]
        assert case.verdict.is_final == (words[0].says != "cannot")
    elif case.verdict is not None and case.verdict.outcome is Outcome.HARD:
        again = verdicts.contested(case, "no")
        assert again.stage is Stage.APPEAL
        assert not again.wants_strangers
        right = Opinion("role 9", True, "run.10", 0, "agree", None, None)
        ended = verdicts.heard(again, right, False, 11)
        assert ended.verdict is not None
        assert (ended.verdict.outcome, ended.verdict.is_final) == (Outcome.VERIFIED, True)
        stood = verdicts.lapsed(again, "nobody came", 12)
        assert stood.verdict is not None
        assert (stood.verdict.outcome, stood.verdict.is_final) == (Outcome.HARD, True)


@FEW
@given(
    st.integers(1000, 10**6), st.integers(0, 10**4), st.integers(0, 10**9), st.integers(0, 10**6)
)
def test_the_chance_is_never_zero_falls_with_reputation_and_rises_with_pay_at_risk(
    floor: int, verified: int, exposed: int, price: int
) -> None:
    known = Standing(verified=verified, exposed_micro=exposed)
    rate = chance(floor, known, price, is_audit=False)
    assert floor <= rate <= 10**6
    better = Standing(verified=verified + 1, exposed_micro=exposed)
    assert chance(floor, better, price, is_audit=False) <= rate
    riskier = Standing(verified=verified, exposed_micro=exposed + EXPOSURE * price)
    assert chance(floor, riskier, price, is_audit=False) >= rate
    assert chance(floor, Standing(exposed_micro=exposed), price, is_audit=False) == 10**6


@FEW
@given(DIGEST, DIGEST)
def test_a_draw_is_a_function_of_root_and_record_and_grows_with_the_rate(
    root: str, record: str
) -> None:
    drawn = [is_drawn(root, record, rate) for rate in range(0, 10**6 + 1, 50_000)]
    assert drawn == sorted(drawn)
    assert (drawn[0], drawn[-1]) == (False, True)


def test_a_draw_depends_on_the_root_and_on_the_record() -> None:
    roots = [f"sha256:{n:064x}" for n in range(400)]
    by_root = [is_drawn(root, roots[0], 300_000) for root in roots]
    by_record = [is_drawn(roots[0], root, 300_000) for root in roots]
    assert 80 < sum(by_root) < 160
    assert 80 < sum(by_record) < 160
    assert by_root != by_record
    # clause of docs/reference/audits.md: SHA-256 over the domain, root and record
    assert is_drawn("sha256:" + "00" * 32, "sha256:" + "11" * 32, 291_000)
    assert not is_drawn("sha256:" + "00" * 32, "sha256:" + "11" * 32, 290_000)


def test_pay_is_taken_back_from_wallets_and_nothing_else() -> None:
    node, sponsor = wallet(PARTY), wallet(identity("operator").did)
    assert Posting(Move.CLAWBACK, node, sponsor, 5).micro == 5
    with pytest.raises(BadPosting):
        Posting(Move.CLAWBACK, "held:run", sponsor, 5)
