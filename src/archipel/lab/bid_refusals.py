"""Why a bid is not taken: one problem type for each way (`market.sealed`, `lab.bidding`)."""

from archipel.lab.refusals import Refused


class BidRefused(Refused):
    """A bid that changes nothing."""

    problem, status = "bid-refused", 409


class BidLate(BidRefused):
    """After the time for it."""

    problem = "bid-late"


class BidEarly(BidRefused):
    """A reveal while others still seal theirs."""

    problem = "bid-early"


class BidTwice(BidRefused):
    """A second seal in one round."""

    problem = "bid-committed-twice"


class RevealedTwice(BidRefused):
    """A seal that was opened before."""

    problem = "bid-revealed-twice"


class NotCommitted(BidRefused):
    """No such bid was sealed."""

    problem = "bid-not-committed"


class NotAsSealed(BidRefused):
    """The bid and nonce are not what was sealed."""

    problem, status = "bid-not-as-sealed", 422


class NotItsOwn(BidRefused):
    """Somebody else's bid."""

    problem, status = "bid-not-its-own", 403


class WrongMarket(BidRefused):
    """For other work, or for a class that the bidder is not in."""

    problem, status = "wrong-market", 422


class BidExpired(BidRefused):
    """Not valid when work would begin."""

    problem, status = "bid-expired", 422


class AbsurdPrice(BidRefused):
    """A price that the round could never pay."""

    problem, status = "absurd-price", 422


class MarketFull(BidRefused):
    """More bidders than a round takes."""

    problem = "market-full"


class NoRound(BidRefused):
    """No such round is open."""

    problem = "no-open-round"


class NotABidder(BidRefused):
    """A key that could not do the work."""

    problem, status = "not-a-bidder", 403


class NoDeposit(BidRefused):
    """The balance is less than the deposit."""

    problem, status = "deposit-missing", 402


REFUSAL_OF: dict[str, type[BidRefused]] = {
    "Late": BidLate,
    "Early": BidEarly,
    "CommittedTwice": BidTwice,
    "RevealedTwice": RevealedTwice,
    "NotCommitted": NotCommitted,
    "NotAsSealed": NotAsSealed,
    "NotItsOwn": NotItsOwn,
    "WrongMarket": WrongMarket,
    "Expired": BidExpired,
    "AbsurdPrice": AbsurdPrice,
    "Full": MarketFull,
    "NoRound": NoRound,
    "NotABidder": NotABidder,
    "NoDeposit": NoDeposit,
}
"""Name of what `market` and `bidding` raise -> how a lab says it."""
