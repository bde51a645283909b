"""A node bids by itself: it seals what its work costs, reveals it in time and is bought; whatever happens in between."""

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents import LIMIT_S, agent_of, until
from archipel.lab.awards import in_force
from archipel.lab.markets import Cleared, price_of
from archipel.node.agent import Agent
from archipel.node.asks import Asking
from archipel.node.bidding import LOOK_S, NOTICE_S, Bidding, Traded
from archipel.node.envelopes import FILE, MAX_KEPT, Drawer, Place, Sealed
from archipel.node.exchange import LabRefused
from archipel.node.settings import NodeSettings
from archipel.node.small_files import Unreadable
from archipel.node.standing import Standing
from archipel.node.totals import Totals
from archipel.records.bids import Bid, Market, seal_of
from archipel.records.market_documents import MarketView, RoundView
from archipel.records.recipe_market import MarketTerms
from archipel.records.rounds import BidCommitted, BidRevealed
from live import live
from people import identity
from trading import exchange_at
from world import World

TERMS = MarketTerms(
    reserve_micro=10**11,
    lot_milli=100_000,
    period_ms=3_200,
    commit_ms=1_500,
    reveal_ms=1_500,
    deposit_micro=0,
    explore_permille=500,
    newcomer_permille=800,
    utilisation_permille=950,
    lots=4,
)
MARKET = Market(kind="rollout", capability="any", unit="output_token")
DID = identity("node").did
ASKING = Asking(region="eu")


def bid(price: int = 7) -> Bid:
    return Bid(
        bidder=DID,
        market=MARKET,
        price_micro=price,
        lots=1,
        region="eu",
        valid_from_ms=0,
        valid_until_ms=10,
    )


def test_what_was_sealed_is_kept_for_the_owner_alone_and_found_after_a_start(
    tmp_path: Path,
) -> None:
    place, sealed = Place("did:lab", "run", 3), Sealed.fresh(bid())
    Drawer(tmp_path).keep(place, sealed)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    again = Drawer(tmp_path)
    assert again.find(place) == sealed
    assert sealed.seal == seal_of(bid(), sealed.nonce)
    assert again.find(Place("did:lab", "run", 4)) is None
    assert again.find(Place("did:another", "run", 3)) is None
    again.drop(place)
    assert Drawer(tmp_path).find(place) is None


def test_no_two_nonces_are_the_same_and_only_so_many_bids_are_kept(tmp_path: Path) -> None:
    drawer = Drawer(tmp_path)
    assert len({Sealed.fresh(bid()).nonce for _ in range(50)}) == 50
    rows = {
        Place("lab", "run", n).key: {"bid": bid().model_dump_json(), "nonce": "0" * 64}
        for n in range(MAX_KEPT)
    }
    drawer._write(rows)
    drawer.keep(Place("lab", "run", MAX_KEPT), Sealed.fresh(bid()))
    assert drawer.find(Place("lab", "run", 0)) is None
    assert drawer.find(Place("lab", "run", 1)) is not None
    assert drawer.find(Place("lab", "run", MAX_KEPT)) is not None


def test_a_damaged_drawer_is_one_sentence(tmp_path: Path) -> None:
    place = Place("lab", "run", 1)
    Drawer(tmp_path).keep(place, Sealed.fresh(bid()))
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[:-5])
    with pytest.raises(Unreadable, match="damaged"):
        Drawer(tmp_path).find(place)


class Told:
    """A lab that is told things, and shows a round with a clock of its own."""

    def __init__(self, now_ms: int = 1_000) -> None:
        self.identity, self.clock, self.lab = identity("node"), self, "did:lab"
        self.now_ms, self.said, self.refusal = now_ms, list[tuple[str, Any]](), ""

    def now_us(self) -> int:
        return self.now_ms * 1000

    async def read(self, kind: Any, path: str, **options: Any) -> MarketView:
        fields = {"number": 3, "entry": 1, "market": MARKET, "phase": "", "lots": 1, "sealed": 0}
        ends = {"commit_until_ms": 2_000, "reveal_until_ms": 4_000, "revealed": 0}
        return MarketView(
            run="run",
            now_ms=self.now_ms,
            terms=TERMS,
            posted_micro=1,
            tokens_per_group=1,
            in_force=False,
            needed_milli=None,
            round=RoundView(**fields, **ends) if self.now_ms < 5_000 else None,
            last=None,
            past=(),
        )

    async def submit(self, kind: type, **fields: Any) -> None:
        if self.refusal:
            raise LabRefused(self.refusal, "no", 409)
        self.said.append((kind.__name__, fields))


