"""Who tries to win a market without work, or to keep others out of it: what it comes to in a whole lab."""

import itertools
from collections.abc import Iterator

import pytest

from archipel.lab import awards
from archipel.lab.apply import apply
from archipel.lab.escrow import least_micro
from archipel.lab.qualities import is_newcomer
from archipel.lab.refusals import RunOver
from archipel.lab.rounds import with_market
from archipel.lab.state import Phase
from archipel.market.clearing import Award
from archipel.market.journal import escrow
from archipel.records.bids import MAX_BID_LOTS
from archipel.records.changed import changed
from archipel.records.fields import MAX_PRICE_MICRO, MAX_SEQ
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.recipe_market import MICRO, MarketSection
from archipel.records.rounds import BidWithdrawn
from archipel.records.statements import NodeLeft
from keyring import delegation
from people import identity
from trading import GROUP_TOKENS, TERMS, Exchange, exchange_at
from world import PACE, World, finish


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.fixture
def exchange(world: World) -> Exchange:
    return exchange_at(world)


@pytest.mark.parametrize("max_staleness", [0, 1])
def test_who_wins_by_asking_next_to_nothing_and_delivers_nothing_does_not_stall_the_run(
    world: World, max_staleness: int
) -> None:
    terms = TERMS.model_copy(update={"lots": 1, "operator_cap": 1})
    exchange = exchange_at(world, terms, max_staleness=max_staleness)
    honest, saboteur = exchange.measured("honest", "saboteur")
    last = exchange.sell(honest=400_000, saboteur=1)
    assert set(last.awards) == {saboteur.did}
    assert honest.ask() is None
    world.tick(terms.period_ms)
    granted = honest.ask()
    assert granted is not None
    assert granted.per_million_micro == 400_000, "its own ask: nothing less was promised"
    assert not exchange.market.exploring
    exchange.check()


def test_who_asked_for_more_than_the_reserve_works_for_no_run_that_starves(
    exchange: Exchange,
) -> None:
    dear, _ = exchange.measured("dear", "saboteur")
    exchange.sell(dear=TERMS.reserve_micro + 1, saboteur=1)
    exchange.world.tick(2 * TERMS.period_ms)
    assert dear.ask() is None
    exchange.check()


def test_a_fresh_run_on_the_default_terms_is_not_starved_by_the_first_who_can_bid(
    world: World,
) -> None:
    """Of many who work at the posted price one alone can set a deposit aside, is bought, and delivers nothing."""
    section = MarketSection()
    terms = TERMS.model_copy(
        update={
            "deposit_micro": round(section.deposit * MICRO),
            "explore_permille": round(section.explore * 1000),
            "period_ms": round(section.period_s * 1000),
            "lots": 8,
            "operator_cap": 4,
        }
    )
    exchange = exchange_at(world, terms, groups_per_update=8)
    for name in ("first", "second"):
        world.provider(name)
    exchange.sell(first=100_000, second=100_000)
    rich, *poor = exchange.measured("first", "second", "third", "fourth")
    assert poor[1].ask() is not None, "a round of newcomers alone leaves the posted price, to all"
    fields = {"account": rich.did, "direction": "in", "reference": "a deposit"}
    world.speak(world.operator, CreditsSettled, micro=terms.deposit_micro, **fields)
    world.tick(terms.period_ms)
    last = exchange.sell(first=100_000, second=100_000)
    assert last.rules
    assert last.awards[rich.did].prices
    granted = [each.ask() for each in poor]
    assert sum(each is not None for each in granted) <= 1, "the newcomers' share is small"
    world.tick(terms.period_ms)
    granted += [each.ask() for each in poor]
    assert sum(each is not None for each in granted) >= len(poor), "and no limit while it starves"
    exchange.check()


def test_who_waits_unbought_is_answered_once_the_learner_starves(exchange: Exchange) -> None:
    honest, _, _ = exchange.measured("honest", "saboteur", "other")
    last = exchange.sell(honest=700_000, saboteur=1, other=2)
    assert honest.did not in last.awards
    granted = honest.wait(TERMS.period_ms)
    assert granted is not None
    assert granted.per_million_micro == 700_000


def test_whose_first_pay_is_less_than_the_deposit_is_not_shut_out(world: World) -> None:
    price = int(PACE["price_micro"])  # type: ignore[call-overload]
    terms = TERMS.model_copy(update={"deposit_micro": 3 * price})
    exchange = exchange_at(world, terms, groups_per_update=32)
    rich, other, poor = exchange.measured("rich", "other", "poor")
    for each in (rich, other):
        each.prove(1000)
        each.prove(1000)
    last = exchange.sell(rich=300_000, other=400_000, poor=100_000)
    assert poor.did not in last.awards, (
        "no ask of a newcomer's moves the price, or displaces anybody"
    )
    assert last.price_micro == TERMS.reserve_micro
    before = world.state.book[poor.did]
    poor.prove(1000)
    assert world.state.book[poor.did] > before
    exchange.check()


def test_who_has_set_its_deposit_aside_is_no_newcomer_meanwhile(exchange: Exchange) -> None:
    (third,) = exchange.measured("third")
    exchange.round()
    terms = exchange.market.open.round
    purse = exchange.world.state.book[third.did]
    fields = {"account": third.did, "direction": "out", "reference": "most of it"}
    out = purse - terms.deposit_micro
    exchange.world.speak(exchange.world.operator, CreditsSettled, micro=out, **fields)
    exchange.seal(third, exchange.bid(third, 100_000))
    assert exchange.world.state.book.get(third.did, 0) == 0
    assert not is_newcomer(exchange.world.state, exchange.world.run(), third.did)
    exchange.check()


