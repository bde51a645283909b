"""The journal: every posting takes from one account what it gives to another, and only by a rule."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.market.journal import (
    OUTSIDE,
    POOL,
    TREASURY,
    BadPosting,
    Book,
    Move,
    Posting,
    deposits,
    escrow,
    grant,
    held,
    post,
    run_treasury,
    stake,
    wallet,
)
from archipel.records.table import Table
from people import identity

SPONSOR, PROVIDER = identity("sponsor").did, identity("provider").did
LAWFUL = [
    (Move.PAY_IN, OUTSIDE, wallet(SPONSOR)),
    (Move.PAY_OUT, wallet(PROVIDER), OUTSIDE),
    (Move.ESCROW, wallet(SPONSOR), escrow("run")),
    (Move.HOLD, escrow("run"), held("run")),
    (Move.HOLD, wallet(SPONSOR), held("run")),
    (Move.PAY, held("run"), wallet(PROVIDER)),
    (Move.REFUND, held("run"), escrow("run")),
    (Move.REFUND, held("run"), wallet(SPONSOR)),
    (Move.REFUND, escrow("run"), wallet(SPONSOR)),
    (Move.STAKE, wallet(PROVIDER), stake(PROVIDER)),
    (Move.UNSTAKE, stake(PROVIDER), wallet(PROVIDER)),
    (Move.SLASH, stake(PROVIDER), TREASURY),
    (Move.SLASH, deposits("run"), TREASURY),
    (Move.UNSLASH, TREASURY, stake(PROVIDER)),
    (Move.CLAWBACK, wallet(PROVIDER), wallet(SPONSOR)),
    (Move.CLAWBACK, stake(PROVIDER), wallet(SPONSOR)),
    (Move.CLAWBACK, wallet(PROVIDER), escrow("run")),
    (Move.CLAWBACK, stake(PROVIDER), escrow("run")),
    (Move.RESTORE, wallet(SPONSOR), wallet(PROVIDER)),
    (Move.RESTORE, escrow("run"), wallet(PROVIDER)),
    (Move.HANDOVER, wallet(PROVIDER), wallet(SPONSOR)),
    (Move.HANDOVER, stake(PROVIDER), stake(SPONSOR)),
    (Move.GIVE, wallet(SPONSOR), run_treasury("run")),
    (Move.SPEND, run_treasury("run"), wallet(PROVIDER)),
    (Move.EARN, OUTSIDE, wallet(PROVIDER)),
    (Move.EARN, OUTSIDE, run_treasury("run")),
    (Move.FUND, wallet(SPONSOR), POOL),
    (Move.FUND, TREASURY, POOL),
    (Move.PLEDGE, wallet(PROVIDER), POOL),
    (Move.GRANT, POOL, grant(SPONSOR)),
    (Move.CHARGE, grant(SPONSOR), wallet(PROVIDER)),
    (Move.RETURN, grant(SPONSOR), POOL),
]
ACCOUNTS = [
    wallet(SPONSOR),
    wallet(PROVIDER),
    escrow("run"),
    held("run"),
    stake(PROVIDER),
    TREASURY,
    POOL,
    grant(SPONSOR),
    run_treasury("run"),
    OUTSIDE,
]


@given(st.lists(st.tuples(st.sampled_from(LAWFUL), st.integers(0, 10**12)), max_size=30))
def test_balances_add_up_to_zero_whatever_is_posted_and_the_old_book_stays(postings) -> None:
    book: Book = Table()
    for (move, source, target), micro in postings:
        before, kept = book, dict(book)
        book = post(book, [Posting(move, source, target, micro)])
        assert sum(book.values()) == 0
        assert dict(before) == kept
        assert book.get(target, 0) - kept.get(target, 0) == micro
        assert all(book.values()), "an empty account is not there"


@pytest.mark.parametrize("move", Move)
def test_every_movement_that_no_rule_allows_is_refused(move: Move) -> None:
    kinds = {(m, a.split(":")[0], b.split(":")[0]) for m, a, b in LAWFUL}
    for source, target in product(ACCOUNTS, repeat=2):
        if (move, source.split(":")[0], target.split(":")[0]) in kinds:
            assert Posting(move, source, target, 1).micro == 1
            continue
        with pytest.raises(BadPosting, match=move.name):
            Posting(move, source, target, 1)


def test_nobody_pays_less_than_nothing() -> None:
    with pytest.raises(BadPosting, match="0 or more"):
        Posting(Move.PAY, held("run"), wallet(PROVIDER), -1)


def test_a_price_that_is_held_is_paid_or_comes_back_whole() -> None:
    hold = Posting(Move.HOLD, wallet(SPONSOR), held("run"), 5)
    book = post(Table(), [hold, hold])
    book = post(book, [Posting(Move.PAY, held("run"), wallet(PROVIDER), 5)])
    book = post(book, [Posting(Move.REFUND, held("run"), wallet(SPONSOR), 5)])
    assert book == {wallet(SPONSOR): -5, wallet(PROVIDER): 5}
