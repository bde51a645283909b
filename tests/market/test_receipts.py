"""A meter's receipts: what was changed, left out, put elsewhere or signed by another is found, and sums are what rows come to."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.market.receipts import BadReceipt, Chain, opened, read_line
from archipel.records.canonical import canonical_json
from archipel.records.fields import MAX_SEQ
from archipel.records.membership import MAX_SIGNED_CHARACTERS, Signed
from archipel.records.receipts import MAX_PRICE, NOTHING, UsageReceipt, due_micro
from metered import METER, Book, row
from people import identity

WEIGHTS = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def checked(lines: list[bytes]) -> Chain:
    chain = Chain()
    for line in lines:
        chain.take(line.removesuffix(b"\n"))
    return chain


def three() -> Book:
    book = Book(WEIGHTS)
    book.write(row("ann", 10, 20), row("bob", 1, 2))
    book.write(row("bob", 5, 6))
    book.write(row("ann", 0, 7), is_after_break=True)
    return book


def test_receipts_say_what_all_of_them_come_to_and_what_each_caller_had() -> None:
    chain = checked(three().lines)
    assert chain.newest is not None
    total = chain.newest.receipt.all
    assert (total.answers, total.tokens_in, total.tokens_out) == (4, 16, 35)
    assert total.micro == 2 * (16 + 35)
    assert sum(each.micro for each in chain.by_caller.values()) == total.micro
    assert chain.breaks == [3]


def test_a_byte_that_was_changed_is_found_wherever_it_stands() -> None:
    lines = three().lines
    line = lines[1]
    for place in range(len(line) - 1):
        changed = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
        with pytest.raises(BadReceipt):
            checked([lines[0], changed, lines[2]])


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ((1, 2), "missing"),
        ((0, 2), "does not name receipt 1"),
        ((0, 1, 1), "does not name receipt 2"),
        ((0, 0), "does not name receipt 1"),
    ],
)
def test_a_receipt_counts_only_behind_the_one_that_it_names(
    order: tuple[int, ...], why: str
) -> None:
    lines = three().lines
    with pytest.raises(BadReceipt, match=why):
        checked([lines[each] for each in order])


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        ({"weights": OTHER}, "other weights"),
        ({"from_ms": 0}, "begins before"),
        ({"all": NOTHING}, "sums are not"),
        ({"number": 5}, "does not name"),
        ({"previous": OTHER}, "does not name"),
    ],
)
def test_a_receipt_that_lies_about_what_was_before_it_is_none(
    lie: dict[str, Any], why: str
) -> None:
    book = three()
    book.write(row("ann", 1, 1), **lie)
    with pytest.raises(BadReceipt, match=why):
        checked(book.lines)


def test_a_receipt_that_lies_about_its_rows_is_none() -> None:
    ann, bob = row("ann", 1, 1), row("bob", 2, 2)
    lies: list[Callable[[Book], object]] = [
        lambda book: book.write(ann, rows=OTHER),
        lambda book: book.write(ann, window=bob.usage, all=bob.usage),
        lambda book: book.write(bob, ann),
        lambda book: book.write(ann, ann),
        lambda book: book.write(ann.model_copy(update={"micro": 5})),
    ]
    for lie in lies:
        with pytest.raises(BadReceipt):
            lie(Book(WEIGHTS))


def test_another_key_cannot_go_on_with_a_chain_or_sign_for_a_meter() -> None:
    book = three()
    forger = Book(WEIGHTS, identity("forger"))
    forger.lines, forger.newest = list(book.lines), book.newest
    forger.write(row("ann", 1, 1))
    with pytest.raises(BadReceipt, match="is signed by"):
        checked(forger.lines)
    with pytest.raises(BadReceipt):
        Book(WEIGHTS, identity("forger")).write(row("ann", 1, 1), meter=METER.did)
    signed = book.newest.signed  # type: ignore[union-attr]  # it has three
    assert opened(signed).receipt.number == 3
    with pytest.raises(BadReceipt):
        opened(Signed(payload=signed.payload, signature="0" * 128))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**9), st.integers(0, MAX_PRICE))
def test_nobody_pays_for_more_than_it_had_and_less_than_a_micro_credit_is_lost(
    num_tokens: int, price: int
) -> None:
    due = due_micro(num_tokens, price)
    assert 0 <= num_tokens * price - due * 10**6 < 10**6


def test_the_largest_receipt_fits_a_statement() -> None:
    most = NOTHING.model_copy(update=dict.fromkeys(NOTHING.model_dump(), MAX_SEQ))
    receipt = UsageReceipt(
        meter=METER.did, number=10**15, previous=OTHER, weights=OTHER, price_micro=MAX_PRICE, from_ms=MAX_SEQ,
        until_ms=MAX_SEQ, is_after_break=True, rows=OTHER, window=most, all=most,
    )  # fmt: skip
    assert len(canonical_json(receipt.model_dump(mode="json"))) <= MAX_SIGNED_CHARACTERS


def test_a_line_longer_than_any_is_not_parsed() -> None:
    with pytest.raises(BadReceipt, match="more than"):
        read_line(b" " * 1_000_001)
