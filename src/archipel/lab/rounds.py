"""Rounds of a run's market: when one is due, what opens it, what its clearing is, how it ends without one. Pure.

    COMMITTING until `commit_until_ms`: sealed bids (`lab.bidding`)
    REVEALING  until `reveal_until_ms`: bids and their nonces
    CLEARED    the lab says what came of it; VOID where nobody revealed
    CALLED OFF the run is over: every deposit goes back
Law: `market.cleared` says what `clearing.clear` gives of the round's bids, of its qualities and of the root of the
entries up to the last reveal; the fold computes it again and takes nothing else.
"""

import re

from archipel.lab.amends import slashed
from archipel.lab.awards import in_force
from archipel.lab.markets import MAX_PAST, Cleared, OpenRound, Past, RunMarket, price_of
from archipel.lab.node_pauses import may_work
from archipel.lab.providers import account_of, standing_of
from archipel.lab.qualities import KIND, lots_wanted, qualities, quality_in
from archipel.lab.state import OPEN_PHASES, LabState, Phase, Run
from archipel.market import clearing, sealed
from archipel.market.journal import TREASURY, Move, Posting, deposits, post, wallet
from archipel.records.bids import Market
from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.changed import changed
from archipel.records.fields import MAX_PRICE_MICRO, MAX_SEQ
from archipel.records.recipe_market import MarketTerms
from archipel.records.rounds import MarketCleared, MarketOpened
from archipel.records.table import Table

ABSURD = 1000
"""A price above so many times the reserve is none."""
MAX_OPENING_LAG_MS = 60_000
"""An opening is in the ledger so long after the lab wrote it, at most."""


def market_of(run: Run) -> Market:
    """What is traded: rollouts, by machines that can do this run's."""
    return Market(kind=KIND, capability=_capability(run.opened.pace.needs), unit="output_token")


def _capability(need: str | None) -> str:
    """What a run needs of a node in one word; a digest where it has several or is long."""
    if need is None:
        return "any"
    if re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,31}", need):
        return need
    return f"needs-{sha256_digest(need.encode()).removeprefix('sha256:')[:24]}"


def opening_due(state: LabState, now_ms: int) -> MarketOpened | None:
    """A round that is due: a run's first once version 0 is there, then one each period, and at once when all awards
    have ended.
    """
    for name in state.live:
        run = state.runs[name]
        terms = run.opened.pace.market
        if terms is None or not is_due(state, run, terms, now_ms):
            continue
        commit_until_ms = now_ms + terms.commit_ms
        return MarketOpened(
            lab=state.lab,
            author=state.lab,
            seq=int(state.sequences.get(state.lab, 0)) + 1,
            run=name,
            number=_market(state, name).number + 1,
            market=market_of(run),
            lots=lots_wanted(state, run, terms),
            commit_until_ms=commit_until_ms,
            reveal_until_ms=commit_until_ms + terms.reveal_ms,
        )
    return None


def is_due(state: LabState, run: Run, terms: MarketTerms, now_ms: int) -> bool:
    """Whether a round of this run should be opened."""
    market = _market(state, run.name)
    if run.phase is not Phase.RUNNING or run.paused is not None or market.open is not None:
        return False
    last = in_force(state, run)
    has_lost_all = last is not None and last.bought > 0 and not last.awards
    return not market.number or has_lost_all or now_ms >= market.opened_at_ms + terms.period_ms


def opened(state: LabState, said: MarketOpened, at_ms: int) -> LabState:
    """The state after a round was opened.

    Raises:
        ValueError: not by the lab, not due, or not on the run's terms.
    """
    run = state.runs[said.run]
    terms = run.opened.pace.market
    if said.author != state.lab or terms is None:
        raise ValueError(
            f"{said.author} opens a round of {run.name}; expected the lab, and a run with a market"
        )
    if not is_due(state, run, terms, at_ms):
        raise ValueError(f"no round of {run.name} is due")
    market = _market(state, run.name)
    lag_ms = at_ms + terms.commit_ms - said.commit_until_ms
    expected = (market.number + 1, market_of(run), lots_wanted(state, run, terms), terms.reveal_ms)
    told = (said.number, said.market, said.lots, said.reveal_until_ms - said.commit_until_ms)
    if told != expected or not 0 <= lag_ms <= MAX_OPENING_LAG_MS:
        raise ValueError(f"a round on terms {told}, {lag_ms} ms old; expected {expected}, at once")
    opening = OpenRound(
        number=said.number,
        entry=state.size,
        round=sealed.Round(
            market=said.market,
            commit_until_ms=said.commit_until_ms,
            reveal_until_ms=said.reveal_until_ms,
            most_micro=min(terms.reserve_micro * ABSURD, MAX_PRICE_MICRO),
            deposit_micro=terms.deposit_micro,
        ),
        lots=said.lots,
        qualities=qualities(state, run),
    )
    market = changed(market, number=said.number, opened_at_ms=at_ms, open=opening)
    return with_market(state, run.name, market)


def clearable(state: LabState, now_ms: int) -> list[str]:
    """Runs whose round has taken all its reveals."""
    found = [(name, _market(state, name).open) for name in state.live if name in state.markets]
    return [name for name, each in found if each and now_ms >= each.round.reveal_until_ms]


def cleared_by(state: LabState, name: str, root: str | None) -> MarketCleared:
    """What the lab says of the round of this run that is to be cleared; root: of the entries up to its last reveal."""
    opening = _open(state, name)
    last = _cleared(state, state.runs[name], opening, root, 0)
    return MarketCleared(
        lab=state.lab,
        author=state.lab,
        seq=int(state.sequences.get(state.lab, 0)) + 1,
        run=name,
        number=opening.number,
        price_micro=last.price_micro,
        bought=last.bought,
        short=last.short,
        awards=_digest(last),
        seed_size=opening.last_reveal,
        seed_root=root,
    )


