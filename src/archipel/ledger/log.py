"""The ledger's door: append batches of entries, read them back, check all of it.

Law: after each batch one signed tree head covers all entries; entries and head are stored in one
transaction, and then the head in a file of its own. What `append` returned is durable; what it
raised for is not there, or the log refuses to go on.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from archipel.identity import Identity
from archipel.ledger.head_file import HeadFile
from archipel.ledger.merkle import EMPTY_ROOT, Frontier, leaf_hash
from archipel.ledger.reader import (
    Reader,
    check_covered,
    check_root,
    checked_head,
    checked_rows,
    grown,
    hash_pages,
    hashed,
)
from archipel.ledger.signed_note import NoteKey
from archipel.ledger.storage import (
    EntryRow,
    HeadRow,
    LedgerError,
    LedgerMissing,
    LedgerStopped,
    LedgerUnavailable,
    Storage,
    Term,
)
from archipel.ledger.tree_head import TreeHead, sign_tree_head

MAX_ENTRY_BYTES = 65_535
"""A C2SP entry bundle has 16-bit lengths: log digests of large things, not the things."""
MAX_BATCH_ENTRIES = 4_096
MAX_READ_ENTRIES = 4_096


class BadEntry(ValueError):
    """A batch or an entry beyond the ledger's bounds."""


