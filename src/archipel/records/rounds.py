"""What is said in a market: a round is opened, bids are sealed and revealed, the round is cleared (decision 0048).

Law: a clearing is nobody's decision. What a round comes to follows from its bids, its terms, the qualities at its
opening and the tree head after the last reveal; whoever folds the ledger computes it again and finds a lab that says
otherwise.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from archipel.records.bids import Bid, Market, Nonce
from archipel.records.fields import (
    MAX_PRICE_MICRO,
    Count,
    Did,
    Digest,
    LeftOut,
    Millis,
    RunName,
    Sparing,
)
from archipel.records.recipe_market import MAX_LOTS
from archipel.records.statement import Statement

RoundNumber = Annotated[int, Field(ge=1, le=2**40)]
"""Of a run's rounds, from 1 on."""


class MarketOpened(Statement):
    """The lab opens a round of a run's market; bidders' qualities are those at this entry."""

    kind: Literal["market.opened"] = "market.opened"
    run: RunName
    number: RoundNumber
    market: Market
    lots: Annotated[int, Field(ge=1, le=MAX_LOTS)]
    """Wanted."""
    commit_until_ms: Millis
    """Unix time; sealed bids are taken before it."""
    reveal_until_ms: Millis
    """Reveals are taken before it; then work begins at the prices that come out."""


class BidCommitted(Statement):
    """A node bids; nobody can tell what."""

    kind: Literal["bid.committed"] = "bid.committed"
    run: RunName
    number: RoundNumber
    seal: Digest
    """`records.bids.seal_of`."""


class BidRevealed(Statement):
    """A node says what it had sealed."""

    kind: Literal["bid.revealed"] = "bid.revealed"
    run: RunName
    number: RoundNumber
    bid: Bid
    nonce: Nonce


class BidWithdrawn(Statement):
    """An operator takes back the bid of a node whose key is lost: before reveals begin its deposit comes back, later
    it is lost; what was bought of it in the last round ends.
    """

    kind: Literal["bid.withdrawn"] = "bid.withdrawn"
    run: RunName
    number: RoundNumber
    node: Did


class MarketCleared(Statement, Sparing):
    """The lab says what a round came to; a round in which nobody revealed has no root and buys nothing."""

    kind: Literal["market.cleared"] = "market.cleared"
    run: RunName
    number: RoundNumber
    price_micro: Annotated[int, Field(ge=0, le=MAX_PRICE_MICRO)]
    """Micro-credits per million units at full quality: the first score that was not bought; 0 in a void round."""
    bought: Annotated[int, Field(ge=0, le=MAX_LOTS)]
    """Lots."""
    short: Annotated[int, Field(ge=0, le=MAX_LOTS)]
    """Lots wanted that nobody offered within the reserve."""
    awards: Digest
    """Of the canonical JSON of `[[node, operator, [price, ...], is_newcomer], ...]`, by node."""
    seed_size: Annotated[Count | None, LeftOut] = None
    """Entries up to the last reveal, that one included."""
    seed_root: Annotated[Digest | None, LeftOut] = None
    """Merkle tree hash (RFC 6962) of these entries: ties are broken by it, which nobody knew when sealing."""


Trading: TypeAlias = MarketOpened | BidCommitted | BidRevealed | BidWithdrawn | MarketCleared
"""What may stand in a ledger of that."""