def bidding_at(lab: Told, home: Path, asking: Asking = ASKING, **standing: Any) -> Bidding:
    """Of a node that joined, in a lab with one market."""
    at = Standing(lab=lab.lab, speed_milli=1_000_000, **standing)
    settings = NodeSettings(lab_url="http://lab", home=home, asking=asking)
    made = Bidding(lab, at, Totals(), settings)  # type: ignore[arg-type]  # has what is asked of it

    async def traded() -> list[Traded]:
        return [Traded("run", TERMS, 0)]

    made._traded = traded  # type: ignore[method-assign]
    return made


def looked(bidding: Bidding) -> float:
    return asyncio.run(bidding.look())


def test_a_bid_is_sealed_once_and_revealed_once_in_its_time(tmp_path: Path) -> None:
    lab = Told()
    bidding = bidding_at(lab, tmp_path)
    assert 1.0 <= looked(bidding) <= 2.0  # when reveals begin, and spread over half of their time
    looked(bidding)
    assert [kind for kind, _ in lab.said] == ["BidCommitted"]
    lab.now_ms = 2_000
    looked(bidding)
    looked(bidding)
    assert [kind for kind, _ in lab.said] == ["BidCommitted", "BidRevealed"]
    sealed, opened = (fields for _, fields in lab.said)
    assert sealed["seal"] == seal_of(opened["bid"], opened["nonce"])
    # 20 + 10 W at 0.313 + 0.1 a kWh and 1000 tokens a second
    assert (opened["bid"].price_micro, opened["bid"].lots, opened["bid"].region) == (3443, 10, "eu")
    assert opened["bid"].valid_from_ms <= 4_000 < opened["bid"].valid_until_ms
    lab.now_ms = 5_000
    assert 0.2 <= looked(bidding) <= LOOK_S
    assert not Drawer(tmp_path).find(Place("did:lab", "run", 3))


def test_after_a_start_the_same_bid_is_revealed_whatever_would_be_asked_now(tmp_path: Path) -> None:
    lab = Told()
    looked(bidding_at(lab, tmp_path))
    lab.refusal = "bid-committed-twice"
    looked(bidding_at(lab, tmp_path, Asking(micro=9)))  # told again: the lab knows it
    lab.refusal, lab.now_ms = "", 3_000
    looked(bidding_at(lab, tmp_path, Asking(micro=9)))
    assert [kind for kind, _ in lab.said] == ["BidCommitted", "BidRevealed"]
    assert lab.said[1][1]["bid"].price_micro == 3443


def test_what_the_lab_refuses_is_told_once_and_the_next_round_is_another_matter(
    tmp_path: Path,
) -> None:
    lab = Told()
    lab.refusal = "absurd-price"
    bidding = bidding_at(lab, tmp_path)
    looked(bidding)
    looked(bidding)
    told = [news for news in bidding._standing.news if "no bid in round 3 of run" in news]
    assert len(told) == 1
    lab.refusal, lab.now_ms = "", 2_000
    looked(bidding)
    assert not lab.said  # what was not sealed is not revealed


def test_nobody_bids_who_is_paused_or_was_never_measured(tmp_path: Path) -> None:
    lab = Told()
    looked(bidding_at(lab, tmp_path, why_paused="on battery"))
    slow = bidding_at(lab, tmp_path)
    slow._standing.speed_milli = 0
    looked(slow)
    assert not lab.said


@pytest.mark.slow
@pytest.mark.usefixtures("stub")
def test_a_node_seals_reveals_and_is_bought_at_a_price_it_can_work_for(
    world: World, folder: Path
) -> None:
    agent, last = _traded(world, folder, Asking(region="eu-north"))
    said = world.statements()
    opened = next(each.bid for each in said if isinstance(each, BidRevealed))
    assert 0 < _said(world, BidRevealed) <= _said(world, BidCommitted)
    # 20 + 10 W at 0.313 + 0.1 a kWh and 1000 tokens a second
    assert (opened.price_micro, opened.lots, opened.region) == (3443, 10, "eu-north")
    assert last is not None
    assert price_of(last.awards[DID]) >= opened.price_micro
    assert not Drawer(agent.settings.home).find(Place(world.state.lab, "run", last.number))
    assert any("what they cost it: 30 W (assumed)" in news for news in agent.standing.news)
    assert "its energy costs 0.00939" in agent.standing.hour
    world.check_replay()


