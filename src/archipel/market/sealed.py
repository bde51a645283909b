"""A round of sealed bids: first everybody commits, then everybody reveals, then it is cleared. Pure.

Law: what is refused changes nothing, and each refusal has its own error. Who commits and never reveals
forfeits the deposit: otherwise a bidder could wait for the others' reveals and then choose to have asked or not.
"""

import hmac
from dataclasses import dataclass, field, replace

from archipel.records.bids import Bid, Market, seal_of
from archipel.records.fields import Did, Digest
from archipel.records.table import Table

MAX_BIDDERS = 65_536
"""Of one round."""


class BidRefused(ValueError):
    """A commitment or reveal that changes nothing."""


class Late(BidRefused):
    """After the time for it."""


class Early(BidRefused):
    """Before the time for it: a reveal while others still commit would tell them the price."""


class CommittedTwice(BidRefused):
    """A second commitment: only one of them could be meant."""


class NotCommitted(BidRefused):
    """A reveal of what was never sealed."""


class RevealedTwice(BidRefused):
    """A second reveal of a seal that was opened."""


class NotAsSealed(BidRefused):
    """The bid and nonce are not what was committed."""


class NotItsOwn(BidRefused):
    """Somebody else's bid."""


class WrongMarket(BidRefused):
    """A bid for other work, or for a class that the bidder is not in."""


class Expired(BidRefused):
    """A bid that is not valid when work would begin."""


class AbsurdPrice(BidRefused):
    """A price that the round could never pay."""


class Full(BidRefused):
    """More bidders than a round takes."""


@dataclass(frozen=True, slots=True)
class Round:
    """The terms of a round, known before anybody bids."""

    market: Market
    commit_until_ms: int
    reveal_until_ms: int
    """Also when work begins: a bid must be valid then."""
    most_micro: int
    """The highest price, per million units, that is a price at all; a bid above the reserve merely does not win."""
    deposit_micro: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.commit_until_ms < self.reveal_until_ms:
            raise ValueError(
                f"got commitments until {self.commit_until_ms} and reveals until {self.reveal_until_ms} ms;"
                " expected the first before the second"
            )


@dataclass(frozen=True, slots=True)
class Envelopes:
    """What was committed and revealed so far."""

    seals: Table[Did, Digest] = field(default_factory=Table)
    bids: Table[Did, Bid] = field(default_factory=Table)


def commit(round_: Round, so_far: Envelopes, bidder: Did, seal: Digest, at_ms: int) -> Envelopes:
    """The envelopes with this one.

    Raises:
        Late: at or after the end of commitments.
        CommittedTwice: this bidder has one.
        Full: MAX_BIDDERS have one.
    """
    if at_ms >= round_.commit_until_ms:
        raise Late(
            f"a commitment at {at_ms} ms; expected before {round_.commit_until_ms}: bid in the next round"
        )
    if bidder in so_far.seals:
        raise CommittedTwice(
            f"a second commitment by {bidder}; expected one a round: reveal the first"
        )
    if len(so_far.seals) >= MAX_BIDDERS:
        raise Full(
            f"{MAX_BIDDERS} bidders; expected no more in a round: bid again in the next round"
        )
    return replace(so_far, seals=so_far.seals.put(bidder, seal))


def reveal(
    round_: Round, so_far: Envelopes, bidder: Did, opened: tuple[Bid, str], at_ms: int
) -> Envelopes:
    """The envelopes with this bid. opened: what was sealed, and its nonce.

    Raises:
        BidRefused: the first of its kinds that applies, in the order of this module's checks.
    """
    bid, nonce = opened
    if at_ms < round_.commit_until_ms:
        raise Early(
            f"a reveal at {at_ms} ms; expected from {round_.commit_until_ms} on: wait until then"
        )
    if at_ms >= round_.reveal_until_ms:
        raise Late(
            f"a reveal at {at_ms} ms; expected before {round_.reveal_until_ms}: the deposit is lost"
        )
    _check_seal(so_far, bidder, bid, nonce)
    _check_bid(round_, bid)
    return replace(so_far, bids=so_far.bids.put(bidder, bid))


def forfeits(round_: Round, so_far: Envelopes) -> dict[Did, int]:
    """Who loses how many micro-credits for having sealed a bid without ever revealing it; once reveals are over."""
    silent = sorted(bidder for bidder in so_far.seals if bidder not in so_far.bids)
    return dict.fromkeys(silent, round_.deposit_micro)


def _check_seal(so_far: Envelopes, bidder: Did, bid: Bid, nonce: str) -> None:
    if bidder not in so_far.seals:
        raise NotCommitted(
            f"a reveal by {bidder}; expected a commitment first: bid in the next round"
        )
    if bidder in so_far.bids:
        raise RevealedTwice(f"a second reveal by {bidder}; expected one: the first stands")
    if bid.bidder != bidder:
        raise NotItsOwn(f"a bid of {bid.bidder} from {bidder}; expected its own")
    if not hmac.compare_digest(seal_of(bid, nonce), so_far.seals[bidder]):
        raise NotAsSealed(
            "the revealed bid has another digest than its commitment; expected the same bid and nonce"
        )


def _check_bid(round_: Round, bid: Bid) -> None:
    if bid.market != round_.market:
        raise WrongMarket(
            f"a bid for {_named(bid.market)}; expected {_named(round_.market)}: bid where this work is traded"
        )
    if not bid.valid_from_ms <= round_.reveal_until_ms < bid.valid_until_ms:
        raise Expired(
            f"a bid valid from {bid.valid_from_ms} to {bid.valid_until_ms} ms;"
            f" expected it to hold at {round_.reveal_until_ms}, when work begins"
        )
    if bid.price_micro > round_.most_micro:
        raise AbsurdPrice(
            f"a price of {bid.price_micro} micro-credits a million; expected at most {round_.most_micro}"
        )


def _named(market: Market) -> str:
    return f"{market.kind}/{market.capability}/{market.unit}"
