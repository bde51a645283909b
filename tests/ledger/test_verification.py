"""Entries from elsewhere: all of them, as signed, or a refusal before the last one."""

import tracemalloc

import pytest

from archipel.identity import BadDid, Identity
from archipel.ledger.merkle import root_of
from archipel.ledger.storage import LedgerCorrupt
from archipel.ledger.tree_head import TreeHead, sign_tree_head
from archipel.ledger.verification import entries_under, lab_key

LAB = Identity.from_seed(bytes(32))


def _signed(entries: list[bytes]) -> TreeHead:
    return sign_tree_head(LAB, lab_key(LAB.did).name, len(entries), root_of(entries))


@pytest.mark.parametrize("size", [0, 1, 2, 1023, 1024, 1025, 3000])
def test_entries_that_were_signed_come_through_in_order(size: int) -> None:
    entries = [b"%d" % number for number in range(size)]
    assert list(entries_under(_signed(entries), iter(entries))) == entries


@pytest.mark.parametrize("size", [1, 2, 1024, 1500])
@pytest.mark.parametrize("lie", ["changed", "left out", "added", "swapped", "nothing"])
def test_nobody_gets_as_many_entries_as_were_signed_unless_they_are_those(
    size: int, lie: str
) -> None:
    entries = [b"%d" % number for number in range(size)]
    told = list(entries)
    if lie == "changed":
        told[size // 2] = b"another"
    elif lie == "left out":
        del told[size // 2]
    elif lie == "added":
        told.append(b"one more")
    elif lie == "swapped":
        told[0], told[-1] = told[-1], b"0" if size > 1 else b"x"
    else:
        told = []
    got = []
    with pytest.raises(LedgerCorrupt):
        got.extend(entries_under(_signed(entries), iter(told)))
    assert len(got) < size


def test_entries_are_verified_in_the_memory_of_a_few_however_many_they_are() -> None:
    size = 40_000
    head = _signed([b"%d" % number for number in range(size)])
    tracemalloc.start()
    try:
        for _ in entries_under(head, (b"%d" % number for number in range(size))):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 * size, "not even their hashes are all at hand at once"


def test_a_labs_key_follows_from_its_name() -> None:
    key = lab_key(LAB.did)
    assert key.public_key == LAB.public_key
    assert key.name == f"archipel.lab/{LAB.did.removeprefix('did:key:')}"
    with pytest.raises(BadDid):
        lab_key("did:web:lab.example")
