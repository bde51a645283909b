"""What a lab shows of a run's market. Pure.

Law: what is sealed is shown to nobody, nor is what was revealed before everybody had to: only how many did.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from archipel.lab.awards import in_force, is_bought, rate_micro
from archipel.lab.markets import Cleared, OpenRound, RunMarket, price_of
from archipel.lab.programmes import rl
from archipel.lab.providers import account_of
from archipel.lab.qualities import KIND, is_newcomer, needed_milli, quality_in, quality_of
from archipel.lab.standby import why_held_back
from archipel.lab.state import LabState, Run
from archipel.market.health import herfindahl, shares_permille
from archipel.records.bids import Bid
from archipel.records.market_documents import (
    AwardView,
    ClearingView,
    MarketView,
    OfferView,
    OwnView,
    PastView,
    RoundView,
)


class NoMarket(ValueError):
    """The run pays its posted price."""


def market_view(
    state: LabState, run: Run, now_ms: int, rows: int, node: str | None = None
) -> MarketView:
    """A run's market, with at most `rows` awards and bids of the last clearing.

    Raises:
        NoMarket: the run has none.
    """
    terms = run.opened.pace.market
    if terms is None:
        raise NoMarket(f"run {run.name} has no market; it pays the price that its recipe posts")
    market: RunMarket = state.markets.get(run.name, RunMarket())
    pace = rl.pace(run)
    return MarketView(
        run=run.name,
        now_ms=now_ms,
        terms=terms,
        posted_micro=pace.price_micro,
        tokens_per_group=pace.group_size * pace.max_new_tokens,
        in_force=in_force(state, run) is not None,
        needed_milli=needed_milli(run, terms),
        round=None if market.open is None else _round(market.open, now_ms),
        last=None if market.last is None else _clearing(state, run, market.last, rows),
        past=tuple(
            PastView(
                number=each.number,
                at_ms=each.at_ms,
                price_micro=each.price_micro,
                lots=each.lots,
                bought=each.bought,
                bids=each.bids,
                spent_micro=each.spent_micro,
            )
            for each in market.past
        ),
        own=None if node is None else _own(state, run, market, node, now_ms),
    )


def _round(opening: OpenRound, now_ms: int) -> RoundView:
    phase = "clearing"
    if now_ms < opening.round.reveal_until_ms:
        phase = "committing" if now_ms < opening.round.commit_until_ms else "revealing"
    return RoundView(
        number=opening.number,
        entry=opening.entry,
        market=opening.round.market,
        phase=phase,
        lots=opening.lots,
        commit_until_ms=opening.round.commit_until_ms,
        reveal_until_ms=opening.round.reveal_until_ms,
        sealed=len(opening.envelopes.seals),
        revealed=len(opening.envelopes.bids),
    )


def _clearing(state: LabState, run: Run, last: Cleared, rows: int) -> ClearingView:
    by_price = sorted(last.awards.values(), key=lambda each: (price_of(each), each.seller))
    by_ask = sorted(last.book.items(), key=lambda item: (item[1].price_micro, item[0]))
    lots = Counter[str]()
    for award in by_price:
        lots[award.operator] += len(award.prices)
    regions = (
        (last.book[each.seller].region, len(each.prices))
        for each in by_price
        if each.seller in last.book
    )
    return ClearingView(
        number=last.number,
        entry=last.entry,
        at_ms=last.at_ms,
        price_micro=last.price_micro,
        lots=last.lots,
        bought=last.bought,
        short=last.short,
        bids=len(last.book),
        awards=tuple(
            AwardView(
                node=each.seller,
                operator=each.operator,
                price_micro=price_of(each),
                lots=len(each.prices),
                is_newcomer=each.is_newcomer,
            )
            for each in by_price[:rows]
        ),
        book=tuple(_offers(state, run, last, islice(by_ask, rows))),
        operators_hhi=herfindahl(lots),
        regions_permille=shares_permille(regions),
    )


def _offers(
    state: LabState, run: Run, last: Cleared, bids: Iterable[tuple[str, Bid]]
) -> Iterable[OfferView]:
    for did, bid in bids:
        award = last.awards.get(did)
        yield OfferView(
            node=did,
            operator=account_of(state, did),
            micro=bid.price_micro,
            lots=bid.lots,
            region=bid.region,
            quality_permille=quality_of(state, run, did),
            rate_milli=_rate_milli(state, did),
            won=0 if award is None else len(award.prices),
        )


def _rate_milli(state: LabState, did: str) -> int:
    """Tokens per second times 1000: its groups per second, times what a group of its had."""
    node = state.nodes.get(did)
    tally = None if node is None else node.tallies.get(KIND)
    if tally is None or not tally.units:
        return 0
    return int(tally.rate_micro * tally.tokens // (tally.units * 1000))


def _own(state: LabState, run: Run, market: RunMarket, did: str, now_ms: int) -> OwnView:
    opening, last = market.open, market.last
    award = None if last is None else last.awards.get(did)
    known, terms = quality_of(state, run, did), run.opened.pace.market
    why = why_held_back(run, did, now_ms)
    due = 0 if terms is None or is_newcomer(state, run, did) else terms.deposit_micro
    if opening is not None:
        is_known = quality_in(state, opening.qualities, did) is not None
        due = opening.round.deposit_micro if is_known else 0
    return OwnView(
        has_sealed=opening is not None and did in opening.envelopes.seals,
        has_revealed=opening is not None and did in opening.envelopes.bids,
        deposit_micro=due,
        quality_permille=known,
        price_micro=rate_micro(state, run, did, KIND, now_ms),
        is_bought=is_bought(state, run, did, KIND, now_ms),
        lots=0 if award is None else len(award.prices),
        standby=None if why is None else why.value,
    )
