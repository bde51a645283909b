"""Stakes over a whole lab in memory: pay is kept, a deposit is asked for, a verdict takes it, a leaver gets it back."""

from collections.abc import Iterator

import pytest

from archipel.lab import refusals
from archipel.lab.apply import Contradiction, apply
from archipel.lab.audits import audits
from archipel.lab.cases import Outcome, Stage
from archipel.lab.kinds.audit import MAX_SILENT
from archipel.lab.stakes import account, owned_micro, staked_micro
from archipel.market.journal import POOL, TREASURY
from archipel.records.audits import AuditTerms, VerdictContested, looked_at
from archipel.records.grants import PoolFunded
from archipel.records.kinds.audit import AuditSpec, Part
from archipel.records.stakes import StakeGiven, StakePut, StakeReturned
from courtroom import (
    audited,
    case_of,
    check_money,
    draw,
    node,
    opened,
    sampled,
    settled,
)
from people import Cheat, Provider, identity
from world import World

PRICE = 1000
STAKED = AuditTerms(
    floor_micro=20_000, pay_milli=500, deadline_ms=10_000, window_ms=600_000, stake=3, part_milli=250
)  # fmt: skip


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.check_replay()
    found.close()


def balances(world: World, who: Provider) -> tuple[int, int]:
    """(balance, stake)"""
    return world.state.book.get(who.did, 0), staked_micro(world.state, who.did)


def one_by_one(world: World, terms: AuditTerms = STAKED) -> Provider:
    return opened(world, terms, max_groups_per_lease=1, groups_per_update=8)


def test_pay_is_kept_until_the_stake_is_what_the_run_asks_for_and_paid_out_from_then_on(
    world: World,
) -> None:
    one_by_one(world)
    honest = node(world, "honest")
    seen = []
    for _ in range(5):
        sampled(world, honest)
        seen.append(balances(world, honest))
    assert seen == [(0, 1000), (0, 2000), (0, 3000), (1000, 3000), (2000, 3000)]
    assert owned_micro(world.state, honest.did) == 5000
    check_money(world)


def test_what_no_contest_can_give_back_any_more_may_go_from_the_treasury_to_the_pool(
    world: World,
) -> None:
    one_by_one(world)
    liar = node(world, "liar")
    auditors = [node(world, name, says="differs") for name in ("one", "two")]
    world.speak(world.operator, StakeGiven, node=liar.did, micro=3000)
    work = sampled(world, liar).work
    assert settled(world, work, *auditors).outcome is Outcome.HARD
    lost = world.state.book[TREASURY]
    world.tick(600_001)
    world.speak(world.operator, PoolFunded, source="treasury", micro=lost)
    assert (world.state.book[POOL], TREASURY in world.state.book) == (lost, False)


def test_where_a_run_asks_for_no_stake_nothing_is_kept(world: World) -> None:
    opened(world, max_groups_per_lease=1)
    honest = node(world, "honest")
    sampled(world, honest)
    assert balances(world, honest) == (PRICE, 0)


def test_a_hard_verdict_takes_the_stake_to_the_treasury_and_an_overturned_one_gives_it_back(
    world: World,
) -> None:
    learner = one_by_one(world)
    honest = node(world, "honest")
    liars = [node(world, name, says="differs") for name in ("one", "two")]
    world.speak(world.operator, StakeGiven, node=honest.did, micro=3000)
    work = sampled(world, honest).work
    sampled(world, honest)
    assert balances(world, honest) == (2000, 3000)
    verdict = settled(world, work, *liars)
    assert (verdict.outcome, verdict.slashed_micro) == (Outcome.HARD, 3000)
    assert balances(world, honest) == (0, 0), "the pay of both came out of the balance"
    lost = world.state.book[TREASURY]
    assert lost == verdict.slashed_micro
    with pytest.raises(refusals.InsufficientCredits, match="a contest may still give back"):
        world.speak(world.operator, PoolFunded, source="treasury", micro=1)
    honest.speak(VerdictContested, run="run", work=work, reason="I computed it twice")
    assert settled(world, work, *liars, learner).outcome is Outcome.VERIFIED
    assert world.state.book.get(TREASURY, 0) == 0
    assert balances(world, honest) == (2000, lost)


