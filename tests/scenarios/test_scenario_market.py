"""A market among real processes: nodes ask, the lab clears, work is paid by award, and anybody can recompute all of it."""

import asyncio
from collections.abc import Callable

import pytest

from archipel.cli.run_budget import provide, spend
from archipel.lab.markets import price_of
from archipel.market.journal import deposits
from archipel.node.client import LabReader
from archipel.records.kinds.rollout import RolloutAnswer
from archipel.records.market_documents import MarketView
from archipel.records.recipe_market import MarketSection
from archipel.records.rounds import BidRevealed, MarketCleared
from archipel.records.statements import LeaseGranted, WorkAnswered
from cli_words import told
from stage import Outcome, Stage
from tiny import NAME

CLEARED_S = 400.0
"""The first rounds are of nodes that nobody measured, and buy nothing."""
ASKS = {"cheap": 20, "fair": 40, "dear": 60}
"""Credits per million tokens."""
MARKET = MarketSection(
    reserve=200.0,
    lot=1.0,
    lots=2,
    operator_cap=2,
    period_s=10.0,
    commit_s=3.0,
    reveal_s=3.0,
    deposit=0.0001,
)


class Sold(Outcome):
    """A ledger of a run that was ended amid its work."""

    def _check(self, versions: int) -> None:
        assert sum(self.state.book.values()) == 0

    @property
    def sold(self) -> dict[str, tuple[LeaseGranted, int]]:
        """Work that was bought by the token -> its lease, and tokens that came."""
        granted = {each.work: each for each in self.history if isinstance(each, LeaseGranted)}
        return {
            each.work: (granted[each.work], each.answer.num_tokens)
            for each in self.history
            if isinstance(each, WorkAnswered)
            and isinstance(each.answer, RolloutAnswer)
            and granted[each.work].per_million_micro is not None
        }


def seen(stage: Stage) -> MarketView:
    async def asked() -> MarketView:
        async with LabReader(stage.site.url) as lab:
            return await lab.read(MarketView, f"/runs/{NAME}/market")

    return asyncio.run(asked())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nodes_ask_a_round_clears_and_each_token_is_paid_at_the_price_it_found(
    make_stage: Callable[..., Stage],
) -> None:
    stage = make_stage(versions=2000, staleness=2)
    stage.recipe = stage.recipe.model_copy(update={"market": MARKET})
    stage.open()
    key = stage.site.home("lab") / "operator.key"
    provide(stage.site.url, key, stage.recipe, 1_000_000_000, True)
    spend(stage.site.url, key, NAME, 1_000_000_000)
    for name, ask in ASKS.items():
        stage.site.start_node(name, ["--ask", str(ask), "--lots", "1"])

    def has_cleared() -> bool:
        last = seen(stage).last
        return last is not None and last.bought == 2 and last.bids == len(ASKS)

    stage.site.wait_until(has_cleared, "a clearing of three bids", CLEARED_S)
    code, (view,) = told("market", NAME, "--lab", stage.site.url, "--json")
    assert code == 0
    assert view["last"]["bids"] == len(ASKS)
    before = stage.version()
    stage.wait(lambda: stage.version() >= before + 4, "work that is bought")
    home = stage.site.home("lab")
    stage.site.close()

    ledger = Sold(home, 0)
    market = ledger.state.markets[NAME]
    assert [each for each in market.past if each.bids == len(ASKS)]
    assert any(isinstance(each, BidRevealed) for each in ledger.history)
    assert market.last is not None
    for award in market.last.awards.values():
        assert price_of(award) >= market.last.book[award.seller].price_micro
    assert ledger.sold
    for granted, tokens in ledger.sold.values():
        rate = granted.per_million_micro
        assert rate is not None
        assert 0 < rate * tokens // 10**6 <= granted.price_micro
    assert ledger.state.book.get(deposits(NAME), 0) >= 0
    code, found = told("ledger", "verify", "--home", home, "--json")
    assert code == 0
    assert found["entries"] == ledger.state.size
    assert found["rounds_cleared"] == {NAME: market.cleared}
    cleared = [each for each in ledger.history if isinstance(each, MarketCleared)]
    assert len(cleared) == market.cleared
