"""A home made from another lab's entries is whole or has no ledger, and goes on wherever it was stopped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel.lab import backups, taking_over
from archipel.lab.entry import read_entry
from archipel.lab.taking_over import ASIDE, CannotTakeOver, entry_of, succession_of, take_over
from archipel.ledger.location import open_log
from archipel.ledger.merkle import root_of
from archipel.ledger.storage import LedgerCorrupt
from archipel.ledger.verification import lab_key
from archipel.records.statements import NodeJoined
from people import identity
from specimens import CAPABILITIES
from succeeding import NEXT, STEWARD, agreement, head_over, succession

FIRST = identity("first lab")
TOLD = [b"entry %d" % number for number in range(7)]
SAID = succession(TOLD, FIRST)


@pytest.fixture(autouse=True)
def _two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking_over, "ENTRIES_AT_ONCE", 2)


def entries(home: Path) -> list[bytes]:
    log = open_log(home / backups.LEDGER, lab_key(NEXT.did).name, NEXT, home / backups.HEAD)
    try:
        return list(log.entries())
    finally:
        log.close()


def stopping(after: int) -> Iterator[bytes]:
    yield from TOLD[:after]
    raise KeyboardInterrupt


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_home_holds_the_predecessors_entries_and_then_the_succession(tmp_path: Path) -> None:
    head = take_over(tmp_path, NEXT, TOLD, SAID)
    whole = [*TOLD, SAID.to_bytes()]
    assert (head.size, head.root) == (8, root_of(whole))
    assert entries(tmp_path) == whole
    assert not (tmp_path / ASIDE).exists()
    with pytest.raises(CannotTakeOver, match="has a ledger already"):
        take_over(tmp_path, NEXT, TOLD[:3], succession(TOLD[:3], FIRST))
    assert entries(tmp_path) == whole


def test_one_that_was_stopped_has_no_ledger_and_goes_on_with_what_is_not_written_yet(
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        take_over(tmp_path, NEXT, stopping(5), SAID)
    assert [each.name for each in tmp_path.iterdir()] == [ASIDE]
    assert (tmp_path / ASIDE).stat().st_mode & 0o777 == 0o700
    unread = [b"not", b"to be", b"read", b"again", *TOLD[4:]]
    head = take_over(tmp_path, NEXT, unread, SAID)
    assert head.root == root_of([*TOLD, SAID.to_bytes()])


def test_one_that_was_stopped_before_its_name_says_the_succession_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(backups, "copy_ledger", stopped)
        with pytest.raises(KeyboardInterrupt):
            take_over(tmp_path, NEXT, TOLD, SAID)
    assert not (tmp_path / backups.LEDGER).exists()
    again = entry_of(NEXT, SAID.statement, SAID.at_ms + 1)  # type: ignore[arg-type]
    assert take_over(tmp_path, NEXT, TOLD, again).size == 8
    assert entries(tmp_path) == [*TOLD, SAID.to_bytes()], "the first one stands"


@pytest.mark.parametrize(
    "other",
    [
        (TOLD[:6], FIRST),
        ([*TOLD[:6], b"another"], FIRST),
        (TOLD, identity("third lab")),
    ],
    ids=["shorter", "another entry", "another lab"],
)
def test_what_was_begun_from_another_prefix_goes_and_the_next_try_is_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: tuple
) -> None:
    told, lab = other
    with monkeypatch.context() as patch:
        patch.setattr(backups, "write_head", stopped)
        with pytest.raises(KeyboardInterrupt):
            take_over(tmp_path, NEXT, told, succession(told, lab))
    with pytest.raises(LedgerCorrupt, match="expected 7 under"):
        take_over(tmp_path, NEXT, TOLD, SAID)
    assert list(tmp_path.iterdir()) == []
    assert take_over(tmp_path, NEXT, TOLD, SAID).size == 8


def test_too_few_entries_are_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerCorrupt, match="6 entries under"):
        take_over(tmp_path, NEXT, TOLD[:6], SAID)
    assert list(tmp_path.iterdir()) == []


def test_only_a_succession_is_written_behind_the_entries(tmp_path: Path) -> None:
    said = NodeJoined(lab=NEXT.did, author=NEXT.did, seq=1, capabilities=CAPABILITIES)
    with pytest.raises(TypeError, match=r"expected lab.succeeded, got node.joined"):
        take_over(tmp_path, NEXT, TOLD, entry_of(NEXT, said, 1))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_succession_names_its_head_and_each_operator_once() -> None:
    head = head_over(TOLD, FIRST)
    yes, operators = agreement(TOLD, STEWARD, FIRST), (STEWARD.did, NEXT.did, STEWARD.did)
    said = succession_of(NEXT, FIRST.did, head, operators, "why", [yes])
    assert said.operators == tuple(sorted((STEWARD.did, NEXT.did)))
    assert (said.lab, said.author, said.seq) == (NEXT.did, NEXT.did, 1)
    assert (said.predecessor, said.size, said.root) == (FIRST.did, 7, f"sha256:{head.root.hex()}")
    assert (said.head.encode(), said.agreements) == (head.note, (yes,))
    assert read_entry(entry_of(NEXT, said, 5).to_bytes()) == entry_of(NEXT, said, 5)