class Log:
    """One append-only log. Safe to share between threads; `open_log` and `read_log` make it."""

    def __init__(
        self,
        storage: Storage,
        key: NoteKey,
        signer: Identity | None,
        head_file: HeadFile | None = None,
        open_reader: Callable[[], Storage] | None = None,
    ) -> None:
        """Open what `storage` holds, checking its leaf hashes against its signed heads.

        Args:
            storage: the rows; closed by `close`.
            key: who must have signed the heads, and the log's origin.
            signer: the private key of `key`; None opens the log for reading only.
            head_file: the newest head outside `storage`, read before it; closed by `close`.
            open_reader: the same rows once more, for `read`, which then waits for no append and no
                append for it; without, both take turns.

        Raises:
            LedgerCorrupt: the hashes do not add up to the head, the head is not by `key`, or the
                head file's head is over other or more entries.
        """
        self._storage = storage
        self._key = key
        self._signer = signer
        self._head_file = head_file
        self._lock = threading.Lock()
        self._reader = Reader(open_reader) if open_reader is not None else None
        self._failure: LedgerStopped | None = None
        self._is_closed = False
        self._head, self._frontier = self._load()

    @property
    def head(self) -> TreeHead:
        """The latest signed tree head; of size 0 in a new log."""
        return self._head

    @property
    def size(self) -> int:
        """The number of entries."""
        return self._head.size

    @property
    def failure(self) -> LedgerStopped | None:
        """Why this log refuses all further work, for good; None while it goes on."""
        return self._failure or self._storage.lost

    @property
    def term(self) -> Term | None:
        """What this process leads under, where several labs share the log."""
        return self._storage.term

    def check_writer(self) -> None:
        """Before what is needed is deleted. Raises LeaderLost: another writes now; LedgerError: it cannot be asked."""
        with self._lock:
            self._check_writable()
            self._storage.check_writer()

    @property
    def key(self) -> NoteKey:
        """The verifier key of this log's heads."""
        return self._key

    def append(self, entries: Sequence[bytes]) -> TreeHead:
        """Append all of `entries` in order, or none; return the head that covers them.

        Raises:
            BadEntry: no entries, too many, or one that is empty or too large.
            LedgerFull, LedgerUnavailable, LedgerCorrupt: nothing was appended; if that cannot be
                established, this log refuses all further work and has to be opened again.
        """
        _check_batch(entries)
        with self._lock:
            signer = self._check_writable()
            rows = [
                EntryRow(self.size + offset, leaf_hash(entry), entry)
                for offset, entry in enumerate(entries)
            ]
            frontier = self._frontier.extended(row.leaf_hash for row in rows)
            head = sign_tree_head(signer, self._key.name, frontier.size, frontier.root())
            try:
                self._storage.append(rows, HeadRow(head.size, head.note))
            except LedgerError as error:
                self._settle(error)
                raise
            self._keep_outside(head)
            self._head, self._frontier = head, frontier
            return head

    def read(self, start: int, limit: int = MAX_READ_ENTRIES) -> list[bytes]:
        """Entries `start` to `start + limit`, as far as the head covers them.

        Raises:
            BadEntry: a negative start, or a limit not in [1, MAX_READ_ENTRIES].
            LedgerCorrupt: an entry is missing or is not what its leaf hash says.
        """
        if start < 0 or not 1 <= limit <= MAX_READ_ENTRIES:
            raise BadEntry(
                f"start {start}, limit {limit}: expected start >= 0 and a limit of 1 to {MAX_READ_ENTRIES}"
            )
        with self._reader.turn() if self._reader else self._own_turn() as storage:
            self._check_usable()
            wanted = max(0, min(limit, self.size - start))
            return [row.data for row in checked_rows(storage, start, wanted)]

    def entries(self, start: int = 0) -> Iterator[bytes]:
        """All entries from `start` on, a page at a time: the input of a fold."""
        while page := self.read(start):
            yield from page
            start += len(page)

    def leaf_hashes(self) -> list[bytes]:
        """All leaf hashes, 32 bytes each: what proofs are made from."""
        with self._lock:
            self._check_usable()
            return [leaf for page in hash_pages(self._storage, 0, self.size) for leaf in page]

    @property
    def frontier(self) -> Frontier:
        """The tree of all entries, as far as its growth needs it."""
        return self._frontier

    def tree(self, size: int, since: Frontier) -> Frontier:
        """The tree of the first `size` entries; since: that of fewer, from which it is grown."""
        with self._lock:
            self._check_usable()
            return hashed(self._storage, since, size)

    def heads(self, above: int = -1, limit: int = MAX_READ_ENTRIES) -> list[TreeHead]:
        """At most `limit` signed heads of more than `above` entries, oldest first.

        Raises:
            LedgerCorrupt: a stored head is not by the log's key.
        """
        with self._lock:
            self._check_usable()
            return [checked_head(row, self._key) for row in self._storage.heads(above, limit)]

    def verify(self) -> int:
        """Recompute the whole tree from the entries; return how many heads it confirmed.

        1. Every entry is present, in place, and matches its leaf hash. 2. Every head ever signed
        is by the log's key and has the root of that many first entries. 3. The last head covers
        all entries. Does not show that nobody was ever shown another head.

        Raises LedgerCorrupt, naming the place, where any of these fails.
        """
        with self._lock:
            self._check_usable()
            frontier, confirmed, above = Frontier(), 0, -1
            before = self._storage.num_entries()  # a writer adds entries and head together
            while heads := self._storage.heads(above, MAX_READ_ENTRIES):
                for head in [checked_head(row, self._key) for row in heads]:
                    frontier = grown(self._storage, frontier, head.size)
                    check_root(frontier, head)
                    confirmed, above = confirmed + 1, head.size
            check_covered(before, frontier.size, self._storage.num_entries())
            return confirmed

    def close(self) -> None:
        """Give up the log so that another process may write to it; idempotent."""
        if self._reader is not None:
            self._reader.close()  # first: the last one to close a database tidies it up
        with self._lock:
            self._is_closed = True
            self._storage.close()
            if self._head_file is not None:
                self._head_file.close()

    @contextmanager
    def _own_turn(self) -> Iterator[Storage]:
        with self._lock:
            yield self._storage

    def _load(self) -> tuple[TreeHead, Frontier]:
        before = self._storage.num_entries()
        row = self._storage.latest_head()
        if row is None:
            check_covered(before, 0, before)
            return self._found(), Frontier()
        head = checked_head(row, self._key)
        kept = hashed(
            self._storage,
            Frontier(),
            min(self._head_file.size, head.size) if self._head_file else 0,
        )
        frontier = hashed(self._storage, kept, head.size)
        check_root(frontier, head)
        check_covered(before, head.size, self._storage.num_entries())
        if self._head_file is not None:
            self._head_file.compare(head.size, kept.root())
        if self._signer is not None:
            self._keep_outside(head)
        return head, frontier

    def _found(self) -> TreeHead:
        if self._signer is None or (self._head_file is not None and self._head_file.size):
            raise LedgerMissing("there is no log here yet; its lab has to start first")
        head = sign_tree_head(self._signer, self._key.name, 0, EMPTY_ROOT)
        self._storage.append([], HeadRow(0, head.note))
        self._keep_outside(head)
        return head

    def _keep_outside(self, head: TreeHead) -> None:
        """After the rows, so that they never hold less than the head file says."""
        if self._head_file is not None:
            try:
                self._head_file.keep(head)
            except LedgerError as error:
                self._failure = LedgerStopped(
                    f"the entries are stored, but not the head outside the database: {error}; "
                    "open the log again, which writes it"
                )
                raise self._failure from error

    def _settle(self, error: LedgerError) -> None:
        """After a failed append: go on if storage still ends where we do, else stop for good."""
        if isinstance(error, LedgerStopped):
            self._failure = error
            return
        try:
            row = self._storage.latest_head()
        except LedgerError:
            row = None
        if row is None or row.note != self._head.note:
            self._failure = LedgerStopped(
                f"an append failed ({error}) and it is unknown whether it took effect; "
                "open the log again and replay it"
            )

    def _check_usable(self) -> None:
        if self._is_closed:
            raise LedgerUnavailable("this log is closed")
        if self.failure is not None:
            raise self.failure

    def _check_writable(self) -> Identity:
        self._check_usable()
        if self._signer is None:
            raise LedgerUnavailable("this log was opened for reading only")
        return self._signer


def _check_batch(entries: Sequence[bytes]) -> None:
    if not 1 <= len(entries) <= MAX_BATCH_ENTRIES:
        raise BadEntry(f"a batch has 1 to {MAX_BATCH_ENTRIES} entries; got {len(entries)}")
    for entry in entries:
        if not 1 <= len(entry) <= MAX_ENTRY_BYTES:
            raise BadEntry(f"an entry has 1 to {MAX_ENTRY_BYTES} bytes; got {len(entry)}")