def test_pay_that_goes_back_comes_out_of_the_balance_then_the_stake_and_only_then_is_owed(
    world: World,
) -> None:
    learner = one_by_one(world)
    cheat = node(world, "cheat", Cheat)
    work = sampled(world, cheat).work
    assert balances(world, cheat) == (0, PRICE)
    assert settled(world, work, learner).outcome is Outcome.SOFT
    assert balances(world, cheat) == (0, 0)
    assert balances(world, learner) == (500, 0), "whom a run trusts need not vouch"
    assert world.state.book[world.operator.did] == -500


def test_a_run_that_asks_for_a_deposit_gives_no_work_to_who_has_none(world: World) -> None:
    learner = one_by_one(world, STAKED.model_copy(update={"deposit_micro": 5000}))
    poor, vouched = node(world, "poor"), node(world, "vouched")
    assert poor.ask() is None
    with pytest.raises(refusals.NotAllowed, match="is no operator"):
        poor.speak(StakeGiven, node=poor.did, micro=5000)
    world.speak(world.operator, StakeGiven, node=vouched.did, micro=4999)
    assert vouched.ask() is None
    world.speak(world.operator, StakeGiven, node=vouched.did, micro=1)
    assert vouched.ask() is not None
    assert poor.ask() is None
    assert balances(world, vouched) == (0, 5000)
    learner.kinds = ("update", "evaluate")
    assert learner.ask() is not None, "whom a run trusts needs no stake"


def test_a_provider_puts_in_what_it_has_and_no_more(world: World) -> None:
    one_by_one(world)
    honest = node(world, "honest")
    for _ in range(5):
        sampled(world, honest)
    with pytest.raises(refusals.Conflict, match="the balance is 2000"):
        honest.speak(StakePut, micro=2001)
    honest.speak(StakePut, micro=1500)
    assert balances(world, honest) == (500, 4500)
    sampled(world, honest)
    assert balances(world, honest) == (1500, 4500), "a larger stake than asked for is nobody's loss"


def test_a_stake_comes_back_after_leaving_once_nothing_can_be_judged_any_more(world: World) -> None:
    one_by_one(world)
    honest, auditor, second = (node(world, name) for name in ("honest", "auditor", "second"))
    with pytest.raises(refusals.Conflict, match="no stake"):
        honest.speak(StakeReturned)
    work = sampled(world, honest).work
    with pytest.raises(refusals.Conflict, match="leave first"):
        honest.speak(StakeReturned)
    honest.leave()
    with pytest.raises(refusals.Conflict, match=f"{work} among them"):
        honest.speak(StakeReturned)
    assert settled(world, work, auditor, second).outcome is Outcome.VERIFIED
    with pytest.raises(refusals.Conflict, match="for another 5"):
        honest.speak(StakeReturned)
    world.tick(STAKED.window_ms)
    honest.speak(StakeReturned)
    assert balances(world, honest) == (PRICE, 0)
    with pytest.raises(refusals.Conflict, match="no stake"):
        honest.speak(StakeReturned)


def test_an_auditor_s_stake_stays_as_long_as_its_word_may_be_judged(world: World) -> None:
    one_by_one(world)
    honest, liar = node(world, "honest"), node(world, "liar", says="differs")
    work = sampled(world, honest).work
    draw(world)
    audited(world, liar)
    liar.leave()
    assert staked_micro(world.state, liar.did) == 500
    with pytest.raises(refusals.Conflict, match=f"{work} among them"):
        liar.speak(StakeReturned)


