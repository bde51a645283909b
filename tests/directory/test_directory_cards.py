"""Cards: nothing unsigned enters, the newest counts, and merging knows no order."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from archipel.directory.card import (
    MAX_AHEAD_MS,
    MAX_SEALED_BYTES,
    BadCard,
    read_card,
    signed_card,
    witnessed,
)
from archipel.directory.cards import Cards, by_lab, in_force, merged
from archipel.directory.lines import (
    MAX_FILE_BYTES,
    MAX_LINES,
    MAX_REFUSALS_TOLD,
    NotADirectory,
    Taken,
    read_lines,
    to_lines,
)
from archipel.identity import Envelope, sign
from archipel.ledger.cosignature import cosigned, witness_key
from archipel.records.lab_card import (
    CARD_TYPE,
    MAX_CARD_BYTES,
    MAX_VALID_MS,
    LabCard,
    NamedWitness,
    card_bytes,
    card_from_bytes,
)
from labcards import DAY_MS, NOW_MS, card, head, lab_identity, withdrawn

CARDS = (
    card("a"),
    card("a", 2),
    card("a", 2, purpose="another"),
    card("a", 2, purpose="a third"),
    card("b"),
    card("b", 3, until_ms=NOW_MS + DAY_MS),
    withdrawn("b", 4),
    card("c", 9, addresses=("https://c.example", "https://also.c.example")),
)
SETS = st.lists(st.sampled_from(CARDS), max_size=8).map(by_lab)


def bytes_of(cards: Cards) -> bytes:
    return to_lines(card.sealed for did in sorted(cards) for card in cards[did])


@settings(max_examples=40)
@given(SETS, SETS, SETS)
def test_merging_is_commutative_associative_and_idempotent(a: Cards, b: Cards, c: Cards) -> None:
    assert bytes_of(merged(a, b)) == bytes_of(merged(b, a))
    assert bytes_of(merged(merged(a, b), c)) == bytes_of(merged(a, merged(b, c)))
    assert bytes_of(merged(a, a)) == bytes_of(a)
    assert bytes_of(merged(merged(a, b), b)) == bytes_of(merged(a, b))


@settings(max_examples=40)
@given(st.lists(st.sampled_from(CARDS), min_size=1, max_size=8))
def test_the_card_with_the_highest_number_counts_and_contradictions_are_both_kept(
    cards: list[object],
) -> None:
    for did, found in by_lab(cards).items():  # type: ignore[arg-type]  # cards, drawn
        mine = [each for each in CARDS if each in cards and each.said.lab == did]
        highest = max(each.said.number for each in mine)
        apart = {each.digest for each in mine if each.said.number == highest}
        assert {each.said.number for each in found} == {highest}
        assert [each.digest for each in found] == sorted(apart)[:2]


def test_a_card_is_in_force_from_its_issue_until_its_end_and_not_beyond() -> None:
    late = card("b", 3, until_ms=NOW_MS + DAY_MS)
    assert in_force(by_lab([late]), NOW_MS + DAY_MS - 1)
    assert not in_force(by_lab([late]), NOW_MS + DAY_MS)
    assert in_force(by_lab([late]), NOW_MS - MAX_AHEAD_MS), "clocks differ so much"
    assert not in_force(by_lab([late]), NOW_MS - MAX_AHEAD_MS - 1), "from a clock that is ahead"


def test_nothing_that_the_lab_itself_did_not_sign_is_a_card() -> None:
    mine, other = card("a"), lab_identity("b")
    envelope = Envelope.from_json(mine.sealed)
    lies = {
        "signed by another": sign(other, envelope.payload, CARD_TYPE),
        "another's name on it": replace(envelope, keyid=other.did),
        "of another kind": sign(lab_identity("a"), envelope.payload, "application/json"),
        "changed": replace(envelope, payload=envelope.payload.replace(b"a.example", b"b.example")),
    }
    assert read_card(mine.sealed).said == mine.said
    for lie in lies.values():
        with pytest.raises(BadCard):
            read_card(lie.to_json())
        assert read_lines(lie.to_json()).cards == ()
        assert read_lines(lie.to_json()).num_refused == 1


def test_a_card_shows_a_head_of_its_own_ledger_or_none() -> None:
    assert card("a", head=head("a", 7)).head is not None
    for said in ({"head": head("b")}, {"origin": "archipel.lab/other"}, {"head": "none\n"}):
        with pytest.raises(BadCard):
            card("a", **said)


def test_a_witness_counts_if_the_card_names_it_and_its_signature_holds() -> None:
    sworn, stranger = lab_identity("w"), lab_identity("x")
    note = head("a")
    text = note.partition("\n\n")[0] + "\n"
    lines = [cosigned(text, name, key, 77) for name, key in (("w", sworn), ("x", stranger))]
    key = witness_key("w", sworn.public_key).to_text()
    said = card("a", head=note + "".join(lines), witnesses=(NamedWitness(key=key),)).said
    assert witnessed(said.head or "", said) == {key: 77}
    assert witnessed(note + lines[1], said) == {}
    forged = (note + lines[0]).replace("3\n", "4\n", 1)
    assert witnessed(forged, said) == {}


@pytest.mark.parametrize(
    "said",
    [
        {"addresses": ("http://a.example",)},
        {"addresses": ("https://A.example",)},
        {"addresses": ("https://a.example/",)},
        {"addresses": ("https://me:word@a.example",)},
        {"addresses": ("https://a.example?x=1",)},
        {"addresses": ("https://a.example:99999",)},
        {"addresses": ("ftp://127.0.0.1",)},
        {"addresses": ("https://",)},
        {"addresses": ("https://a b.example",)},
        {"addresses": ("https://\u00e4.example",)},
        {"addresses": ("https://a.example/\x7f",)},
        {"addresses": ()},
        {"addresses": ("https://a.example",) * 9},
        {"purpose": "two\nlines"},
        {"purpose": "\x1b[2J"},
        {"purpose": "x" * 501},
        {"until_ms": NOW_MS},
        {"until_ms": NOW_MS + 93 * DAY_MS},
        {"withdrawn": True},
        {"withdrawn": True, "until_ms": NOW_MS + MAX_VALID_MS},
        {"withdrawn": True, "addresses": ()},
        {"number": 0},
        {"unknown": 1},
    ],
)
def test_what_a_card_may_say_is_closed_and_bounded(said: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        card("a", **said)


def test_loopback_addresses_are_those_of_this_machine() -> None:
    for address in ("http://127.0.0.1:8440", "http://[::1]:8440", "http://localhost:1"):
        assert card("a", addresses=(address,)).said.addresses == (address,)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "[2002:7f00:1::]", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "x.0x7f",
     "localhost.", "169.254.169.254", "[fe80::1]", "[fe80::1%lo]", "224.0.0.1"],
)  # fmt: skip
def test_a_card_leads_nobody_to_a_host_that_means_whoever_asks_or_its_link(host: str) -> None:
    """Programs differ in what they make of such hosts; a lab is at none of them."""
    for scheme in ("http", "https"):
        for field in ("addresses", "mirrors"):
            with pytest.raises(ValidationError, match=r"neither|holds another|nobody's own"):
                card("a", **{field: (f"{scheme}://{host}:8440",)})


def test_a_card_that_says_too_much_is_refused_before_it_is_signed() -> None:
    long = tuple(f"https://{'x' * 180}{each}.example" for each in range(8))
    with pytest.raises(BadCard, match="limit is 8000"):
        card("a", addresses=long, mirrors=long, head=head("a"), purpose="y\u20ac" * 250,
             contact="\u20ac" * 500, witnesses=(NamedWitness(key="k" * 512, address=long[0]),) * 3)  # fmt: skip


def test_a_null_and_another_spelling_are_no_card() -> None:
    plain = json.loads(card_bytes(card("a").said))
    for data in (json.dumps(plain).encode(), json.dumps(plain | {"purpose": None}).encode()):
        envelope = sign(lab_identity("a"), data, CARD_TYPE)
        with pytest.raises(BadCard):
            read_card(envelope.to_json())


def test_a_lab_signs_only_its_own_card() -> None:
    with pytest.raises(BadCard, match="signed by"):
        signed_card(lab_identity("b"), LabCard(**card("a").said.model_dump()))


def test_a_directory_file_goes_round_and_a_line_that_is_no_card_costs_itself_alone() -> None:
    data = to_lines(each.sealed for each in CARDS)
    assert [each.sealed for each in read_lines(data).cards] == [each.sealed for each in CARDS]
    taken = read_lines(b"nonsense\n" + data + b"\n" + b"y" * 20_000)
    assert len(taken.cards) == len(CARDS)
    assert taken.num_refused == 2
    with pytest.raises(NotADirectory, match="more than 3 lines"):
        read_lines(data, most=3)
    with pytest.raises(NotADirectory, match=f"more than {MAX_LINES} lines"):
        read_lines(b"\n" * (MAX_LINES + 1))
    assert read_lines(b"\n" * MAX_LINES) == read_lines(b"") == Taken((), 0)
    assert read_lines(b"\n\nno").refused[0].startswith("line 3: ")
    assert read_lines(data, most=len(CARDS)).num_lines == len(CARDS)
    known = {card("a").sealed: card("a")}
    assert read_lines(card("a").sealed, known).cards[0] is card("a")


def test_the_largest_card_that_may_be_signed_goes_through_a_directory_file() -> None:
    long = tuple(f"https://{'x' * 178}{each}.example" for each in range(8))
    witnesses = (NamedWitness(key="k" * 512),) * 8
    short = card("a", contact="c", addresses=long, mirrors=long, witnesses=witnesses)
    left = MAX_CARD_BYTES - len(card_bytes(short.said))
    said = short.said.model_dump() | {"contact": "c" * (1 + left)}
    largest = signed_card(lab_identity("a"), LabCard(**said))
    assert len(card_bytes(largest.said)) == MAX_CARD_BYTES
    assert len(largest.sealed) <= MAX_SEALED_BYTES
    assert read_lines(largest.sealed).cards == (largest,)
    with pytest.raises(BadCard, match=f"limit is {MAX_CARD_BYTES}"):
        signed_card(lab_identity("a"), LabCard(**(said | {"contact": "c" * (2 + left)})))
    with pytest.raises(ValueError, match="say less"):
        card_bytes(LabCard(**(said | {"contact": "c" * (2 + left)})))
    with pytest.raises(ValueError, match=f"a card of {MAX_CARD_BYTES + 1} bytes"):
        card_from_bytes(card_bytes(largest.said) + b" ")


def test_two_sources_together_are_counted_as_one_and_few_refusals_are_told() -> None:
    one, other = read_lines(card("a").sealed + b"\nno\n"), read_lines(b"no\n" * 20)
    both = one.plus(other)
    assert (both.cards, both.num_lines, both.num_refused) == (one.cards, 22, 21)
    assert both.refused == (*one.refused, *other.refused)[:MAX_REFUSALS_TOLD]
    assert len(both.refused) == len(other.refused) == MAX_REFUSALS_TOLD


def test_a_refused_line_is_named_by_its_number_and_one_that_is_too_long_is_not_opened() -> None:
    taken = read_lines(b"x" * MAX_SEALED_BYTES + b"\n" + b"x" * (MAX_SEALED_BYTES + 1))
    assert taken.refused[0].startswith("line 1: no lab's card")
    assert taken.refused[1].startswith(f"line 2: {MAX_SEALED_BYTES + 1} bytes")
    assert Taken((), 0).num_refused == 0
    assert read_lines(b"x" * MAX_FILE_BYTES).num_refused == 1
    with pytest.raises(NotADirectory, match=f"{MAX_FILE_BYTES + 1} bytes"):
        read_lines(b"x" * (MAX_FILE_BYTES + 1))
