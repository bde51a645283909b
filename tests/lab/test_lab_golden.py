"""Ledgers that were written once are folded by every later version, to the same state."""

import json
from pathlib import Path

import pytest

from archipel.lab.entry import read_entry
from archipel.lab.recovery import replay, replayed
from archipel.lab.snapshots import ENCODERS, FORMAT
from archipel.ledger.merkle import root_of
from archipel.ledger.signed_note import NoteKey
from archipel.ledger.tree_head import verify_tree_head
from archipel.records.canonical import sha256_digest
from archipel.records.kinds import WORDS_OF
from archipel.records.statements import LeaseGranted, WorkAnswered
from golden import golden, story
from specimens import KINDS

KEPT = sorted(
    (Path(__file__).parents[1] / "vectors").glob("ledger-*.json"),
    key=lambda place: int(place.stem.partition("-")[2]),
)


@pytest.mark.parametrize("place", KEPT, ids=lambda place: place.stem)
def test_a_kept_ledger_folds_to_the_state_it_had(place: Path) -> None:
    kept = json.loads(place.read_text())
    entries = [entry.encode() for entry in kept["entries"]]
    state = replay(kept["lab"], entries)
    assert dict(state.book) == kept["balances"]
    assert {name: run.version for name, run in state.runs.items()} == kept["versions"]
    encoder = ENCODERS.get(kept["state_format"])
    if encoder is not None:
        assert sha256_digest(encoder(state)) == kept["state"]


@pytest.mark.parametrize("place", KEPT, ids=lambda place: place.stem)
def test_a_kept_ledger_lies_under_its_signed_head(place: Path) -> None:
    kept = json.loads(place.read_text())
    head = verify_tree_head(kept["head"].encode(), NoteKey.from_text(kept["ledger_key"]))
    entries = [entry.encode() for entry in kept["entries"]]
    assert (head.size, head.root) == (len(entries), root_of(entries))


def test_the_newest_kept_ledger_has_every_statement_and_every_kind_of_work() -> None:
    kept = json.loads(KEPT[-1].read_text())
    said = [read_entry(entry.encode()).statement for entry in kept["entries"]]
    assert {each.kind for each in said} == KINDS - {"lease.requested", "blob.offered"}
    granted = {each.spec.kind for each in said if isinstance(each, LeaseGranted)}
    answered = {each.answer.kind for each in said if isinstance(each, WorkAnswered)}
    assert granted == answered == set(WORDS_OF)


def test_what_is_written_today_is_what_the_newest_kept_ledger_says() -> None:
    """If the form of entries or of the state changes, a further ledger is kept beside the old one: `python
    tests/golden.py tests/vectors/ledger-N.json`, under another FORMAT of the state if that is what changed.
    """
    world = story()
    assert json.loads(KEPT[-1].read_text())["state_format"] == FORMAT
    assert golden(world) == json.loads(KEPT[-1].read_text())
    world.close()


@pytest.mark.parametrize("place", KEPT, ids=lambda place: place.stem)
def test_a_kept_ledger_folds_when_a_state_has_another_form_and_its_snapshots_are_passed_over(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a release that knows more of a state than the one that wrote it."""
    kept = json.loads(place.read_text())
    entries = [entry.encode() for entry in kept["entries"]]
    today = replayed(kept["lab"], entries)
    later = {FORMAT + 1000: lambda state: b"with more in it" + ENCODERS[FORMAT](state)}
    monkeypatch.setattr("archipel.lab.recovery.ENCODERS", later)
    then = replayed(kept["lab"], entries)
    assert then.state == today.state
    num_snapshots = sum(read_entry(entry).statement.kind == "snapshot.taken" for entry in entries)
    assert (then.compared, then.passed_over) == (0, num_snapshots)
    assert today.compared + today.passed_over == num_snapshots > 0
