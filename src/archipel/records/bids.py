"""What a provider asks for its work, and the digest that seals it until everybody has asked.

A seal is the digest of canonical bytes that hold the bid, its bidder and a nonce: nobody learns the price from
it (the nonce has 256 bits), nobody can open it as another bid, and a copied seal opens for nobody else.
"""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.fields import MAX_PRICE_MICRO, Closed, Count, Did, Digest, KindName, Millis

MAX_BID_LOTS = 4096
"""Lots that one bid offers at most."""

Unit = Literal["output_token", "training_token", "audited_token"]
"""What a price is for: a million verified tokens sampled, trained on, or audited."""
ClassName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}$")]
"""A capability class: what a machine must be able to do to take part in a market."""
RegionName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
"""Where a machine says it stands; nobody proves it."""
Nonce = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Market(Closed):
    """What is traded: work of one kind by machines of one class."""

    kind: KindName
    capability: ClassName
    unit: Unit


class Bid(Closed):
    """An offer to do up to `lots` lots of work at `price_micro` a million units, until `valid_until_ms`."""

    bidder: Did
    market: Market
    price_micro: Annotated[int, Field(ge=1, le=MAX_PRICE_MICRO)]
    """Micro-credits per million verified units; nothing is asked for nothing."""
    lots: Annotated[int, Field(ge=1, le=MAX_BID_LOTS)]
    """How many lots it can deliver in the round's period; what a lot is, the round says."""
    region: RegionName
    valid_from_ms: Millis
    valid_until_ms: Count


def seal_of(bid: Bid, nonce: Nonce) -> Digest:
    """The digest by which a bidder commits to `bid` before it says what it is. nonce: 64 hexadecimal digits."""
    sealed = {"sealed": "archipel-bid-1", "bid": bid.model_dump(mode="json"), "nonce": nonce}
    return sha256_digest(canonical_json(sealed))
