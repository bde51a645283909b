"""A log's rows for who reads beside its writer: a storage of their own, opened when it is first asked.

`checked_rows` and `checked_head` say what is believed of stored rows.
Law: readers wait for one another, never for an append, and no append for them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from archipel.ledger.merkle import Frontier, leaf_hash
from archipel.ledger.signed_note import NoteKey
from archipel.ledger.storage import (
    EntryRow,
    HeadRow,
    LedgerCorrupt,
    LedgerError,
    LedgerUnavailable,
    Storage,
)
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head

HASH_PAGE = 65_536
"""Leaf hashes read at once."""
ENTRY_PAGE = 4_096
"""Entries read at once."""


class Reader:
    """Of one log in the writer's process."""

    def __init__(self, open_storage: Callable[[], Storage]) -> None:
        """`open_storage`: the same rows once more."""
        self._open_storage = open_storage
        self._storage: Storage | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    @contextmanager
    def turn(self) -> Iterator[Storage]:
        """The rows, for this thread alone; after a failure the next one opens them anew.

        Raises:
            LedgerUnavailable: this log is closed. LedgerError: it cannot be opened.
        """
        with self._lock:
            if self._is_closed:
                raise LedgerUnavailable("this log is closed")
            try:
                if self._storage is None:
                    self._storage = self._open_storage()
                yield self._storage
            except LedgerError:
                self._forget()
                raise

    def close(self) -> None:
        """Wait for who reads; idempotent."""
        with self._lock:
            self._is_closed = True
            self._forget()

    def _forget(self) -> None:
        if self._storage is not None:
            self._storage.close()
            self._storage = None


def checked_rows(storage: Storage, start: int, wanted: int) -> list[EntryRow]:
    """Rows `start` to `start + wanted`, each in its place and what its leaf hash says.

    Raises:
        LedgerCorrupt: one is not.
    """
    rows = storage.entries(start, wanted) if wanted else []
    for position in range(start, start + wanted):
        offset = position - start
        if offset >= len(rows) or rows[offset].position != position:
            raise LedgerCorrupt(f"entry {position} is missing")
        if leaf_hash(rows[offset].data) != rows[offset].leaf_hash:
            raise LedgerCorrupt(f"entry {position} is not the one that was appended")
    return rows


def checked_head(row: HeadRow, key: NoteKey) -> TreeHead:
    """A stored head, of the size it is stored for and signed by the log's key.

    Raises:
        LedgerCorrupt: it is not.
    """
    try:
        head = verify_tree_head(row.note, key)
    except BadTreeHead as error:
        raise LedgerCorrupt(
            f"the stored tree head of size {row.size} is not by {key.to_text()}: {error}"
        ) from None
    if head.size != row.size:
        raise LedgerCorrupt(f"the head stored for size {row.size} says {head.size}")
    return head


def hash_pages(storage: Storage, first: int, size: int) -> Iterator[list[bytes]]:
    """Leaf hashes `first` to `size`, a page at a time.

    Raises:
        LedgerCorrupt: one is missing.
    """
    for start in range(first, size, HASH_PAGE):
        wanted = min(HASH_PAGE, size - start)
        page = storage.leaf_hashes(start, wanted)
        if len(page) != wanted:
            raise LedgerCorrupt(
                f"an entry between {start} and {start + wanted} is missing: this ledger was cut "
                f"off or is damaged, its signed head covers {size}"
            )
        yield page


def hashed(storage: Storage, frontier: Frontier, size: int) -> Frontier:
    """The tree of the first `size` leaf hashes, from that of fewer. Raises as `hash_pages`."""
    for page in hash_pages(storage, frontier.size, size):
        frontier = frontier.extended(page)
    return frontier


def grown(storage: Storage, frontier: Frontier, size: int) -> Frontier:
    """The tree of the first `size` entries, from that of fewer; every entry is hashed. Raises as `checked_rows`."""
    while frontier.size < size:
        wanted = min(ENTRY_PAGE, size - frontier.size)
        rows = checked_rows(storage, frontier.size, wanted)
        frontier = frontier.extended(row.leaf_hash for row in rows)
    return frontier


def check_covered(before: int, size: int, after: int) -> None:
    """Of entries counted before and after `size` was read: those beyond a head may be anybody's."""
    if not before <= size <= after:
        raise LedgerCorrupt(f"{after} entries are stored, the last signed head covers {size}")


def check_root(frontier: Frontier, head: TreeHead) -> None:
    """Whether entries are those that a head was signed for; raises LedgerCorrupt."""
    if frontier.size != head.size or frontier.root() != head.root:
        raise LedgerCorrupt(
            f"the first {frontier.size} entries do not add up to the root signed for {head.size}"
        )