def test_a_new_operator_amid_a_round_makes_no_newcomer_of_whom_it_takes_in(world: World) -> None:
    terms = TERMS.model_copy(update={"lots": 4, "operator_cap": 4, "explore_permille": 500})
    exchange = exchange_at(world, terms)
    node, other = exchange.measured("node", "other")
    exchange.round()
    bids = [(each, exchange.bid(each, 300_000)) for each in (node, other)]
    for each, bid in bids:
        exchange.seal(each, bid)
    node.join(delegation=delegation(identity("front"), node.did))
    exchange.commits_end()
    for each, bid in bids:
        exchange.reveal(each, bid)
    last = exchange.cleared()
    assert last.awards[node.did].operator == identity("front").did
    assert (last.bought, last.explored) == (2, 0)
    assert world.state.book[identity("front").did] == PACE["price_micro"]
    exchange.check()


def test_a_bid_in_the_last_millisecond_is_folded_at_the_moment_it_was_admitted_at(
    exchange: Exchange,
) -> None:
    (node,) = exchange.measured("node")
    exchange.round()
    ticks = itertools.count(exchange.market.open.round.commit_until_ms - 1)
    exchange.world.lab.clock_ms = lambda: next(ticks)
    exchange.seal(node, exchange.bid(node, 300_000))
    assert node.did in exchange.market.open.envelopes.seals
    exchange.check()


def test_a_round_of_giant_prices_and_lots_is_still_one_that_a_snapshot_holds(world: World) -> None:
    giant = {"reserve_micro": MAX_PRICE_MICRO, "lots": 3 * MAX_BID_LOTS, "operator_cap": None}
    exchange = exchange_at(world, TERMS.model_copy(update=giant))
    nodes = exchange.measured("one", "two", "three")
    exchange.round()
    bids = [(node, exchange.bid(node, 1, lots=MAX_BID_LOTS)) for node in nodes]
    for node, bid in bids:
        exchange.seal(node, bid)
    exchange.commits_end()
    for node, bid in bids:
        exchange.reveal(node, bid)
    assert exchange.cleared().bought == 3 * MAX_BID_LOTS
    assert exchange.market.past[-1].spent_micro == MAX_SEQ
    exchange.check()


@pytest.mark.parametrize("goes", ["leaves", "is withdrawn"])
def test_once_the_cheapest_is_gone_a_run_that_cannot_pay_the_others_says_so(
    world: World, goes: str
) -> None:
    exchange = exchange_at(world)
    cheap, dear = exchange.measured("cheap", "dear")
    exchange.sell(cheap=1, dear=2)
    last = changed(exchange.market.last, cheapest_micro=1)
    last = changed(last, awards=last.awards.put(cheap.did, Award(cheap.did, cheap.did, (1,))))
    before = with_market(world.state, "run", changed(exchange.market, last=last))
    assert least_micro(before, before.runs["run"]) == 1
    statement = (
        world.statement(cheap.identity, NodeLeft)
        if goes == "leaves"
        else world.statement(cheap.identity, BidWithdrawn, run="run", number=1, node=cheap.did)
    )
    after = apply(before, statement, world.now_ms)
    assert after.markets["run"].last.awards.keys() == {dear.did}
    assert least_micro(after, after.runs["run"]) == TERMS.reserve_micro * GROUP_TOKENS // 10**6


def test_names_that_only_joined_do_not_raise_the_price_to_the_reserve(world: World) -> None:
    exchange = exchange_at(world, TERMS.model_copy(update={"lots": None}))
    exchange.measured("one", "two")
    for number in range(8):
        world.provider(f"idle {number}")
    last = exchange.sell(one=300_000, two=400_000)
    assert (last.lots, last.price_micro) == (1, 400_000)


def test_who_is_new_to_any_run_with_room_for_newcomers_is_not_set_aside(world: World) -> None:
    exchange = exchange_at(world, TERMS.model_copy(update={"deposit_micro": 0}))
    _, _, third = exchange.measured("one", "other", "third")
    exchange.sell(one=300_000, other=400_000, third=500_000)
    assert awards.is_on_hold(world.state, third.did, world.now_ms)
    terms = TERMS.model_copy(update={"deposit_micro": 10**9})
    second = exchange_at(world, terms, "second")
    state = with_market(world.state, "second", exchange.market)
    assert second.name == "second"
    assert not awards.is_on_hold(state, third.did, world.now_ms), "it cannot pay that deposit"


def test_a_run_whose_last_evaluation_nobody_does_keeps_nothing_of_its_sponsors(
    world: World,
) -> None:
    exchange = exchange_at(world, versions=1, evaluate_every=1)
    (node,) = exchange.measured("node")
    exchange.learner.kinds = ("update",)
    finish(world, exchange.learner, [node])
    assert world.run().phase is Phase.COMPLETE
    assert "run" in world.state.live, "an evaluation is due"
    assert escrow("run") not in world.state.book
    with pytest.raises(RunOver):
        world.speak(world.operator, RunFunded, run="run", micro=1)
    exchange.check()
