"""What is kept of the labs that somebody knows: bounds hold under a flood, and honest labs stay."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.directory.known import (
    FEW_OF_SITE,
    MAX_FORGOTTEN,
    REACHED_LATELY_MS,
    Directory,
    Source,
    forgot,
    reached,
    swept,
    took,
)
from archipel.directory.naming import NotKnown, addresses_of
from archipel.directory.own import CardWords, card_of, renewed, set_words
from archipel.directory.shelf import FILE, Unkept, alone, directory_of, loaded, save, shelf_bytes
from labcards import DAY_MS, NOW_MS, card, head, lab_identity, withdrawn

MOST = 12
HONEST, FLOOD = Source("https://honest.example"), Source("https://flood.example")
BY_HAND = Source("by hand", is_by_hand=True)
FEW = [card(f"honest-{each}") for each in range(3)]
MANY = [card(f"sybil-{each}", addresses=(f"https://s{each}-sybil.example",)) for each in range(40)]


def dids(directory: Directory) -> set[str]:
    return set(directory.labs)


@settings(max_examples=30)
@given(st.permutations([0, 1]), st.integers(0, 40))
def test_a_source_that_floods_pushes_out_its_own_alone(order: list[int], num: int) -> None:
    told = [(FEW, HONEST), (MANY[:num], FLOOD)]
    found = Directory()
    for at in order:
        cards, source = told[at]
        found = took(found, cards, source, NOW_MS + at, most=MOST)
    assert len(found.labs) == min(MOST, len(FEW) + num)
    assert {each.said.lab for each in FEW} <= dids(found)


def test_who_answered_who_is_vouched_for_and_who_was_added_stays_first() -> None:
    answered, vouched, added = FEW
    found = took(Directory(), MANY[:9], FLOOD, NOW_MS - 9)
    found = took(found, [answered, vouched], FLOOD, NOW_MS)
    found = took(found, [vouched], HONEST, NOW_MS)
    found = took(found, [added], BY_HAND, NOW_MS)
    found = reached(found, answered.said.lab, NOW_MS)
    found = took(found, MANY, FLOOD, NOW_MS, most=3)
    assert dids(found) == {each.said.lab for each in FEW}


def test_many_under_one_sites_name_stand_behind_others_and_not_before_who_answers_there() -> None:
    def at(word: str, num: int) -> list[object]:
        return [
            card(f"{word}-{each}", addresses=(f"https://{word}{each}.squat.example.org",))
            for each in range(num)
        ]

    squatters = at("s", FEW_OF_SITE + 4)
    own = card("own", addresses=("https://squat.example.org",))
    found = took(Directory(), squatters, FLOOD, NOW_MS)  # type: ignore[arg-type]  # cards
    found = reached(took(found, [own], FLOOD, NOW_MS), own.said.lab, NOW_MS)
    found = took(found, FEW, FLOOD, NOW_MS + 1, most=FEW_OF_SITE + 3)
    assert own.said.lab in dids(found)
    assert {each.said.lab for each in FEW} <= dids(found)


def crowded(addresses: list[str], late: int = 0) -> set[str]:
    """Which of these addresses stay when a lab elsewhere comes that is known for less time, or did not answer.

    late: so many of them, the last, did not answer either.
    """
    newcomer = card("newcomer", addresses=("https://elsewhere.test",))
    found, did_of = Directory(), {}
    for number, address in enumerate(addresses):
        one = card(f"crowd-{number}", addresses=(address,))
        found = took(found, [one], FLOOD, NOW_MS + number)
        did_of[one.said.lab] = address
        if number < len(addresses) - late:
            found = reached(found, one.said.lab, NOW_MS)
    found = took(found, [newcomer], FLOOD, NOW_MS + 99)
    if late:
        found = reached(found, newcomer.said.lab, NOW_MS + 99)
    kept = swept(found, NOW_MS + 99, most=len(addresses))
    return {did_of[did] for did in kept.labs if did in did_of}


def test_so_many_labs_of_one_site_stand_before_others_and_no_more() -> None:
    few = [f"https://s{each}.site.example" for each in range(FEW_OF_SITE)]
    assert crowded(few) == {*few}
    assert crowded([*few, "https://site.example/more"]) == {*few}
    assert crowded(["https://a.example", "https://b.a.example"]) == {"https://a.example", "https://b.a.example"}  # fmt: skip


@pytest.mark.parametrize("form", ["https://s{}.example", "https://10.{}.0.1", "https://[2001:db8::{}]"])  # fmt: skip
def test_sites_are_told_apart_by_the_last_two_parts_of_a_name_or_a_whole_number(form: str) -> None:
    apart = [form.format(each) for each in range(1, FEW_OF_SITE + 3)]
    assert crowded(apart) == {*apart}
    together = [f"{apart[0]}:{4000 + each}" for each in range(FEW_OF_SITE + 2)]
    assert len(crowded(together)) == len(together) - 1


def test_who_answers_stands_before_who_does_not_and_withdrawn_labs_are_no_crowd() -> None:
    three = [f"https://{each}.example" for each in "abc"]
    assert crowded(three, late=1) == {*three[:2]}
    gone = [withdrawn(f"gone-{each}", 1) for each in range(FEW_OF_SITE + 1)]
    found = took(took(Directory(), gone, FLOOD, NOW_MS), [card("a")], FLOOD, NOW_MS + 1)
    assert dids(swept(found, NOW_MS + 1, most=len(gone))) == {each.said.lab for each in gone}


def test_of_two_cards_that_contradict_each_other_the_expired_one_goes() -> None:
    one, other = card("a", 2), card("a", 2, until_ms=NOW_MS + 20 * DAY_MS)
    found = took(Directory(), [one, other], HONEST, NOW_MS)
    assert found.labs[one.said.lab].is_contradicted
    assert swept(found, NOW_MS + 11 * DAY_MS).labs[one.said.lab].cards == (other,)


def test_expired_cards_go_and_a_withdrawn_one_hides_older_ones_as_long_as_they_could_hold() -> None:
    found = took(Directory(), [withdrawn("a", 2)], HONEST, NOW_MS)
    found = took(found, [card("a")], FLOOD, NOW_MS)
    assert found.shown() == {}
    assert found.labs[lab_identity("a").did].is_withdrawn
    assert len(found.sealed()) == 1, "it is handed on, so that others hide it too"
    assert swept(found, NOW_MS + 92 * DAY_MS).labs == {}
    assert took(Directory(), [card("a")], HONEST, NOW_MS + 10 * DAY_MS).labs == {}


def test_two_cards_under_one_number_are_both_kept_and_give_no_address(tmp_path: Path) -> None:
    one, other = card("a", 2), card("a", 2, addresses=("https://elsewhere.example",))
    found = took(took(Directory(), [one], HONEST, NOW_MS), [other], FLOOD, NOW_MS)
    assert found.labs[one.said.lab].is_contradicted
    save(tmp_path, found)
    with pytest.raises(NotKnown, match="two cards under number 2"):
        addresses_of(tmp_path, one.said.lab, NOW_MS)
    newer = took(found, [card("a", 3)], HONEST, NOW_MS)
    assert not newer.labs[one.said.lab].is_contradicted


def test_a_name_gives_the_addresses_of_the_newest_card_and_none_of_a_withdrawn_one(
    tmp_path: Path,
) -> None:
    did = lab_identity("a").did
    with pytest.raises(NotKnown, match="no card of"):
        addresses_of(tmp_path, did, NOW_MS)
    save(tmp_path, took(Directory(), [card("a"), card("b")], HONEST, NOW_MS))
    assert addresses_of(tmp_path, did, NOW_MS) == ("https://a.example",)
    with pytest.raises(NotKnown, match="no card of"):
        addresses_of(tmp_path, did, NOW_MS + 10 * DAY_MS)
    save(tmp_path, took(Directory(), [withdrawn("a", 2)], HONEST, NOW_MS))
    with pytest.raises(NotKnown, match="withdrew"):
        addresses_of(tmp_path, did, NOW_MS)


def test_an_address_of_this_machine_is_believed_from_this_machine_alone() -> None:
    near = card("near", addresses=("http://127.0.0.1:8440",))
    assert took(Directory(), [near], HONEST, NOW_MS).labs == {}
    assert took(Directory(), [near], Source("file", is_near=True), NOW_MS).labs


def test_what_is_forgotten_comes_back_by_hand_alone() -> None:
    did = card("a").said.lab
    found = forgot(took(Directory(), [card("a")], HONEST, NOW_MS), did)
    assert took(found, [card("a", 2)], HONEST, NOW_MS).labs == {}
    again = took(found, [card("a", 2)], BY_HAND, NOW_MS)
    assert dids(took(again, [card("a", 3)], HONEST, NOW_MS)) == {did}


def test_what_was_forgotten_last_stays_so_however_many_were_before() -> None:
    did = card("a").said.lab
    full = Directory(forgotten=frozenset(f"did:key:z{'~' * 9}{each}" for each in range(MAX_FORGOTTEN)))  # fmt: skip
    found = forgot(took(full, [card("a")], HONEST, NOW_MS), did)
    assert len(found.forgotten) == MAX_FORGOTTEN
    assert took(found, [card("a", 2)], HONEST, NOW_MS).labs == {}
    assert forgot(found, did) == found
    assert MAX_FORGOTTEN > 1_000


def test_who_answered_within_two_weeks_stands_before_who_is_known_for_longer() -> None:
    older, answered = card("older"), card("answered", until_ms=NOW_MS + 60 * DAY_MS)
    found = took(Directory(), [older], HONEST, NOW_MS)
    found = took(found, [answered], HONEST, NOW_MS + 1)
    found = reached(found, answered.said.lab, NOW_MS - 5 * DAY_MS)
    assert REACHED_LATELY_MS == 14 * DAY_MS
    for days, first in ((8, answered), (9, answered)):
        assert dids(swept(found, NOW_MS + days * DAY_MS, most=1)) == {first.said.lab}
    assert dids(swept(found, NOW_MS + 9 * DAY_MS + 1, most=1)) == {older.said.lab}
    assert reached(found, "did:key:zUnknown", NOW_MS) == found


def test_what_is_kept_goes_round_and_a_flipped_bit_is_said(tmp_path: Path) -> None:
    found = forgot(took(Directory(), FEW, HONEST, NOW_MS), card("z").said.lab)
    found = reached(found, FEW[0].said.lab, NOW_MS)
    save(tmp_path, found)
    assert loaded(tmp_path) == found == directory_of(shelf_bytes(found))
    data = bytearray((tmp_path / FILE).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(Unkept, match="delete it"):
        loaded(tmp_path)


def test_a_folder_is_made_where_there_is_none_and_cards_of_two_labs_are_not_one(
    tmp_path: Path,
) -> None:
    found = took(Directory(), [card("a")], HONEST, NOW_MS)
    for _ in range(2):
        save(tmp_path / "new" / "home", found)
    assert loaded(tmp_path / "new" / "home") == found
    for _ in range(2):
        with alone(tmp_path / "another" / "home"):
            assert loaded(tmp_path / "another" / "home") == Directory()
    (known,) = found.labs.values()
    mixed = Directory({card("a").said.lab: replace(known, cards=(card("a"), card("b")))})
    with pytest.raises(Unkept, match="several labs under one"):
        directory_of(shelf_bytes(mixed))


def test_a_labs_own_card_is_signed_anew_when_it_says_something_else_or_is_old(
    tmp_path: Path,
) -> None:
    own = lab_identity("own")
    assert renewed(tmp_path, own, None, NOW_MS) is None, "nothing is set"
    set_words(tmp_path, CardWords(addresses=("https://own.example",)))
    first = renewed(tmp_path, own, None, NOW_MS)
    assert first is not None
    assert renewed(tmp_path, own, None, NOW_MS + 1000) == first == card_of(tmp_path)
    second = renewed(tmp_path, own, head("own"), NOW_MS + 1000)
    assert second is not None
    assert second.head is not None, "the first showed none"
    assert second.said.number > first.said.number
    assert renewed(tmp_path, own, head("own", 4), NOW_MS + 2000) == second, "heads alone can wait"
    third = renewed(tmp_path, own, head("own", 4), NOW_MS + 2 * 3_600_000)
    assert third is not None
    assert third.head is not None
    assert third.head.size == 4


def test_numbers_and_ends_of_a_labs_cards_never_go_back(tmp_path: Path) -> None:
    own = lab_identity("own")
    set_words(tmp_path, CardWords(addresses=("https://own.example",), days=60))
    first = renewed(tmp_path, own, None, NOW_MS)
    set_words(tmp_path, CardWords(addresses=("https://own.example",), days=1))
    second = renewed(tmp_path, own, None, NOW_MS - DAY_MS)
    set_words(tmp_path, CardWords(is_withdrawn=True))
    third = renewed(tmp_path, own, None, NOW_MS)
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.said.number < second.said.number < third.said.number
    assert first.said.until_ms <= second.said.until_ms <= third.said.until_ms
    assert third.said.withdrawn
    for path in tmp_path.glob("card*.json"):  # a home that was restored without them
        path.unlink()
    set_words(tmp_path, CardWords(addresses=("https://own.example",)))
    later = renewed(tmp_path, own, None, NOW_MS + 5000)
    assert later is not None
    assert later.said.number > third.said.number
