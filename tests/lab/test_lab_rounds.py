"""Rounds of a market in a whole lab: what clears them, what they pay, and what is refused without changing anything."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from archipel.identity import sign
from archipel.lab import leasing, rounds
from archipel.lab.apply import Contradiction, apply
from archipel.lab.bid_refusals import REFUSAL_OF
from archipel.lab.entry import Entry
from archipel.lab.markets import price_of
from archipel.lab.recovery import pages, replay, replayed
from archipel.lab.refusals import NotAllowed, Refused
from archipel.market import sealed
from archipel.market.journal import TREASURY, deposits, escrow, stake
from archipel.records.bids import Bid, Market
from archipel.records.money import CreditsSettled
from archipel.records.rounds import (
    BidWithdrawn,
    MarketCleared,
    MarketOpened,
)
from archipel.records.stakes import StakePut
from archipel.records.statements import RECORD_TYPE, LeaseGranted, WorkAnswered, encode
from people import Provider, envelope, identity
from trading import GROUP_TOKENS, TERMS, Exchange, exchange_at
from world import PACE, START_MS, World


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    world = World()
    yield exchange_at(world)
    world.close()


def test_nobody_waits_for_an_auction_and_then_each_answer_is_paid_by_its_award(
    exchange: Exchange,
) -> None:
    world = exchange.world
    cheap, fair, dear = exchange.measured("cheap", "fair", "dear")
    assert world.state.book.get(cheap.did) == PACE["price_micro"]
    last = exchange.sell(cheap=300_000, fair=500_000, dear=800_000)
    assert {did: price_of(award) for did, award in last.awards.items()} == {
        cheap.did: 800_000,
        fair.did: 800_000,
    }
    assert (last.price_micro, last.bought, last.short) == (800_000, 2, 0)
    before = world.state.book.get(cheap.did, 0)
    granted = cheap.ask()
    assert granted is not None
    groups = len(granted.spec.groups)  # type: ignore[union-attr]  # a rollout's
    assert granted.per_million_micro == 800_000
    assert granted.price_micro == -(-800_000 * groups * GROUP_TOKENS // 10**6)
    exchange.check()
    fields = cheap.answer_fields(granted)
    cheap.speak(WorkAnswered, **fields)
    tokens = fields["answer"].num_tokens
    assert 0 < tokens < groups * GROUP_TOKENS
    assert world.state.book.get(cheap.did, 0) - before == 800_000 * tokens // 10**6
    assert dear.ask() is None
    exchange.check()


def test_a_node_that_nobody_measured_works_at_once_within_the_newcomers_share(
    exchange: Exchange,
) -> None:
    exchange.measured("cheap", "fair", "dear")
    exchange.sell(cheap=300_000, fair=500_000, dear=800_000)
    first, second = exchange.world.provider("new"), exchange.world.provider("newer")
    fields = {"account": first.did, "direction": "in", "reference": "a deposit"}
    exchange.world.speak(exchange.world.operator, CreditsSettled, micro=200, **fields)
    granted = first.ask()
    assert granted is not None
    assert granted.per_million_micro == 800_000 * 800 // 1000
    assert second.ask() is None, "the share has room for one lease while few groups are in hands"
    first.answer(granted)
    assert first.ask() is None, "it was measured now, and has to bid"
    assert second.ask() is not None
    exchange.check()


def test_a_deposit_is_held_until_the_reveal_and_who_never_reveals_loses_it(
    exchange: Exchange,
) -> None:
    world = exchange.world
    one, other = exchange.measured("one", "other")
    new = world.provider("new")
    exchange.round()
    bids = {node.did: exchange.bid(node, 400_000) for node in (one, other, new)}
    for node in (one, other, new):
        exchange.seal(node, bids[node.did])
    before = world.state.book.get(one.did, 0)
    assert world.state.book[deposits("run")] == 2 * TERMS.deposit_micro, "a newcomer owes none"
    exchange.check()
    exchange.commits_end()
    exchange.reveal(one, bids[one.did])
    assert world.state.book[one.did] == before + TERMS.deposit_micro
    exchange.cleared()
    assert world.state.book[TREASURY] == TERMS.deposit_micro
    assert world.state.book[other.did] == PACE["price_micro"] - TERMS.deposit_micro  # type: ignore[operator]
    exchange.check()


def test_a_round_in_which_nobody_reveals_is_void_and_the_posted_price_stands(
    exchange: Exchange,
) -> None:
    (node,) = exchange.measured("node")
    exchange.round()
    last = exchange.cleared()
    assert (last.price_micro, last.bought, len(last.awards)) == (0, 0, 0)
    granted = node.ask()
    assert granted is not None
    assert granted.per_million_micro is None
    exchange.check()


def test_rounds_follow_one_another_and_the_last_clearing_counts(exchange: Exchange) -> None:
    exchange.measured("cheap", "fair", "dear")
    exchange.sell(cheap=300_000, fair=500_000, dear=800_000)
    opened_at = exchange.market.opened_at_ms
    exchange.world.tick(100)
    assert exchange.market.open is None
    exchange.world.now_ms = opened_at + TERMS.period_ms
    last = exchange.sell(cheap=700_000, fair=500_000, dear=400_000)
    assert exchange.market.number == 2
    assert sorted(price_of(award) for award in last.awards.values()) == [700_000, 700_000]
    assert exchange.nodes[0].ask() is None
    assert [past.price_micro for past in exchange.market.past] == [800_000, 700_000]
    exchange.check()


def test_an_award_ends_when_its_node_leaves_and_a_round_opens_once_none_is_left(
    exchange: Exchange,
) -> None:
    cheap, fair, _ = exchange.measured("cheap", "fair", "dear")
    exchange.sell(cheap=300_000, fair=500_000, dear=800_000)
    cheap.leave()
    assert set(exchange.market.last.awards) == {fair.did}
    exchange.world.tick(1)
    assert exchange.market.open is None
    fair.leave()
    exchange.world.tick(1)
    assert exchange.market.open is not None
    exchange.check()


def test_who_left_before_the_clearing_is_not_bought(exchange: Exchange) -> None:
    one, other = exchange.measured("one", "other")
    exchange.round()
    bids = {node.did: exchange.bid(node, 400_000) for node in (one, other)}
    for node in (one, other):
        exchange.seal(node, bids[node.did])
    exchange.commits_end()
    for node in (one, other):
        exchange.reveal(node, bids[node.did])
    one.leave()
    assert set(exchange.cleared().awards) == {other.did}
    exchange.check()


def test_a_stake_vouches_for_the_deposit_that_a_wallet_lacks(exchange: Exchange) -> None:
    world = exchange.world
    one, other = exchange.measured("one", "other")
    for node in (one, other):
        node.speak(StakePut, micro=world.state.book[node.did])
        assert node.did not in world.state.book
    staked = world.state.book[stake(one.did)]
    exchange.round()
    bids = {node.did: exchange.bid(node, 400_000) for node in (one, other)}
    for node in (one, other):
        exchange.seal(node, bids[node.did])
    assert deposits("run") not in world.state.book, "nothing is held twice"
    exchange.commits_end()
    exchange.reveal(one, bids[one.did])
    exchange.cleared()
    assert world.state.book[stake(one.did)] == staked
    assert world.state.book[stake(other.did)] == staked - TERMS.deposit_micro
    assert world.state.book[TREASURY] == TERMS.deposit_micro
    exchange.check()


def test_a_run_that_ends_calls_its_round_off_and_every_deposit_goes_back(
    exchange: Exchange,
) -> None:
    (node,) = exchange.measured("node")
    exchange.round()
    exchange.seal(node, exchange.bid(node, 400_000))
    exchange.world.stop_run()
    assert exchange.market.open is None
    assert exchange.world.state.book[node.did] == PACE["price_micro"]
    assert exchange.world.state.book.get(escrow("run"), 0) == 0
    exchange.check()


def test_a_lab_that_was_killed_amid_a_round_clears_it_by_the_same_root(exchange: Exchange) -> None:
    one, other = exchange.measured("one", "other")
    exchange.round()
    bids = {node.did: exchange.bid(node, 400_000) for node in (one, other)}
    for node in (one, other):
        exchange.seal(node, bids[node.did])
    exchange.commits_end()
    exchange.reveal(one, bids[one.did])
    other.leave()
    exchange.world.restart()
    exchange.cleared()
    exchange.check()


# --- refusals -----------------------------------------------------------------------------------


def _refusals() -> dict[str, Any]:  # noqa: C901  one way a function: the table is the test
    """What a bid is refused for -> what a node says then (exchange, node, its bid)."""

    def late(x: Exchange, node: Provider, bid: Bid) -> None:
        x.commits_end()
        x.seal(node, bid)

    def early(x: Exchange, node: Provider, bid: Bid) -> None:
        x.seal(node, bid)
        x.reveal(node, bid)

    def twice(x: Exchange, node: Provider, bid: Bid) -> None:
        x.seal(node, bid)
        x.seal(node, bid)

    def not_committed(x: Exchange, node: Provider, bid: Bid) -> None:
        x.commits_end()
        x.reveal(node, bid)

    def sealed_then(x: Exchange, node: Provider, bid: Bid, *shown: Bid, **other: Any) -> None:
        x.seal(node, bid)
        x.commits_end()
        for each in shown or (bid,):
            x.reveal(node, each, **other)

    def not_as_sealed(x: Exchange, node: Provider, bid: Bid) -> None:
        sealed_then(x, node, bid, bid.model_copy(update={"price_micro": 1}))

    def other_nonce(x: Exchange, node: Provider, bid: Bid) -> None:
        sealed_then(x, node, bid, nonce="08" * 32)

    def revealed_twice(x: Exchange, node: Provider, bid: Bid) -> None:
        sealed_then(x, node, bid, bid, bid)

    def copied(x: Exchange, node: Provider, bid: Bid) -> None:
        sealed_then(x, node, bid.model_copy(update={"bidder": identity("learner").did}))

    def other_market(x: Exchange, node: Provider, bid: Bid) -> None:
        market = Market(kind="rollout", capability="other", unit="output_token")
        sealed_then(x, node, bid.model_copy(update={"market": market}))

    def expired(x: Exchange, node: Provider, bid: Bid) -> None:
        sealed_then(x, node, bid.model_copy(update={"valid_until_ms": START_MS}))

    def absurd(x: Exchange, node: Provider, bid: Bid) -> None:
        sealed_then(x, node, bid.model_copy(update={"price_micro": TERMS.reserve_micro * 1000 + 1}))

    def of_another_round(x: Exchange, node: Provider, bid: Bid) -> None:
        x.seal(node, bid, number=2)

    def stranger(x: Exchange, node: Provider, bid: Bid) -> None:
        x.seal(x.world.provider("stranger", join=False), bid)

    def unable(x: Exchange, node: Provider, bid: Bid) -> None:
        x.seal(x.world.provider("grader", kinds=("evaluate",)), bid)

    def poor(x: Exchange, node: Provider, bid: Bid) -> None:
        purse = x.world.state.book[node.did]
        fields = {"account": node.did, "direction": "out", "reference": "all of it"}
        x.world.speak(x.world.operator, CreditsSettled, micro=purse, **fields)
        x.seal(node, bid)

    def withdraws_another(x: Exchange, node: Provider, bid: Bid) -> None:
        x.seal(node, bid)
        fields = {"run": "run", "number": x.market.number, "node": node.did}
        x.world.speak(x.world.operator, BidWithdrawn, **fields)

    def too_late_to_withdraw(x: Exchange, node: Provider, bid: Bid) -> None:
        sealed_then(x, node, bid)
        node.speak(BidWithdrawn, run="run", number=x.market.number, node=node.did)

    return {
        "bid-late": late,
        "bid-early": early,
        "bid-committed-twice": twice,
        "bid-not-committed": not_committed,
        "bid-not-as-sealed": not_as_sealed,
        "bid-not-as-sealed (nonce)": other_nonce,
        "bid-revealed-twice": revealed_twice,
        "bid-not-its-own": copied,
        "bid-not-its-own (withdrawn)": withdraws_another,
        "wrong-market": other_market,
        "wrong-market (unable)": unable,
        "bid-expired": expired,
        "absurd-price": absurd,
        "no-open-round": of_another_round,
        "not-a-bidder": stranger,
        "deposit-missing": poor,
        "bid-late (withdrawn)": too_late_to_withdraw,
    }


@pytest.mark.parametrize("name", _refusals())
def test_what_is_refused_has_its_own_name_and_changes_nothing(
    exchange: Exchange, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (node,) = exchange.measured("node")
    exchange.round()
    with pytest.raises(Refused) as refused:
        _refusals()[name](exchange, node, exchange.bid(node, 400_000))
    assert refused.value.problem == name.partition(" ")[0]
    state = exchange.world.state
    assert state.size == len(exchange.world.statements())
    exchange.check()


def test_a_full_round_takes_no_more(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = exchange.measured("one", "other")
    exchange.round()
    exchange.seal(one, exchange.bid(one, 1))
    monkeypatch.setattr(sealed, "MAX_BIDDERS", 1)
    with pytest.raises(Refused, match="bidders"):
        exchange.seal(other, exchange.bid(other, 1))
    assert {"Full"} <= REFUSAL_OF.keys()


def test_every_refusal_of_a_round_has_a_problem_type_of_its_own() -> None:
    ways = {each.__name__ for each in sealed.BidRefused.__subclasses__()}
    assert ways == REFUSAL_OF.keys()
    problems = [each.problem for each in REFUSAL_OF.values()]
    assert len(set(problems)) == len(problems)


def test_only_the_lab_opens_and_clears(exchange: Exchange) -> None:
    (node,) = exchange.measured("node")
    exchange.round()
    exchange.world.now_ms = exchange.market.open.round.reveal_until_ms
    said = rounds.cleared_by(exchange.world.state, "run", None)
    fields = said.model_dump(exclude={"lab", "author", "seq", "kind", "seed_size", "seed_root"})
    with pytest.raises(NotAllowed, match=r"only the lab itself says market\.cleared"):
        node.speak(MarketCleared, **fields)


def test_a_withdrawn_seal_is_as_if_it_had_not_been(exchange: Exchange) -> None:
    (node,) = exchange.measured("node")
    number = exchange.round()
    exchange.seal(node, exchange.bid(node, 400_000))
    node.speak(BidWithdrawn, run="run", number=number, node=node.did)
    assert exchange.world.state.book[node.did] == PACE["price_micro"]
    exchange.seal(node, bid := exchange.bid(node, 300_000))
    exchange.commits_end()
    exchange.reveal(node, bid)
    exchange.cleared()
    node.speak(BidWithdrawn, run="run", number=number, node=node.did)
    assert not exchange.market.last.awards
    exchange.check()


# --- a lab that says what is not so -------------------------------------------------------------


def _tampered(exchange: Exchange, kind: type, **changes: Any) -> list[bytes]:
    """The ledger, in which the lab has said something else in its last statement of a kind, and nothing after it."""
    entries = list(pages(exchange.world.lab.log))
    said = exchange.world.statements()
    at = max(n for n, each in enumerate(said) if isinstance(each, kind))
    changed = said[at].model_copy(update=changes)
    own = identity("lab")
    envelope = sign(own, encode(changed), RECORD_TYPE)
    at_ms = exchange.world.now_ms
    return [*entries[:at], Entry(at_ms, envelope, changed).to_bytes()]


@pytest.mark.parametrize(
    "changes",
    [
        {"price_micro": 900_000},
        {"bought": 3},
        {"short": 1},
        {"awards": "sha256:" + "0" * 64},
        {"seed_root": "sha256:" + "0" * 64},
        {"seed_size": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_whoever_replays_finds_a_lab_that_cleared_wrongly(
    exchange: Exchange, changes: dict[str, Any]
) -> None:
    exchange.measured("cheap", "fair", "dear")
    exchange.sell(cheap=300_000, fair=500_000, dear=800_000)
    honest = _tampered(exchange, MarketCleared)
    replay(exchange.world.state.lab, honest)
    with pytest.raises(Contradiction, match=r"cleared|seed"):
        replayed(exchange.world.state.lab, _tampered(exchange, MarketCleared, **changes))


def test_a_root_that_prefers_somebody_is_found_though_the_awards_fit_it(exchange: Exchange) -> None:
    """Two equal asks: the tie goes by the seed, and the lab takes one by which its friend wins."""
    exchange.measured("a", "b", "c")
    last = exchange.sell(a=400_000, b=400_000, c=400_000)
    state = exchange.world.state
    before = replay(state.lab, list(pages(exchange.world.lab.log))[: last.entry])
    others = (f"sha256:{n:064x}" for n in range(1, 100))
    said = (rounds.cleared_by(before, "run", root) for root in others)
    forged = next(
        each
        for each in said
        if set(_awarded(before, each, exchange.world.now_ms)) != set(last.awards)
    )
    with pytest.raises(Contradiction, match="last reveal"):
        replayed(
            state.lab,
            _tampered(
                exchange, MarketCleared, **forged.model_dump(include={"awards", "seed_root"})
            ),
        )


def _awarded(state: Any, said: MarketCleared, now_ms: int) -> Any:
    return rounds.cleared(state, said, now_ms).markets["run"].last.awards


@pytest.mark.parametrize(
    "changes",
    [{"lots": 3}, {"reveal_until_ms": START_MS + 10**6}, {"number": 2}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_round_on_other_terms_is_found(exchange: Exchange, changes: dict[str, Any]) -> None:
    exchange.round()
    replay(exchange.world.state.lab, _tampered(exchange, MarketOpened))
    with pytest.raises(Contradiction, match="expected"):
        replay(exchange.world.state.lab, _tampered(exchange, MarketOpened, **changes))


@pytest.mark.parametrize(
    "changes",
    [{"price_micro": 10**6}, {"per_million_micro": 10**6}, {"node": "dear"}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_lease_at_another_price_or_of_another_node_is_found(
    exchange: Exchange, changes: dict[str, Any]
) -> None:
    cheap, _, dear = exchange.measured("cheap", "fair", "dear")
    exchange.sell(cheap=300_000, fair=500_000, dear=800_000)
    assert cheap.ask() is not None
    replay(exchange.world.state.lab, _tampered(exchange, LeaseGranted))
    if "node" in changes:
        changes = {"node": dear.did}
    with pytest.raises(Contradiction, match="expected"):
        replay(exchange.world.state.lab, _tampered(exchange, LeaseGranted, **changes))


def test_a_clearing_before_its_time_cannot_follow(exchange: Exchange) -> None:
    exchange.round()
    state = exchange.world.state
    said = rounds.cleared_by(state, "run", None)
    with pytest.raises(Contradiction, match="expected the lab, from"):
        apply(state, said, exchange.market.open.round.reveal_until_ms - 1)


def test_who_waits_unbought_is_not_looked_at_before_a_round_is_cleared(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand of them would cost every record as many looks."""
    world = exchange.world
    cheap, _, dear = exchange.measured("cheap", "fair", "dear")
    exchange.sell(cheap=300_000, fair=500_000, dear=800_000)
    looked_at: list[str] = []
    grant = leasing.grant

    def counting(state: Any, request: Any, *rest: Any) -> Any:
        looked_at.append(request.author)
        return grant(state, request, *rest)

    monkeypatch.setattr(leasing, "grant", counting)

    async def story() -> Any:
        waits = asyncio.create_task(world.lab.lease(dear.request(), 5))
        await asyncio.sleep(0)
        for _ in range(3):
            world.lab.expire_leases()
        once = looked_at.count(dear.did)
        world.lab._leasing.close()
        return once, await waits

    once, answer = world.await_(story())
    assert (once, answer) == (1, None)
    assert cheap.did not in looked_at


def test_of_many_newcomers_that_wait_the_next_is_answered_when_there_is_room(
    exchange: Exchange,
) -> None:
    world = exchange.world
    exchange.measured("cheap", "fair", "dear")
    exchange.sell(cheap=300_000, fair=500_000, dear=800_000)
    first, second, third = (world.provider(name) for name in ("new", "newer", "newest"))
    granted = first.ask()
    assert granted is not None

    async def story() -> list[bool]:
        asked = [
            asyncio.create_task(world.lab.lease(each.request(), 5.0)) for each in (second, third)
        ]
        for _ in range(3):
            await asyncio.sleep(0)
        assert not any(each.done() for each in asked)
        statement = world.statement(first.identity, WorkAnswered, **first.answer_fields(granted))
        await world.lab.submit(envelope(first.identity, statement))
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=2.0)
        found = [each.done() for each in asked]
        for each in asked:
            each.cancel()
        return found

    assert world.await_(story()) == [True, False]