def cleared(state: LabState, said: MarketCleared, at_ms: int) -> LabState:
    """The state after a clearing: awards are what they are from now on, who kept a seal shut loses the deposit.

    Raises:
        ValueError: not by the lab, too early, or not what the round comes to.
    """
    opening, run = _open(state, said.run), state.runs[said.run]
    if said.author != state.lab or at_ms < opening.round.reveal_until_ms:
        raise ValueError(
            f"{said.author} clears round {said.number} of {run.name} at {at_ms}; expected the lab, from "
            f"{opening.round.reveal_until_ms} on"
        )
    if said.seed_size != opening.last_reveal or (said.seed_root is None) is not (
        said.seed_size is None
    ):
        raise ValueError(
            f"seed of {said.seed_size} entries; expected {opening.last_reveal}: up to the last reveal"
        )
    last = _cleared(state, run, opening, said.seed_root, at_ms)
    told = (said.number, said.price_micro, said.bought, said.short, said.awards)
    expected = (opening.number, last.price_micro, last.bought, last.short, _digest(last))
    if told != expected:
        raise ValueError(
            f"round {opening.number} of {run.name} cleared as {told}; it comes to {expected}"
        )
    state = _settled(state, run.name, opening)
    market = _market(state, run.name)
    spent = min(sum(sum(award.prices) for award in last.awards.values()), MAX_SEQ)
    bids = len(last.book)
    past = Past(said.number, at_ms, last.price_micro, last.lots, last.bought, bids, spent)
    market = changed(
        market,
        cleared=market.cleared + 1,
        open=None,
        last=last,
        past=(*market.past, past)[-MAX_PAST:],
    )
    return with_market(state, run.name, market)


def _settled(state: LabState, name: str, opening: OpenRound) -> LabState:
    """Who has sealed a bid and never revealed it loses the deposit: what was held, and what its stake vouched for."""
    for bidder, due in sealed.forfeits(opening.round, opening.envelopes).items():
        held = opening.deposits.get(bidder, 0)
        lost = Posting(Move.SLASH, deposits(name), TREASURY, held)
        state = changed(state, book=post(state.book, (lost,)))
        if quality_in(state, opening.qualities, bidder) is not None:
            state, _ = slashed(state, bidder, due - held)
    return state


def _cleared(
    state: LabState, run: Run, opening: OpenRound, root: str | None, at_ms: int
) -> Cleared:
    """What a round comes to; without a single reveal, nothing."""
    terms, book = run.opened.pace.market, opening.envelopes.bids
    if terms is None:
        raise ValueError(f"run {run.name} has no market")
    if root is None or not book:
        return Cleared(opening.number, state.size, at_ms, opening.lots, 0, opening.lots, book=book)
    asks = [
        clearing.Ask(did, account_of(state, did), bid.price_micro, bid.lots)
        for did, bid in book.items()
        if _can_work(state, did)
    ]
    wanted = clearing.Terms(
        wanted=opening.lots,
        reserve_micro=terms.reserve_micro,
        operator_cap=terms.operator_cap or -(-opening.lots // 2),
        explore_permille=terms.explore_permille,
        newcomer_permille=terms.newcomer_permille,
    )
    seed = bytes.fromhex(root.removeprefix("sha256:"))
    known = ((ask.operator, quality_in(state, opening.qualities, ask.seller)) for ask in asks)
    measured = {operator: quality for operator, quality in known if quality is not None}
    found = clearing.clear(wanted, asks, measured, seed)
    return Cleared(
        number=opening.number,
        entry=state.size,
        at_ms=at_ms,
        lots=opening.lots,
        price_micro=found.price_micro,
        short=found.short,
        awards=Table({award.seller: award for award in found.awards}),
        book=book,
        bought=sum(len(award.prices) for award in found.awards),
        explored=sum(len(award.prices) for award in found.awards if award.is_newcomer),
        cheapest_micro=min(map(price_of, found.awards), default=found.price_micro),
    )


def _can_work(state: LabState, did: str) -> bool:
    """Whether a bidder is here when work begins, not paused, and believed: what it offers could not be bought otherwise."""
    known = state.delegations.get(did)
    is_barred = known is not None and known.revoked is not None
    return may_work(state, did) and not is_barred and standing_of(state, did).quarantine is None


def _digest(last: Cleared) -> str:
    """Of what was bought; see `MarketCleared.awards`."""
    rows = sorted(last.awards.values(), key=lambda each: each.seller)
    return sha256_digest(
        canonical_json([[a.seller, a.operator, list(a.prices), a.is_newcomer] for a in rows])
    )


def called_off(state: LabState, run: Run) -> LabState:
    """A run that is over has no round any more, and every deposit goes back."""
    market: RunMarket | None = state.markets.get(run.name)
    if market is None or market.open is None or run.phase in OPEN_PHASES:
        return state
    back = [
        Posting(Move.REFUND, deposits(run.name), wallet(account_of(state, bidder)), micro)
        for bidder, micro in sorted(market.open.deposits.items())
    ]
    state = changed(state, book=post(state.book, back))
    return with_market(state, run.name, changed(market, open=None))


def with_market(state: LabState, name: str, market: RunMarket) -> LabState:
    """With the market of this run as it is now."""
    return changed(state, markets=state.markets.put(name, market))


def _market(state: LabState, name: str) -> RunMarket:
    found: RunMarket = state.markets.get(name, _NONE)
    return found


def _open(state: LabState, name: str) -> OpenRound:
    found = _market(state, name).open
    if found is None:
        raise ValueError(f"no round of {name} is open")
    return found


_NONE = RunMarket()
