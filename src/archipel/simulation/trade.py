"""What providers say in a market, and what the lab's state says of it. Who is bought at what price the lab's own rounds decide.

A provider asks what its hour is worth to it: the truth is the best ask (decision 0048). It seals and reveals its bid
within the round's times, if it is there then.
"""

from collections.abc import Callable

from archipel.lab import refusals
from archipel.lab.awards import in_force
from archipel.lab.markets import Cleared
from archipel.lab.state import LabState
from archipel.records.bids import MAX_BID_LOTS, Bid, seal_of
from archipel.records.canonical import sha256_digest
from archipel.records.recipe_market import MAX_LOTS, MarketTerms
from archipel.records.rounds import BidCommitted, BidRevealed, MarketOpened
from archipel.simulation.lab import SimulatedLab
from archipel.simulation.providers import MICRO, Provider
from archipel.simulation.scenario import Scenario
from archipel.simulation.setting import Setting
from archipel.simulation.stage import Stage

BIDDING_MS = 60_000
"""So long bids are sealed, and so long they are revealed after that."""


def market_terms(scenario: Scenario, setting: Setting) -> MarketTerms:
    """How the run buys: as many lots as its learner needs and some to stand by."""
    market, learning = scenario.market, scenario.learning
    needed = setting.central.needed_tokens_per_s * (1 + market.headroom)
    lots = min(max(round(needed / setting.lot_tokens_per_s), 1), MAX_LOTS)
    return MarketTerms(
        reserve_micro=setting.reserve_micro,
        lot_milli=max(round(setting.lot_tokens_per_s * 1000), 1),
        period_ms=round(market.period_s * 1000),
        commit_ms=min(BIDDING_MS, round(market.period_s * 400)),
        reveal_ms=min(BIDDING_MS, round(market.period_s * 400)),
        deposit_micro=round(market.deposit * MICRO),
        explore_permille=market.explore_permille,
        newcomer_permille=800,
        utilisation_permille=learning.utilisation_permille,
        lots=lots,
        operator_cap=max(round(lots * market.operator_cap), 1),
    )


def bid_of(provider: Provider, setting: Setting, opened: MarketOpened, period_ms: int) -> Bid:
    """What a provider asks in a round, and how many lots it has."""
    lots = int(provider.tokens_per_s / setting.lot_tokens_per_s)
    return Bid(
        bidder=provider.did,
        market=opened.market,
        price_micro=provider.ask_micro,
        lots=min(max(lots, 1), MAX_BID_LOTS),
        region=provider.region,
        valid_from_ms=0,
        valid_until_ms=opened.reveal_until_ms + period_ms,
    )


def sealed(lab: SimulatedLab, opened: MarketOpened, bid: Bid) -> BidCommitted:
    """The bid, under its seal."""
    return BidCommitted(
        lab=lab.did,
        author=bid.bidder,
        seq=lab.next_seq(),
        run=opened.run,
        number=opened.number,
        seal=seal_of(bid, _nonce(opened, bid)),
    )


def revealed(lab: SimulatedLab, opened: MarketOpened, bid: Bid) -> BidRevealed:
    """The bid, opened."""
    return BidRevealed(
        lab=lab.did,
        author=bid.bidder,
        seq=lab.next_seq(),
        run=opened.run,
        number=opened.number,
        bid=bid,
        nonce=_nonce(opened, bid),
    )


class Bidders:
    """Everybody who is here when a round is opened."""

    def __init__(self, world: Stage, refused: Callable[[str], None]) -> None:
        """`refused` hears the names of refusals."""
        self._world = world
        self._refused = refused

    def hear(self, opened: MarketOpened) -> None:
        """A round is open: each bids at some moment of the time for it."""
        world = self._world
        now_ms = world.events.now_ms
        for did, machine in world.machines.items():
            if machine.is_on:
                left_ms = opened.commit_until_ms - now_ms - 1
                at_ms = now_ms + int(world.chance.random() * left_ms)
                world.events.at(at_ms, self._seals, did, opened)

    def _seals(self, did: str, opened: MarketOpened) -> None:
        world = self._world
        machine = world.machines[did]
        if not machine.is_on:
            return
        period_ms = round(world.scenario.market.period_s * 1000)
        bid = bid_of(machine.provider, world.setting, opened, period_ms)
        if self._says(sealed(world.lab, opened, bid)):
            left_ms = opened.reveal_until_ms - opened.commit_until_ms - 1
            at_ms = opened.commit_until_ms + int(world.chance.random() * left_ms)
            world.events.at(at_ms, self._reveals, did, opened, bid)

    def _reveals(self, did: str, opened: MarketOpened, bid: Bid) -> None:
        if self._world.machines[did].is_on:
            self._says(revealed(self._world.lab, opened, bid))

    def _says(self, said: BidCommitted | BidRevealed) -> bool:
        try:
            self._world.lab.submit(said)
        except refusals.Refused as error:
            self._refused(type(error).__name__)
            return False
        return True


def last_round(state: LabState, run: str) -> Cleared | None:
    """The clearing that says what leases are paid; None: the posted price still holds."""
    return in_force(state, state.runs[run]) if run in state.runs else None


def _nonce(opened: MarketOpened, bid: Bid) -> str:
    return sha256_digest(f"nonce {opened.number} {bid.bidder}".encode()).removeprefix("sha256:")
