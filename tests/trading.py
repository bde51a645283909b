"""A run with a market in a whole lab, and nodes that bid in it as a story says."""

from dataclasses import dataclass, field
from typing import Any

from archipel.market.journal import deposits
from archipel.records.bids import Bid, seal_of
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.recipe_market import MarketTerms
from archipel.records.rounds import BidCommitted, BidRevealed
from people import Learner, Provider
from world import PACE, World

TERMS = MarketTerms(
    reserve_micro=900_000,
    lot_milli=1000,
    period_ms=60_000,
    commit_ms=5_000,
    reveal_ms=5_000,
    deposit_micro=200,
    explore_permille=100,
    newcomer_permille=800,
    utilisation_permille=950,
    lots=2,
    operator_cap=2,
)
BUDGET = 50_000_000
NONCE = "07" * 32
GROUP_TOKENS = int(PACE["group_size"]) * int(PACE["max_new_tokens"])  # type: ignore[call-overload]


@dataclass
class Exchange:
    """A run with a market at version 0, its learner, and nodes that bid."""

    world: World
    learner: Learner
    nodes: list[Provider] = field(default_factory=list)
    name: str = "run"

    @property
    def market(self) -> Any:
        return self.world.state.markets[self.name]

    def round(self) -> int:
        """A round is open: its number."""
        self.world.tick(1)
        assert self.market.open is not None
        return int(self.market.number)

    def bid(self, node: Provider, micro: int, **other: Any) -> Bid:
        opened = self.market.open.round
        fields = {"valid_from_ms": 0, "valid_until_ms": opened.reveal_until_ms + 1} | other
        offer = {"bidder": node.did, "market": opened.market, "lots": 1, "region": "eu"}
        return Bid(**(offer | {"price_micro": micro} | fields))

    def seal(self, node: Provider, bid: Bid, **other: Any) -> None:
        said = {"run": self.name, "number": self.market.number, "seal": seal_of(bid, NONCE)}
        node.speak(BidCommitted, **(said | other))

    def reveal(self, node: Provider, bid: Bid, **other: Any) -> None:
        said = {"run": self.name, "number": self.market.number, "bid": bid, "nonce": NONCE}
        node.speak(BidRevealed, **(said | other))

    def commits_end(self) -> None:
        self.world.now_ms = self.market.open.round.commit_until_ms

    def cleared(self) -> Any:
        """What the round came to, once its time is up."""
        self.world.now_ms = self.market.open.round.reveal_until_ms
        self.world.tick(0)
        assert self.market.open is None
        return self.market.last

    def sell(self, **asks: int) -> Any:
        """A whole round: the named nodes ask so much for a lot."""
        self.round()
        bids = {
            name: self.bid(self.world.provider(name, join=False), micro)
            for name, micro in asks.items()
        }
        for name, bid in bids.items():
            self.seal(self.world.provider(name, join=False), bid)
        self.commits_end()
        for name, bid in bids.items():
            self.reveal(self.world.provider(name, join=False), bid)
        return self.cleared()

    def measured(self, *names: str) -> list[Provider]:
        """Nodes whose first answer was accepted at the posted price."""
        self.nodes = [self.world.provider(name) for name in names]
        for node in self.nodes:
            node.prove(1000)
        return self.nodes

    def check(self) -> None:
        """Credits are conserved, nothing is promised that is not held, and a replay comes to the same."""
        state = self.world.state
        assert sum(state.book.values()) == 0
        assert all(
            micro >= 0
            for name, micro in state.book.items()
            if ":" in name and not name.startswith("did:")
        )
        held = sum(lease.price_micro for lease in state.leases.values())
        assert state.book.get(f"held:{self.name}", 0) == held
        opening = self.market.open
        due = sum(opening.deposits.values()) if opening else 0
        assert state.book.get(deposits(self.name), 0) == due
        self.world.check_replay()


def exchange_at(
    world: World, terms: MarketTerms = TERMS, name: str = "run", **pace: Any
) -> Exchange:
    """A funded run with a market, at version 0."""
    world.open_run(name, market=terms, **({"versions": 40} | pace))
    world.speak(
        world.operator,
        CreditsSettled,
        account=world.operator.did,
        direction="in",
        micro=2 * BUDGET,
        reference=f"for {name}",
    )
    world.speak(world.operator, RunFunded, run=name, micro=BUDGET)
    learner = world.learner()
    learner.work()
    return Exchange(world, learner, name=name)
