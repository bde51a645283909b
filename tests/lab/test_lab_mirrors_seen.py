"""What is known of a mirrored lab, and whose signatures are shown: each rule at its edge, by values alone."""

from typing import Any

import pytest

from archipel.lab.mirrors import seen
from archipel.lab.mirrors.cosigned import (
    MAX_AHEAD_S,
    MAX_COSIGNED_BYTES,
    MAX_COSIGNERS,
    STALE_S,
    WITNESS_PREFIX,
    Cosigned,
    witness_in,
    witness_name,
)
from archipel.lab.refusals import Busy, Malformed
from archipel.ledger.cosignature import cosigned
from archipel.ledger.mirror import cosigned_place
from archipel.ledger.signed_note import BadNote
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.mirror_documents import MAX_FAULTS, MAX_WORDS, MirrorFault, MirrorView
from people import identity

LAB = identity("lab")
KEY = lab_key(LAB.did)
FRESH = MirrorView(name="lab", lab=LAB.did, url="http://lab.example")
FOLLOWED = seen.grown(seen.answered(FRESH, 10), 5, "head", 10)


def fault(kind: Any, at_ms: int = 20, **said: Any) -> MirrorFault:
    return MirrorFault(kind=kind, at_ms=at_ms, words="", **said)


def test_a_rollback_after_one_that_is_over_is_told_anew_and_one_that_goes_on_is_not() -> None:
    first = seen.faulty(FOLLOWED, fault("rollback"))
    assert seen.faulty(first, fault("rollback", 25)) is first
    over = seen.grown(first, 6, "larger", 30)
    assert [each.over_ms for each in over.faults] == [30]
    again = seen.faulty(over, fault("rollback", 40))
    assert [each.at_ms for each in again.faults] == [20, 40]
    assert again.standing == "gone-back"
    later = seen.grown(again, 7, "larger still", 50)
    assert [each.over_ms for each in later.faults] == [30, 50], "what was over stays over"


def test_the_same_fork_is_one_by_its_place_or_its_evidence_and_a_broken_rule_by_its_entry() -> None:
    view = seen.faulty(FOLLOWED, fault("fork", where="here", evidence="e"))
    for known in ({"where": "here", "evidence": "f"}, {"where": "there", "evidence": "e"}):
        assert seen.faulty(view, fault("fork", **known)) is view
    view = seen.faulty(view, fault("fork", where="there", evidence="f"))
    view = seen.faulty(view, fault("broken", entry=3))
    assert seen.faulty(view, fault("broken", entry=3, where="here")) is view
    view = seen.faulty(view, fault("broken", entry=4))
    assert [each.kind for each in view.faults] == ["fork", "fork", "broken", "broken"]


def test_the_worst_that_is_known_is_how_a_lab_stands() -> None:
    assert seen.standing(FRESH, is_silent=False) == "new"
    silent = seen.unanswered(FRESH, 5, "", 10)
    assert (silent.standing, seen.unanswered(silent, 15, "", 10).standing) == ("new", "silent")
    view = seen.unanswered(FOLLOWED, 5, "", 0)
    for told, stands in (
        (None, "silent"),
        (fault("rollback"), "gone-back"),
        (fault("broken", entry=1), "broken"),
        (fault("fork", evidence="e"), "forked"),
        (fault("rollback", 30), "forked"),
    ):
        view = view if told is None else seen.faulty(view, told)
        assert view.standing == stands
    assert seen.grown(view, 9, "larger", 40).standing == "forked"
    assert seen.answered(view, 41).standing == "forked"
    again = seen.answered(seen.unanswered(FOLLOWED, 5, "no", 0), 6)
    assert (again.standing, again.since_ms, again.reason) == ("followed", 0, "")


def test_a_lab_whose_mirror_grows_from_elsewhere_is_as_silent_as_it_was() -> None:
    patient = seen.unanswered(FOLLOWED, 20, "", 100)
    grown = seen.grown(patient, 6, "larger", 30)
    assert (patient.standing, grown.standing) == ("followed", "followed")
    silent = seen.unanswered(grown, 120, "", 100)
    assert (silent.standing, seen.grown(silent, 7, "larger still", 130).standing) == ("silent", "silent")  # fmt: skip
    back = seen.grown(seen.faulty(silent, fault("rollback")), 7, "larger still", 130)
    assert (back.standing, seen.unanswered(back, 140, "", 100).standing) == ("followed", "silent")


def test_a_head_that_is_known_changes_nothing_and_words_are_cut_to_their_bound() -> None:
    assert seen.grown(FOLLOWED, 5, "head", 99) is FOLLOWED
    assert seen.asked(FOLLOWED, 7).asked_ms == 7
    assert len(seen.unanswered(FRESH, 1, "x" * 2000, 5).reason) == MAX_WORDS
    assert seen.answered(FRESH, 1, "y" * 2000).reason == "y" * MAX_WORDS


