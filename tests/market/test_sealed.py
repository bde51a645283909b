"""Sealed rounds: each wrong move has its own error and changes nothing."""

import hashlib

import pytest

from archipel.market import sealed as sealed_bids
from archipel.market.sealed import (
    AbsurdPrice,
    BidRefused,
    CommittedTwice,
    Early,
    Envelopes,
    Expired,
    Late,
    NotAsSealed,
    NotCommitted,
    NotItsOwn,
    RevealedTwice,
    Round,
    WrongMarket,
    commit,
    forfeits,
    reveal,
)
from archipel.records.bids import Bid, Market, seal_of

MARKET = Market(kind="rollout", capability="fp32-small", unit="output_token")
ROUND = Round(MARKET, commit_until_ms=100, reveal_until_ms=200, most_micro=5000, deposit_micro=7)
ANNA, BERT = ("did:key:z6Mk" + letter * 44 for letter in "ab")
NONCE = "5" * 64
BID = Bid(
    bidder=ANNA, market=MARKET, price_micro=300, lots=2, region="eu",
    valid_from_ms=0, valid_until_ms=1000,
)  # fmt: skip


def other(**fields: object) -> Bid:
    return Bid.model_validate(BID.model_dump() | fields)


def sealed(bid: Bid) -> Envelopes:
    return commit(ROUND, Envelopes(), ANNA, seal_of(bid, NONCE), 50)


def test_a_sealed_bid_is_revealed_once_and_its_deposit_returns() -> None:
    envelopes = commit(ROUND, sealed(BID), BERT, seal_of(other(bidder=BERT), NONCE), 99)
    envelopes = reveal(ROUND, envelopes, ANNA, (BID, NONCE), 100)
    assert dict(envelopes.bids) == {ANNA: BID}
    assert forfeits(ROUND, envelopes) == {BERT: 7}
    with pytest.raises(RevealedTwice, match="the first stands"):
        reveal(ROUND, envelopes, ANNA, (BID, NONCE), 150)


def test_commitments_end_and_nobody_has_two() -> None:
    with pytest.raises(Late, match="bid in the next round"):
        commit(ROUND, Envelopes(), ANNA, seal_of(BID, NONCE), 100)
    with pytest.raises(CommittedTwice, match="reveal the first"):
        commit(ROUND, sealed(BID), ANNA, seal_of(BID, NONCE), 51)


FOREIGN = MARKET.model_copy(update={"capability": "fp8-large"})


@pytest.mark.parametrize(
    ("error", "was", "shown", "at_ms"),
    [
        (Early, BID, (BID, NONCE), 99),
        (Late, BID, (BID, NONCE), 200),
        (NotAsSealed, BID, (other(price_micro=299), NONCE), 150),
        (NotAsSealed, BID, (other(lots=1), NONCE), 150),
        (NotAsSealed, BID, (BID, "6" * 64), 150),
        (NotItsOwn, other(bidder=BERT), (other(bidder=BERT), NONCE), 150),
        (WrongMarket, other(market=FOREIGN), (other(market=FOREIGN), NONCE), 150),
        (Expired, other(valid_until_ms=200), (other(valid_until_ms=200), NONCE), 150),
        (Expired, other(valid_from_ms=201), (other(valid_from_ms=201), NONCE), 150),
        (AbsurdPrice, other(price_micro=5001), (other(price_micro=5001), NONCE), 150),
    ],
)
def test_each_wrong_reveal_has_its_own_error(
    error: type[BidRefused], was: Bid, shown: tuple[Bid, str], at_ms: int
) -> None:
    envelopes = sealed(was)
    with pytest.raises(error, match="expected"):
        reveal(ROUND, envelopes, ANNA, shown, at_ms)
    assert not envelopes.bids


def test_what_was_never_sealed_is_not_revealed() -> None:
    with pytest.raises(NotCommitted, match="bid in the next round"):
        reveal(ROUND, Envelopes(), ANNA, (BID, NONCE), 150)


def test_a_seal_is_of_every_field_and_the_nonce() -> None:
    changes = [
        other(bidder=BERT), other(market=FOREIGN), other(price_micro=1), other(lots=1), other(region="us"),
        other(valid_from_ms=1), other(valid_until_ms=1),
    ]  # fmt: skip
    seals = {seal_of(BID, NONCE), seal_of(BID, "6" * 64), *(seal_of(bid, NONCE) for bid in changes)}
    assert len(seals) == 2 + len(changes)
    assert len(changes) == len(Bid.model_fields)


def test_a_seal_is_the_digest_of_canonical_bytes() -> None:
    """By hand, so that another language can check it."""
    written = (
        f'{{"bid":{{"bidder":"{ANNA}","lots":2,"market":{{"capability":"fp32-small","kind":"rollout",'
        '"unit":"output_token"},"price_micro":300,"region":"eu","valid_from_ms":0,"valid_until_ms":1000},'
        f'"nonce":"{NONCE}","sealed":"archipel-bid-1"}}'
    )
    assert seal_of(BID, NONCE) == "sha256:" + hashlib.sha256(written.encode()).hexdigest()


@pytest.mark.parametrize("price", [0, -1, 10**12 + 1])
def test_no_price_is_negative_nothing_or_overflows(price: int) -> None:
    with pytest.raises(ValueError, match="price_micro"):
        other(price_micro=price)


def test_a_round_reveals_after_it_commits() -> None:
    with pytest.raises(ValueError, match="the first before the second"):
        Round(MARKET, 100, 100, 1)


def test_a_round_takes_so_many_bidders_and_not_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_bids, "MAX_BIDDERS", 2)
    taken = Envelopes()
    for bidder in ("one", "two"):
        taken = commit(ROUND, taken, bidder, seal_of(BID, NONCE), 1)
    with pytest.raises(sealed_bids.Full, match="expected no more in a round"):
        commit(ROUND, taken, "three", seal_of(BID, NONCE), 1)
