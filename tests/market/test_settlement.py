"""Settling outside: amounts without floats, files that come back as they went, every bad row by its line, all or nothing."""

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.market.amounts import BadAmount, dollars, micro_of, written
from archipel.market.settlement import (
    COLUMNS,
    MAX_ROWS,
    BadSettlement,
    Csv,
    Manual,
    Owed,
    Settling,
    payouts,
)
from archipel.records.stakes import MAX_MOVED_MICRO
from people import identity

ONE, TWO = identity("one").did, identity("two").did
HEAD = ",".join(COLUMNS)
movements = st.builds(
    Settling,
    account=st.sampled_from([ONE, TWO]),
    direction=st.sampled_from(["in", "out"]),
    micro=st.integers(1, MAX_MOVED_MICRO),
    reference=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(
        lambda text: f"r{text}".rstrip()
    ),
    usd_micro=st.none() | st.integers(0, MAX_MOVED_MICRO),
)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**18 - 1))
def test_an_amount_is_written_and_read_back_to_the_last_millionth(micro: int) -> None:
    assert micro_of(written(micro)) == micro
    assert Fraction(written(micro)) * 10**6 == micro
    assert written(-micro) == (f"-{written(micro)}" if micro else written(0))


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "0.1234567", ".5", "1,5", "nan", "١", "1" * 13, "1 000"]
)
def test_what_is_no_plain_decimal_number_is_no_amount(text: str) -> None:
    with pytest.raises(BadAmount, match="expected a number"):
        micro_of(text)


def test_dollars_are_rounded_to_zero_whichever_way_they_go() -> None:
    assert (dollars(1_500_000, 20_001), dollars(-1_500_000, 20_001)) == (30_001, -30_001)


@settings(deadline=None, max_examples=50)
@given(st.lists(movements, unique_by=lambda each: each.reference, max_size=8))
def test_a_file_of_movements_is_read_back_as_it_was_written(rows: list[Settling]) -> None:
    read = Csv().read(Csv().written(rows).encode())
    plain = [(e.account, e.direction, e.micro, e.reference, e.usd_micro) for e in read]
    assert plain == [(e.account, e.direction, e.micro, e.reference, e.usd_micro) for e in rows]


def test_columns_come_in_any_order_with_others_between_and_empty_rows_are_none() -> None:
    data = f"Reference,note,credits,account,direction\r\n\r\nr1,hello,2.5,{ONE},in\r\n,,,,\r\n"
    assert Csv().read(b"\xef\xbb\xbf" + data.encode()) == (
        Settling(ONE, "in", 2_500_000, "r1", None, 3),
    )


def test_every_bad_row_is_named_by_its_line_with_all_its_faults_and_nothing_is_read() -> None:
    good = f"{ONE},in,1,r1,"
    bad = ["did:key:z6Mk,up,0,,x", f"{ONE},out,1e9,r2,", f"{TWO},out,1,r1,", f"{ONE},in,1,=1+1,"]
    with pytest.raises(BadSettlement) as caught:
        Csv().read("\n".join([HEAD, good, *bad]).encode())
    faults = caught.value.faults
    assert [fault.partition(":")[0] for fault in faults] == [
        *["line 3"] * 5, "line 4", "line 5", "line 6",
    ]  # fmt: skip
    assert "stands in line 2 already" in faults[6]
    assert "none of = + - @" in faults[7]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "must be among them"),
        (b"account,account,direction,credits,reference\n", "account must be"),
        (b"\xff", "no UTF-8"),
        (HEAD.encode() + b'\n"', "line 2"),
        (HEAD.encode() + b"\nx,,,,\n" * (MAX_ROWS + 1), "rows"),
        (b" " * (16 * 1024 * 1024 + 1), "bytes"),
    ],
)
def test_a_file_that_is_none_is_said_to_be_none(data: bytes, what: str) -> None:
    with pytest.raises(BadSettlement, match=what):
        Csv().read(data)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: (HEAD + "\n" + t).encode()))
def test_whatever_the_file_holds_it_is_read_or_refused(data: bytes) -> None:
    with suppress(BadSettlement):
        assert all(each.micro > 0 for each in Csv().read(data))


def test_payouts_are_of_all_that_is_owed_with_a_reference_each_and_nothing_for_nothing() -> None:
    made = payouts([Owed(TWO, 5), Owed(ONE, 2_000_000), Owed(ONE, 0)], "payout 7", 30_000)
    assert [each.micro for each in made] == [
        each[1] for each in sorted([(ONE, 2_000_000), (TWO, 5)])
    ]
    assert len({each.reference for each in made}) == 2
    assert {each.usd_micro for each in made} == {60_000, 0}
    told = Manual().written(made)
    assert "2.000000 credits  0.060000 USD" in told
    assert "sum  -2.000005 credits" in told
    with pytest.raises(BadSettlement, match="by hand"):
        Manual().read(told.encode())
