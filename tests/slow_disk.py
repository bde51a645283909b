"""A ledger whose disk waits until it is allowed to write, its one writer, and entries for it."""

import threading
from collections.abc import Sequence

from archipel.identity import sign
from archipel.lab.commit import Committer
from archipel.lab.entry import Entry
from archipel.lab.state import LabState
from archipel.ledger.log import Log
from archipel.ledger.signed_note import NoteKey
from archipel.ledger.storage import EntryRow, HeadRow
from archipel.records.statements import RECORD_TYPE, Capabilities, NodeJoined, Statement, encode
from memory import MemoryStorage
from people import identity
from world import ORIGIN, START_MS

LAB = identity("lab")
CAPABILITIES = Capabilities(
    kinds=("rollout",), engine="e", device="d", software="s", speed_milli=1, batch_invariant=True,
    protections=(),
)  # fmt: skip


class SlowStorage(MemoryStorage):
    """Appends when it is allowed to; counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = threading.Event()
        self.batches: list[int] = []

    def append(self, entries: Sequence[EntryRow], head: HeadRow) -> None:
        rows = list(entries)
        if rows:
            assert self.allowed.wait(10.0)
            self.batches.append(len(rows))
        super().append(rows, head)


def entry(author, kind: type[Statement], seq: int, **fields) -> Entry:
    statement = kind(lab=LAB.did, author=author.did, seq=seq, **fields)
    return Entry(START_MS, sign(author, encode(statement), RECORD_TYPE), statement)  # type: ignore[arg-type]


def joining(number: int) -> Entry:
    return entry(identity(f"node {number}"), NodeJoined, 1, capabilities=CAPABILITIES)


def committer(storage: MemoryStorage) -> Committer:
    log = Log(storage, NoteKey(ORIGIN, LAB.public_key), LAB)
    return Committer(
        log, LabState(LAB.did), lambda first, entries: None, lambda: None, in_thread=True
    )
