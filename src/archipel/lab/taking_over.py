"""A lab's home made from another's mirror: its entries, under a key of one's own, and the entry that says so.

    <home>/taking-over/ledger.sqlite   the ledger while it is made; goes on where it was stopped
    <home>/ledger.sqlite, ledger.head  the ledger once it is whole

Law: the ledger gets its name last, so a home with a ledger is a whole one; nothing is written that was not folded before, and a
key that has signed one ledger never signs another.
"""

import shutil
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from archipel.identity import Identity, sign
from archipel.lab import backups
from archipel.lab.entry import Entry, read_entry
from archipel.ledger.location import open_log
from archipel.ledger.log import Log
from archipel.ledger.storage import LedgerCorrupt
from archipel.ledger.tree_head import TreeHead
from archipel.ledger.verification import lab_key
from archipel.records.membership import Signed
from archipel.records.statements import RECORD_TYPE, encode
from archipel.records.succession import LabSucceeded

ASIDE = "taking-over"
ENTRIES_AT_ONCE = 1024


class CannotTakeOver(ValueError):
    """A home that cannot continue that ledger; the message says why and what to do."""


def succession_of(
    identity: Identity,
    predecessor: str,
    head: TreeHead,
    operators: Iterable[str],
    reason: str,
    agreements: Iterable[Signed] = (),
) -> LabSucceeded:
    """What this key says when it continues `predecessor` from its signed head on."""
    return LabSucceeded(
        lab=identity.did,
        author=identity.did,
        seq=1,
        predecessor=predecessor,
        size=head.size,
        root=f"sha256:{head.root.hex()}",
        head=head.note.decode(),
        operators=tuple(sorted(set(operators))),
        reason=reason,
        agreements=tuple(agreements),
    )


def entry_of(identity: Identity, said: LabSucceeded, at_ms: int) -> Entry:
    """It as an entry of the ledger."""
    return Entry(at_ms, sign(identity, encode(said), RECORD_TYPE), said)


def take_over(home: Path, identity: Identity, entries: Iterable[bytes], entry: Entry) -> TreeHead:
    """Write the ledger: the predecessor's entries, then `entry`; returns the head over them.

    entries: verified and folded by whoever calls. Stopped and called again with the same prefix, it goes on.

    Raises:
        CannotTakeOver: this home has a ledger already.
        LedgerCorrupt: the entries are not those that the succession is over. LedgerError: the disk.
    """
    if (home / backups.LEDGER).exists():
        raise CannotTakeOver(
            f"{home} has a ledger already, and a key signs one history; continue another in a home of its own (--home)"
        )
    aside, said = home / ASIDE, entry.statement
    if not isinstance(said, LabSucceeded):
        raise TypeError(f"expected lab.succeeded, got {said.kind}")
    aside.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = aside / backups.LEDGER
    log = open_log(place, lab_key(identity.did).name, identity, aside / backups.HEAD)
    try:
        head = _written(log, said, entries, entry.to_bytes())
    except LedgerCorrupt:
        log.close()
        shutil.rmtree(aside)
        raise
    finally:
        log.close()
    backups.write_head(home / backups.HEAD, lab_key(identity.did), head)
    backups.copy_ledger(place, home / backups.LEDGER)
    shutil.rmtree(aside)
    return head


def _written(log: Log, said: LabSucceeded, entries: Iterable[bytes], last: bytes) -> TreeHead:
    if _is_written(log, said):  # it was stopped before it got its name
        return log.head
    left = islice(entries, log.size, None)
    while page := list(islice(left, ENTRIES_AT_ONCE)):
        log.append(page)
    found = (log.size, f"sha256:{log.head.root.hex()}")
    if found != (said.size, said.root):
        raise LedgerCorrupt(
            f"{found[0]} entries under {found[1]} were written, expected {said.size} under {said.root}: begun from another "
            "prefix, which is gone now; run this again"
        )
    return log.append([last])


def _is_written(log: Log, said: LabSucceeded) -> bool:
    if log.size != said.size + 1:
        return False
    done = read_entry(log.read(said.size, 1)[0]).statement
    return isinstance(done, LabSucceeded) and (done.predecessor, done.root) == (
        said.predecessor,
        said.root,
    )