def test_a_cheat_in_quarantine_gets_what_is_left_only_after_the_time_to_contest(
    world: World,
) -> None:
    one_by_one(world)
    cheat, one, two = node(world, "cheat", Cheat), node(world, "one"), node(world, "two")
    world.speak(world.operator, StakeGiven, node=cheat.did, micro=101 * PRICE)
    work = sampled(world, cheat).work
    cheat.leave()
    world.tick(STAKED.window_ms // 2)
    assert settled(world, work, one, two).outcome is Outcome.HARD
    world.tick(STAKED.window_ms * 2 // 3)
    left = staked_micro(world.state, cheat.did)
    assert 0 < left <= PRICE, "a hard verdict takes 100 prices of the answer at most"
    with pytest.raises(refusals.Conflict, match="may be judged"):
        cheat.speak(StakeReturned)
    world.tick(STAKED.window_ms)
    cheat.speak(StakeReturned)
    assert staked_micro(world.state, cheat.did) == 0


@pytest.mark.parametrize("kind", ["put", "given", "returned"])
def test_a_ledger_in_which_a_stake_moves_against_the_rules_does_not_fold(
    world: World, kind: str
) -> None:
    one_by_one(world)
    honest = node(world, "honest")
    sampled(world, honest)
    said = {
        "put": (StakePut, {"micro": 1}),
        "given": (StakeGiven, {"node": honest.did, "micro": 1}),
        "returned": (StakeReturned, {}),
    }
    form, fields = said[kind]
    statement = world.statement(honest.identity, form, **fields)
    with pytest.raises(Contradiction, match=f"stake.{kind} cannot follow"):
        apply(world.state, statement, world.now_ms)  # type: ignore[arg-type]  # it is recorded


def test_a_key_s_own_stake_vouches_for_it(world: World) -> None:
    did = identity("somebody").did
    assert account(world.state, did) == f"stake:{did}"


def test_fresh_keys_that_take_a_case_and_say_nothing_cannot_hold_it_for_ever(world: World) -> None:
    learner = one_by_one(world)
    cheat = node(world, "cheat", Cheat)
    work = sampled(world, cheat).work
    draw(world)
    for number in range(MAX_SILENT):
        silent = node(world, f"silent {number}", kinds=("audit",))
        granted = silent.ask()
        assert granted is not None
        world.tick(STAKED.deadline_ms + 1)
        assert granted.work not in world.state.leases
    assert case_of(world, work).stage is Stage.APPEAL
    late = node(world, "late", kinds=("audit",))
    assert late.ask() is None
    assert settled(world, work, learner).outcome is Outcome.SOFT


def test_a_case_that_the_trusted_role_leaves_alone_ends_with_its_window(world: World) -> None:
    one_by_one(world)
    honest = node(world, "honest")
    work = sampled(world, honest).work
    draw(world)
    for number in range(MAX_SILENT):
        assert node(world, f"silent {number}", kinds=("audit",)).ask() is not None
        world.tick(STAKED.deadline_ms + 1)
    world.tick(STAKED.window_ms)
    draw(world)
    assert settled(world, work).outcome is Outcome.LAPSED
    assert not audits(world.run()).cases


def test_everybody_who_looks_at_an_answer_looks_at_the_same_part_drawn_after_it(
    world: World,
) -> None:
    one_by_one(world)
    honest, one, two = node(world, "honest"), node(world, "one"), node(world, "two")
    work = sampled(world, honest).work
    draw(world)
    root = case_of(world, work).root
    assert root
    parts = set()
    for each in (one, two):
        granted = audited(world, each)
        assert granted is not None
        assert isinstance(granted.spec, AuditSpec)
        parts.add(granted.spec.part)
        draw(world)
    assert parts == {Part(root=root, milli=250)}


@pytest.mark.parametrize(
    ("num", "milli", "count"), [(8, 250, 2), (8, 1, 1), (8, 1000, 8), (3, 500, 2)]
)
def test_a_part_has_as_many_rollouts_as_said_each_as_often_as_another(
    num: int, milli: int, count: int
) -> None:
    record = "sha256:" + "11" * 32
    chosen = [looked_at(f"sha256:{n:064x}", record, n % 3, num, milli) for n in range(300)]
    assert all(len(set(each)) == count for each in chosen)
    assert all(list(each) == sorted(each) for each in chosen)
    hits = [sum(number in each for each in chosen) for number in range(num)]
    assert all(abs(each - 300 * count / num) < 50 for each in hits)
    other = [
        looked_at(f"sha256:{n:064x}", "sha256:" + "22" * 32, n % 3, num, milli) for n in range(300)
    ]
    assert (other == chosen) == (count == num)
