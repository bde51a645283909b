"""Credits come in, are set aside, held, paid, returned and go out: never more than there is, and never lost."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from archipel.lab import money, refusals
from archipel.lab.amends import clawed_back, restored
from archipel.lab.apply import Contradiction, apply
from archipel.lab.audits import audits
from archipel.lab.money import free_micro
from archipel.lab.state import Phase
from archipel.lab.views import waits
from archipel.market.journal import OUTSIDE, escrow, held
from archipel.records.audits import AuditTerms, VerdictContested
from archipel.records.fields import MAX_SEQ
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.stakes import MAX_MOVED_MICRO, StakePut
from archipel.records.statements import LeaseGranted
from courtroom import node, opened, sampled, settled
from people import Cheat, Provider, identity
from trading import TERMS, Exchange, exchange_at
from world import World, finish

PRICE = 1000
STAKED = AuditTerms(
    floor_micro=20_000,
    pay_milli=500,
    deadline_ms=10_000,
    window_ms=600_000,
    stake=3,
    part_milli=250,
)
SPONSOR, OTHER = identity("sponsor"), identity("another sponsor")


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    check(found)
    found.check_replay()
    found.close()


def check(world: World) -> None:
    """Nothing is lost; only the world outside and operators of runs that nobody funded owe anything, and whoever had
    spent pay that a verdict took back.
    """
    state = world.state
    assert sum(state.book.values()) == 0
    for account, micro in state.book.items():
        node = state.nodes.get(account)
        caught = node is not None and (
            node.standing.hard or node.standing.soft or node.standing.refuted
        )
        may_owe = account in (OUTSIDE, *state.operators) or caught
        assert micro > 0 or may_owe, f"{account} holds {micro}"
    for name, run in state.runs.items():
        prices = sum(state.leases[work].price_micro for work in run.leases)
        assert state.book.get(held(name), 0) == prices
        if name not in state.live:
            assert escrow(name) not in state.book, "a run at rest keeps nothing"


def pay_in(world: World, who: Any, micro: int, reference: str | None = None) -> None:
    world.speak(
        world.operator,
        CreditsSettled,
        account=who.did,
        direction="in",
        micro=micro,
        reference=reference or f"transfer {world.state.size}",
    )


def pay_out(world: World, who: Any, micro: int, reference: str = "payout") -> None:
    world.speak(
        world.operator,
        CreditsSettled,
        account=who.did,
        direction="out",
        micro=micro,
        reference=reference,
    )


def fund(world: World, micro: int, who: Any = SPONSOR) -> None:
    world.speak(getattr(who, "identity", who), RunFunded, run="run", micro=micro)


def balance(world: World, account: str) -> int:
    return int(world.state.book.get(account, 0))


def test_a_run_that_was_funded_hands_out_no_more_than_its_escrow_pays(world: World) -> None:
    world.started(groups_per_update=8, max_groups_per_lease=8)
    pay_in(world, world.operator, 3 * PRICE + 1)
    fund(world, 3 * PRICE + 1, world.operator)
    one, two = world.provider("one"), world.provider("two")
    one.prove()
    given = one.ask()
    assert given is not None
    assert given.price_micro == 2 * PRICE, "less than its share, as much as can be paid"
    assert balance(world, escrow("run")) == 1
    assert two.ask() is None
    check(world)
    one.give_back(given.work)
    assert balance(world, escrow("run")) == 2 * PRICE + 1, "what comes back comes back to the run"
    assert two.ask() is not None
    assert balance(world, world.operator.did) == 0


def test_a_run_that_ran_out_of_credits_goes_on_when_it_is_funded(world: World) -> None:
    learner = world.started()
    pay_in(world, world.operator, PRICE)
    pay_in(world, SPONSOR, 100 * PRICE)
    fund(world, PRICE, world.operator)
    provider = world.provider("one")
    provider.prove()
    assert provider.ask() is None
    (wait,) = waits(world.state, world.now_ms)
    assert "out of credits: fund it with `archipel run fund run CREDITS`" in wait.waiting_for
    assert "0.000000 credits are left, and the smallest piece of work takes 0.001000" in wait.advice
    fund(world, 90 * PRICE)
    assert all(
        "out of credits" not in each.waiting_for for each in waits(world.state, world.now_ms)
    )
    finish(world, learner, [provider])
    assert world.run().phase is Phase.COMPLETE


def test_the_unspent_goes_back_to_the_funders_in_proportion_to_the_last_micro_credit(
    world: World,
) -> None:
    world.started()
    pay_in(world, world.operator, 2000)
    pay_in(world, SPONSOR, 1000)
    fund(world, 2000, world.operator)
    fund(world, 1000)
    world.provider("one").prove()
    world.stop_run()
    assert balance(world, world.operator.did) == 1333
    assert balance(world, SPONSOR.did) == 667


def test_what_is_held_when_a_run_is_funded_first_counts_as_its_operators(world: World) -> None:
    world.started()
    pay_in(world, SPONSOR, 16 * PRICE)
    early = world.provider("one")
    given = early.ask()
    assert given is not None
    assert balance(world, world.operator.did) == -PRICE
    fund(world, 16 * PRICE)
    early.give_back(given.work)
    world.stop_run()
    assert balance(world, world.operator.did) == 0
    assert balance(world, SPONSOR.did) == 16 * PRICE


def test_a_run_without_a_sponsor_stays_on_its_operators_account(world: World) -> None:
    learner = world.started()
    finish(world, learner, [world.provider("one")])
    assert balance(world, world.operator.did) == -world.run().paid_micro < 0


def test_an_answer_found_wrong_refills_the_escrow_and_one_found_right_again_is_paid_from_it(
    world: World,
) -> None:
    learner = opened(world, STAKED, max_groups_per_lease=1, groups_per_update=8)
    pay_in(world, SPONSOR, 48 * PRICE)
    fund(world, 48 * PRICE)
    cheat = node(world, "cheat", Cheat)
    work = sampled(world, cheat).work
    settled(world, work, learner)
    assert balance(world, escrow("run")) == 48 * PRICE - PRICE // 2, "all but the audit's pay"
    check(world)


def test_no_work_is_handed_out_whose_audit_could_not_be_paid(world: World) -> None:
    opened(world, STAKED, max_groups_per_lease=1, groups_per_update=8)
    pay_in(world, world.operator, 2 * PRICE)
    fund(world, PRICE + PRICE // 2 - 1, world.operator)
    one = node(world, "one")
    assert one.ask() is None
    fund(world, 1, world.operator)
    assert one.ask() is not None


def test_pay_given_again_comes_from_the_escrow_and_what_that_lacks_the_operator_owes(
    world: World,
) -> None:
    world.started()
    pay_in(world, world.operator, 2 * PRICE)
    fund(world, 2 * PRICE, world.operator)
    provider = world.provider("one")
    provider.prove()
    after = restored(world.state, "run", provider.did, 3 * PRICE)
    assert escrow("run") not in after.book
    assert after.book[provider.did] == 4 * PRICE
    assert after.book[world.operator.did] == -2 * PRICE


def test_pay_that_goes_back_when_a_run_is_at_rest_goes_on_to_its_funders(world: World) -> None:
    world.started()
    pay_in(world, SPONSOR, 16 * PRICE)
    fund(world, 16 * PRICE)
    provider = world.provider("one")
    provider.prove()
    world.stop_run()
    after = clawed_back(world.state, "run", provider.did, 10)
    assert after.book[SPONSOR.did] == 15 * PRICE + 10
    assert escrow("run") not in after.book


def test_a_trusted_role_judges_for_what_is_left_so_that_no_case_stays_open(world: World) -> None:
    learner = opened(world, STAKED, max_groups_per_lease=1, groups_per_update=8)
    pay_in(world, world.operator, PRICE + PRICE // 2)
    fund(world, PRICE + PRICE // 2, world.operator)
    cheat = node(world, "cheat", Cheat)
    work = sampled(world, cheat).work
    assert balance(world, escrow("run")) == PRICE // 2, "one audit is kept back"
    assert cheat.ask() is None
    settled(world, work, node(world, "one"), learner)
    prices = [each.price_micro for each in world.statements() if isinstance(each, LeaseGranted)]
    assert prices[-2:] == [PRICE // 2, 0]
    check(world)


REFUSED: dict[str, tuple[Callable[[World], None], type[refusals.Refused]]] = {
    "by a stranger": (
        lambda w: w.speak(
            SPONSOR, CreditsSettled, account=SPONSOR.did, direction="in", micro=1, reference="x"
        ),
        refusals.NotAllowed,
    ),
    "twice": (lambda w: pay_in(w, OTHER, 7, "first"), refusals.SettledBefore),
    "more than the wallet holds": (
        lambda w: pay_out(w, SPONSOR, 5001),
        refusals.InsufficientCredits,
    ),
    "out of an empty wallet": (lambda w: pay_out(w, OTHER, 1), refusals.InsufficientCredits),
    "funding of more than the wallet holds": (
        lambda w: fund(w, 5001),
        refusals.InsufficientCredits,
    ),
    "funding by who has nothing": (lambda w: fund(w, 1, OTHER), refusals.InsufficientCredits),
    "funding of no run": (
        lambda w: w.speak(SPONSOR, RunFunded, run="none", micro=1),
        refusals.Unknown,
    ),
    "funding of a run that is over": (
        lambda w: w.speak(SPONSOR, RunFunded, run="over", micro=1),
        refusals.RunOver,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_may_not_be_said_of_money_is_refused_by_name_and_changes_nothing(
    world: World, what: str
) -> None:
    world.open_run()
    world.open_run("over")
    world.stop_run("over")
    pay_in(world, SPONSOR, 5000, "first")
    before, (say, named) = world.state, REFUSED[what]
    with pytest.raises(named):
        say(world)
    assert world.state == before


def test_a_ledger_that_takes_what_no_door_lets_in_follows_from_nothing(world: World) -> None:
    world.open_run()
    pay_in(world, SPONSOR, 5000, "first")
    settling = {"account": SPONSOR.did, "direction": "out", "micro": 1, "reference": "second"}
    for lie in ({"micro": 5001}, {"reference": "first"}):
        said = world.statement(world.operator, CreditsSettled, **(settling | lie))
        with pytest.raises(Contradiction):
            apply(world.state, said, world.now_ms)
    for said in (
        world.statement(SPONSOR, CreditsSettled, **settling),
        world.statement(SPONSOR, RunFunded, run="run", micro=5001),
    ):
        with pytest.raises(Contradiction):
            apply(world.state, said, world.now_ms)


def test_a_ledger_that_leases_more_than_the_escrow_pays_follows_from_nothing(world: World) -> None:
    world.started()
    pay_in(world, world.operator, PRICE)
    fund(world, PRICE, world.operator)
    provider = world.provider("one")
    before = world.state
    granted = provider.ask()
    assert granted is not None
    dear = granted.model_copy(update={"price_micro": PRICE + 1})
    with pytest.raises(Contradiction, match="its run holds"):
        apply(before, dear, world.now_ms)
    assert apply(before, granted, world.now_ms) == world.state


def test_no_more_comes_in_than_a_record_can_say(world: World) -> None:
    for _ in range(MAX_SEQ // MAX_MOVED_MICRO):
        pay_in(world, SPONSOR, MAX_MOVED_MICRO)
    with pytest.raises(refusals.TooMuch):
        pay_in(world, SPONSOR, MAX_MOVED_MICRO)
    pay_in(world, SPONSOR, MAX_SEQ % MAX_MOVED_MICRO)
    with pytest.raises(refusals.TooMuch):
        pay_in(world, OTHER, 1)


def test_funders_of_next_to_nothing_do_not_lock_a_runs_sponsors_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(money, "MAX_SMALL_FUNDERS", 3)
    world.open_run()
    pay_in(world, world.operator, 1)
    fund(world, 1, world.operator)
    crowd = [identity(f"small {n}") for n in range(3)]
    for each in (SPONSOR, OTHER, *crowd):
        pay_in(world, each, 2 * PRICE)
    for each in crowd[:2]:
        fund(world, 1, each)
    with pytest.raises(refusals.TooMuch, match=f"expected {PRICE} "):
        fund(world, PRICE - 1, crowd[2])
    fund(world, 1, crowd[0])
    fund(world, PRICE, SPONSOR)
    fund(world, 1, SPONSOR)
    small = world.statement(OTHER, RunFunded, run="run", micro=1)
    assert len(apply(world.state, small, world.now_ms).runs["run"].funders) == 5, "a ledger may"


def test_pay_that_may_have_to_go_back_is_not_paid_out(world: World) -> None:
    opened(world, max_groups_per_lease=1, groups_per_update=8)
    honest = node(world, "honest")
    work = sampled(world, honest).work
    assert balance(world, honest.did) == PRICE
    with pytest.raises(refusals.InsufficientCredits, match="not judged yet"):
        pay_out(world, honest, 1)
    with pytest.raises(refusals.InsufficientCredits, match="not judged yet"):
        fund(world, 1, honest)
    settled(world, work, node(world, "one"), node(world, "two"))
    assert free_micro(world.state, honest.did) == PRICE
    pay_out(world, honest, PRICE)
    assert balance(world, OUTSIDE) == PRICE


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_done_nothing_is_lost_and_no_run_owes_anything(world: World, seed: int) -> None:
    """Random stories of sponsors, providers who answer, give back, vanish or leave, and settlements."""
    dice = random.Random(seed)
    world.open_run(groups_per_update=4, max_groups_per_lease=3, versions=3)
    learner = world.learner()
    learner.work()
    nodes = [world.provider(name) for name in ("one", "two", "three")]
    pay_in(world, world.operator, 777)
    pay_in(world, SPONSOR, dice.randrange(1, 20) * 777)
    fund(world, 777, world.operator)
    for _ in range(60):
        _step(world, dice, learner, nodes)
        check(world)
    world.stop_run() if world.run().phase is Phase.RUNNING else None


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_bid_and_paid_by_award_no_market_s_run_owes_anything(
    world: World, seed: int
) -> None:
    """The same with rounds of bids, of which some are never revealed."""
    dice = random.Random(200 + seed)
    exchange = exchange_at(world)
    exchange.measured("one", "two", "three")
    for _ in range(3):
        world.tick(TERMS.period_ms)
        _dealt(world, dice, exchange)
        for _ in range(12):
            _step(world, dice, exchange.learner, exchange.nodes)
            check(world)
    exchange.check()


def _dealt(world: World, dice: random.Random, exchange: Exchange) -> None:
    """A round, if one is open: random asks, a third of which stay sealed."""
    if exchange.market.open is None:
        return
    bids = []
    for each in exchange.nodes:
        bid = exchange.bid(each, dice.randrange(1, TERMS.reserve_micro), lots=dice.randint(1, 2))
        with suppress(refusals.Refused):
            exchange.seal(each, bid)
            bids.append((each, bid))
        check(world)
    exchange.commits_end()
    for each, bid in bids:
        if dice.random() < 0.7:
            exchange.reveal(each, bid)
            check(world)
    exchange.cleared()
    check(world)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_verdicts_take_back_and_give_again_no_run_owes_anything(
    world: World, seed: int
) -> None:
    """The same, where answers are audited, some are cheats', some auditors lie, and verdicts are contested."""
    dice = random.Random(100 + seed)
    learner = opened(world, STAKED, max_groups_per_lease=2, groups_per_update=4, versions=4)
    nodes = [node(world, name) for name in ("one", "two")]
    nodes += [node(world, "cheat", Cheat), node(world, "liar", says="differs")]
    pay_in(world, world.operator, 5 * PRICE)
    pay_in(world, SPONSOR, 95 * PRICE)
    fund(world, 5 * PRICE, world.operator)
    for _ in range(50):
        _step(world, dice, learner, nodes)
        _judged(world, dice, nodes)
        check(world)
    found = audits(world.run())
    assert found.drawn, "something was audited"