def test_of_too_many_faults_the_oldest_goes_that_is_not_the_first_of_its_kind() -> None:
    view = seen.faulty(FOLLOWED, fault("broken", 1, entry=0))
    view = seen.faulty(view, fault("rollback", 2))
    for number in range(3, MAX_FAULTS + 1):
        view = seen.faulty(view, fault("broken", number, entry=number))
    assert [each.at_ms for each in view.faults] == list(range(1, MAX_FAULTS + 1))
    view = seen.faulty(view, fault("broken", 99, entry=99))
    assert [each.at_ms for each in view.faults] == [1, 2, *range(4, MAX_FAULTS + 1), 99]


def note(number: int, at_s: int, size: int = 3, name: str = "") -> bytes:
    """A head of the lab's with one witness's signature."""
    witness = identity(f"witness-{number}")
    head = sign_tree_head(LAB, KEY.name, size, bytes(32))
    text = head.note.decode().partition("\n\n")[0] + "\n"
    return head.note + cosigned(text, name or witness_name(witness.did), witness, at_s).encode()


def test_of_one_witness_the_larger_head_counts_and_of_one_head_the_later_signature() -> None:
    found = Cosigned(KEY)
    for at_s, size, shown in (
        (50, 3, (3, 50)),
        (40, 3, (3, 50)),
        (60, 3, (3, 60)),
        (10, 4, (4, 10)),
        (90, 3, (4, 10)),
    ):
        found.take(note(1, at_s, size), 100)
        (view,) = found.shown()
        assert (view.size, view.at_s) == shown
    found.take(note(2, 20, 9), 100)
    assert [each.size for each in found.shown()] == [9, 4]


def test_a_witness_s_clock_may_be_ahead_by_minutes_and_a_head_long_by_its_bound() -> None:
    found = Cosigned(KEY)
    found.take(note(1, 100 + MAX_AHEAD_S), 100)
    with pytest.raises(Malformed, match=f"which is {MAX_AHEAD_S + 1} s from now"):
        found.take(note(2, 101 + MAX_AHEAD_S), 100)
    head = note(2, 1)
    line = "\u2014 w.example " + "A" * 40 + "\n"
    longest = head + line.encode() * ((MAX_COSIGNED_BYTES - len(head)) // len(line.encode()))
    with pytest.raises(Malformed, match=f"at most {MAX_COSIGNED_BYTES}"):
        found.take(longest + line.encode(), 100)
    assert len(found.shown()) == 1


def test_a_place_is_free_once_its_witness_signed_nothing_for_a_day_and_no_sooner() -> None:
    found = Cosigned(KEY)
    for number in range(MAX_COSIGNERS):
        found.take(note(number, 1000 if number == 7 else 1001), 2000)
    with pytest.raises(Busy):
        found.take(note(99, 999 + STALE_S), 999 + STALE_S)
    found.take(note(99, 1000 + STALE_S), 1000 + STALE_S)
    keys = {each.key.partition("+")[0] for each in found.shown()}
    assert witness_name(identity("witness-99").did) in keys
    assert witness_name(identity("witness-7").did) not in keys
    assert len(keys) == MAX_COSIGNERS


def test_a_witness_has_the_name_of_its_own_key_and_nobody_elses() -> None:
    mine, other = identity("witness-1"), identity("witness-2")
    assert witness_in(note(1, 5)).public_key == mine.public_key
    with pytest.raises(Malformed):
        Cosigned(KEY).take(note(1, 5, name=witness_name(other.did)), 100)
    with pytest.raises(BadNote, match=WITNESS_PREFIX):
        witness_in(note(1, 5, name="w.example"))
    assert witness_name(mine.did) == WITNESS_PREFIX + mine.did.removeprefix("did:key:")
    assert cosigned_place("archipel.witness/z6-M k") == "witnesses/archipel.witness_z6-M_k.note"


def test_a_witness_that_the_lab_names_has_a_place_however_many_strangers_were_there_first() -> None:
    ours = witness_name(identity("witness-99").did)
    found = Cosigned(KEY, lambda: frozenset({ours}))
    for number in range(MAX_COSIGNERS):
        found.take(note(number, 1000 + number % 2), 2000)
    with pytest.raises(Busy):
        found.take(note(98, 2000), 2000)
    found.take(note(99, 2000), 2000)
    keys = {each.key.partition("+")[0] for each in found.shown()}
    assert ours in keys
    last = witness_name(identity(f"witness-{MAX_COSIGNERS - 1}").did)
    assert last not in keys, "the stranger who came last"
    found.take(note(0, 2001), 2001)
    assert len(found.shown()) == MAX_COSIGNERS