@pytest.mark.slow
@pytest.mark.usefixtures("stub")
def test_a_node_that_starts_anew_reveals_what_it_sealed_before(world: World, folder: Path) -> None:
    _open(
        world, TERMS.model_copy(update={"commit_ms": 3000, "reveal_ms": 9000, "period_ms": 60_000})
    )

    async def story() -> None:
        async with live(world) as url:
            first = agent_of(folder, url, "node")
            await _at_work(world, first, lambda: _said(world, BidCommitted) == 1)
            second = agent_of(folder, url, "node", asking=Asking(micro=999))
            await _at_work(world, second, lambda: _said(world, BidRevealed) == 1)

    world.await_(story())
    assert _said(world, BidCommitted) == 1
    assert [e.bid.price_micro for e in world.statements() if isinstance(e, BidRevealed)] == [3443]


@pytest.mark.slow
@pytest.mark.usefixtures("stub")
def test_a_receipt_that_is_lost_costs_no_round(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archipel.node.client import LabClient
    from archipel.node.exchange import LabUnreachable

    submit, lost = LabClient.submit, list[str]()

    async def once_lost(self: LabClient, kind: Any, **fields: Any) -> Any:
        receipt = await submit(self, kind, **fields)
        if kind in (BidCommitted, BidRevealed) and kind.__name__ not in lost:
            lost.append(kind.__name__)
            raise LabUnreachable("the line was cut")
        return receipt

    monkeypatch.setattr(LabClient, "submit", once_lost)
    monkeypatch.setattr("archipel.node.bidding.AGAIN_S", 0.05)
    agent, last = _traded(world, folder, Asking())
    assert lost == ["BidCommitted", "BidRevealed"]
    assert last is not None
    assert DID in last.awards
    assert not any("no bid in round" in news for news in agent.standing.news)


@pytest.mark.slow
@pytest.mark.usefixtures("stub")
def test_what_the_lab_refuses_is_said_once_and_costs_no_work(world: World, folder: Path) -> None:
    absurd = Asking(micro=10**12)
    tight = TERMS.model_copy(update={"reserve_micro": 10**6})

    def refusals(agent: Agent) -> list[str]:
        return [news for news in agent.standing.news if "no bid in round" in news]

    agent, _ = _traded(world, folder, absurd, tight, lambda agent: bool(refusals(agent)))
    assert len(refusals(agent)) == 1
    assert "a price of 1000000000000 micro-credits" in refusals(agent)[0]


def _open(world: World, terms: MarketTerms) -> None:
    exchange_at(world, terms, versions=4, groups_per_update=4, max_staleness=3)


def _traded(
    world: World,
    folder: Path,
    asking: Asking,
    terms: MarketTerms = TERMS,
    happened: Callable[[Agent], bool] | None = None,
) -> tuple[Agent, Cleared | None]:
    """An agent that was at a lab until something was bought of it, or another thing happened; and the last clearing."""
    _open(world, terms)
    agents, found = list[Agent](), list[Cleared | None]()

    async def story() -> None:
        async with live(world) as url:
            agents.append(agent_of(folder, url, "node", asking=asking))
            condition = happened or (lambda agent: _is_bought(world))
            await _at_work(world, agents[0], lambda: condition(agents[0]), found)

    world.await_(story())
    return agents[0], found[0]


async def _at_work(
    world: World, agent: Agent, condition: Any, found: list[Cleared | None] | None = None
) -> None:
    bidding = Bidding(agent.client, agent.standing, agent.totals, agent.settings)
    task = asyncio.create_task(bidding.go_on())
    running = asyncio.create_task(agent.run())
    try:
        await until(condition)
        if found is not None:
            found.append(world.state.markets["run"].last)
            await bidding.look()
    finally:
        agent.stop()
        await asyncio.wait_for(running, LIMIT_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _is_bought(world: World) -> bool:
    """At a price that the market found: the node was measured before."""
    last = in_force(world.state, world.run()) if "run" in world.state.markets else None
    return last is not None and DID in last.awards


def _said(world: World, kind: type) -> int:
    return sum(isinstance(each, kind) for each in world.statements())


async def _notices(made: Bidding) -> None:
    resting = asyncio.create_task(made._rest(LOOK_S))
    await asyncio.sleep(0)
    made._standing.runs["opened-since"] = None
    await asyncio.wait_for(resting, 3 * NOTICE_S)


def test_work_of_a_run_not_met_ends_the_wait_for_the_next_look(tmp_path: Path) -> None:
    """A first round takes bids for less long than a node rests where nothing is due."""
    asyncio.run(_notices(bidding_at(Told(), tmp_path)))