def _judged(world: World, dice: random.Random, nodes: list[Provider]) -> None:
    if dice.random() < 0.3:
        world.tick(5_000)
    contestable = [
        case for case in audits(world.run()).closed if case.verdict and not case.contested
    ]
    try:
        if contestable and dice.random() < 0.2:
            case = dice.choice(contestable)
            (party,) = (each for each in nodes if each.did == case.answer.party)
            party.speak(VerdictContested, run="run", work=case.work, reason="I computed it twice")
        if dice.random() < 0.1:
            dice.choice(nodes).speak(StakePut, micro=dice.randrange(1, 2 * PRICE))
    except refusals.Refused:
        return


def _step(world: World, dice: random.Random, learner: Provider, nodes: list[Provider]) -> None:
    who, sponsor = dice.choice(nodes), dice.choice([SPONSOR, OTHER, world.operator, *nodes])
    steps: list[Callable[[], object]] = [
        lambda: pay_in(world, sponsor, dice.randrange(1, 5000)),
        lambda: pay_out(world, sponsor, dice.randrange(1, 3000), f"out {world.state.size}"),
        lambda: fund(world, dice.randrange(1, 3000), sponsor),
        lambda: world.tick(dice.choice([10, 40_000])),
        lambda: learner.work(),  # type: ignore[attr-defined]  # a learner
        lambda: who.leave() or who.join(),
        *[lambda: _worked(who, dice)] * 6,
    ]
    try:
        dice.choice(steps)()
    except refusals.Refused:
        return  # and nothing changed, which the replay at the end shows


def _worked(who: Provider, dice: random.Random) -> None:
    granted = who.ask()
    if granted is None:
        return
    deed = dice.choice(["answer", "answer", "give back", "vanish"])
    if deed == "answer":
        who.answer(granted)
    elif deed == "give back":
        who.give_back(granted.work)
    else:
        who.leases.clear()
