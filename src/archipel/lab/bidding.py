"""Bids in a lab: sealed, revealed, withdrawn; and the deposits that they hold. Pure; parts of `admission` and `apply`.

Law: whether a bid is taken is asked of one place: `admit` folds it and throws the result away, so a refusal changes
nothing and what is admitted can be folded.
"""

from archipel.lab import bid_refusals
from archipel.lab.markets import OpenRound, RunMarket, without
from archipel.lab.providers import account_of, is_here, standing_of
from archipel.lab.qualities import is_able, quality_in
from archipel.lab.rounds import with_market
from archipel.lab.stakes import staked_micro
from archipel.lab.state import LabState, Run
from archipel.market import sealed
from archipel.market.journal import Move, Posting, deposits, post, wallet
from archipel.records.changed import changed
from archipel.records.rounds import BidCommitted, BidRevealed, BidWithdrawn

Bidding = BidCommitted | BidRevealed | BidWithdrawn


class NoRound(sealed.BidRefused):
    """No such round is open."""


class NotABidder(sealed.BidRefused):
    """A key that could not do the work."""


class NoDeposit(sealed.BidRefused):
    """Balance and stake are less than the deposit."""


def admit(state: LabState, said: Bidding, now_ms: int) -> None:
    """Refuse what `followed` would not take."""
    try:
        followed(state, said, now_ms)
    except sealed.BidRefused as error:
        raise bid_refusals.REFUSAL_OF[type(error).__name__](str(error)) from None


def followed(state: LabState, said: Bidding, at_ms: int) -> LabState:
    """The state after a bid was sealed, revealed or withdrawn.

    Raises:
        BidRefused: the first of its kinds that applies; nothing changed.
    """
    run = state.runs.get(said.run)
    market: RunMarket | None = state.markets.get(said.run)
    if run is None or market is None:
        raise NoRound(
            f"no round of a run {said.run!r:.80} was opened here; `archipel market` shows those that were"
        )
    match said:
        case BidCommitted():
            return _committed(state, run, market, said, at_ms)
        case BidRevealed():
            return _revealed(state, run, market, said, at_ms)
        case BidWithdrawn():
            return _withdrawn(state, market, said, at_ms)


def _round(market: RunMarket, said: Bidding) -> OpenRound:
    if market.open is None or market.open.number != said.number:
        now = f"round {market.open.number} is" if market.open else "none is"
        raise NoRound(
            f"a bid in round {said.number} of {said.run}; {now} open: bid in the one that is, or wait for the next"
        )
    return market.open


def _committed(
    state: LabState, run: Run, market: RunMarket, said: BidCommitted, at_ms: int
) -> LabState:
    opening, did = _round(market, said), said.author
    _check_bidder(state, run, did)
    envelopes = sealed.commit(opening.round, opening.envelopes, did, said.seal, at_ms)
    purse = wallet(account_of(state, did))
    is_known = quality_in(state, opening.qualities, did) is not None
    due = opening.round.deposit_micro if is_known else 0
    balance = max(int(state.book.get(purse, 0)), 0)
    if balance + staked_micro(state, did) < due:
        raise NoDeposit(
            f"a deposit of {due} micro-credits, and balance and stake are {balance + staked_micro(state, did)}; bid "
            "once it is there (`archipel account show`)"
        )
    micro = min(balance, due)
    state = changed(
        state, book=post(state.book, (Posting(Move.HOLD, purse, deposits(run.name), micro),))
    )
    held = opening.deposits.put(did, micro) if micro else opening.deposits
    return _with(state, run.name, market, changed(opening, envelopes=envelopes, deposits=held))


def _check_bidder(state: LabState, run: Run, did: str) -> None:
    """Whether this key could be leased the work at all."""
    node = state.nodes.get(did)
    if node is None or not is_here(state, did):
        raise NotABidder(f"a bid of {did}, which has not joined; expected a node that is here")
    if standing_of(state, did).quarantine is not None:
        raise NotABidder(f"a bid of {did}, which is in quarantine and is given no work")
    if not is_able(run, node):
        need = run.opened.pace.needs or "rollout work"
        raise sealed.WrongMarket(
            f"a bid of {did} for work that needs {need}, which it has not stated: bid where it can work"
        )


def _revealed(
    state: LabState, run: Run, market: RunMarket, said: BidRevealed, at_ms: int
) -> LabState:
    opening, did = _round(market, said), said.author
    opened = (said.bid, said.nonce)
    envelopes = sealed.reveal(opening.round, opening.envelopes, did, opened, at_ms)
    opening = changed(opening, envelopes=envelopes, last_reveal=state.size + 1)
    return _given_back(state, run.name, market, opening, did)


def _withdrawn(state: LabState, market: RunMarket, said: BidWithdrawn, at_ms: int) -> LabState:
    """While bids are sealed, a bid is gone as if it had not been; later, an award ends."""
    if account_of(state, said.node) != said.author:
        raise sealed.NotItsOwn(
            f"{said.author} withdraws a bid of {said.node}; expected the operator of that node, or itself"
        )
    last = market.last
    if last is not None and last.number == said.number:
        if said.node not in last.awards:
            raise sealed.NotCommitted(f"{said.node} has no award of round {said.number}")
        return with_market(state, said.run, changed(market, last=without(last, (said.node,))))
    opening = _round(market, said)
    if said.node not in opening.envelopes.seals:
        raise sealed.NotCommitted(f"{said.node} has no bid in round {said.number}")
    if at_ms >= opening.round.commit_until_ms:
        raise sealed.Late(
            f"a bid withdrawn at {at_ms} ms; expected before {opening.round.commit_until_ms}: it stands, or its deposit "
            "is lost"
        )
    seals = opening.envelopes.seals.drop(said.node)
    opening = changed(opening, envelopes=changed(opening.envelopes, seals=seals))
    return _given_back(state, said.run, market, opening, said.node)


def _given_back(
    state: LabState, name: str, market: RunMarket, opening: OpenRound, did: str
) -> LabState:
    """A deposit is held no more."""
    micro = opening.deposits.get(did, 0)
    if micro:
        back = Posting(Move.REFUND, deposits(name), wallet(account_of(state, did)), micro)
        state = changed(state, book=post(state.book, (back,)))
        opening = changed(opening, deposits=opening.deposits.drop(did))
    return _with(state, name, market, opening)


def _with(state: LabState, name: str, market: RunMarket, opening: OpenRound) -> LabState:
    return with_market(state, name, changed(market, open=opening))
