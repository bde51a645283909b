"""Where a ledger's rows live: the port that SQLite and PostgreSQL implement, and its errors.

A log is two tables: `entry` (position, leaf hash, bytes) and `tree_head` (size, signed note), one
head per appended batch, the first for the empty tree. Leaf hashes are the level 0 of C2SP tiles,
so tiles can be cut from them at any later time without touching an entry.

Law: `append` is atomic and durable when it returns; at most one writer holds a log. Where several labs share one
(`leadership`), a writer that another one followed appends nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class LedgerError(Exception):
    """The ledger cannot do what was asked; nothing was appended unless said otherwise."""


class LedgerInUse(LedgerError):
    """Another process is writing to this log."""


class LedgerLed(LedgerInUse):
    """Another lab leads this log, which several may share: this one may follow it."""


class LedgerFull(LedgerError):
    """The disk under the log is full."""


class LedgerCorrupt(LedgerError):
    """What is stored is not what was appended and signed."""


class LedgerUnavailable(LedgerError):
    """The database cannot be reached, opened or written to."""


class LedgerStopped(LedgerUnavailable):
    """The log refuses all further work: whether its last batch is there shows when it is opened again."""


class LeaderLost(LedgerStopped):
    """Another lab writes to this log now, or may: this one appends nothing more."""


class LedgerMissing(LedgerUnavailable):
    """There is no log at this place."""


@dataclass(frozen=True)
class EntryRow:
    """One entry; its position is its place in the append order."""

    position: int
    leaf_hash: bytes
    data: bytes

    def __post_init__(self) -> None:
        if type(self.leaf_hash) is not bytes or type(self.data) is not bytes:
            only_bytes([self.leaf_hash, self.data])


@dataclass(frozen=True)
class HeadRow:
    """One signed tree head."""

    size: int
    note: bytes

    def __post_init__(self) -> None:
        only_bytes([self.note])


@dataclass(frozen=True, slots=True)
class Term:
    """Of one leader, from when it began to write until the next one does."""

    number: int
    """Higher than all before it."""
    place: str = ""
    """Where its lab answers; empty: it did not say."""


def only_bytes(column: list[Any]) -> list[bytes]:
    """A column of bytes as a database gave it.

    Raises:
        LedgerCorrupt: damage has turned a value into one of another type.
    """
    wrong = set(map(type, column)) - {bytes}
    if wrong:
        names = ", ".join(sorted(kind.__name__ for kind in wrong))
        raise LedgerCorrupt(f"a stored value is of type {names}; expected bytes")
    return column


class Storage(Protocol):
    """The rows of one log. Every method raises LedgerError only."""

    def append(self, entries: Sequence[EntryRow], head: HeadRow) -> None:
        """Store these rows together or not at all; durable on return."""

    def checkpoint(self) -> None:
        """Gather what is durable into the main file, as far as readers allow; never fails."""

    def entries(self, start: int, limit: int) -> list[EntryRow]:
        """At most `limit` rows from position `start`, in order."""

    def leaf_hashes(self, start: int, limit: int) -> list[bytes]:
        """Leaf hashes alone, as `entries`."""

    def latest_head(self) -> HeadRow | None:
        """The head of the largest size; None in a new log."""

    def heads(self, above: int, limit: int) -> list[HeadRow]:
        """At most `limit` heads of more than `above` entries, by size."""

    def num_entries(self) -> int:
        """One more than the highest position; 0 when there is none."""

    def check_writer(self) -> None:
        """Whether this process may still write, as of now. Raises LeaderLost: it may not."""

    @property
    def term(self) -> Term | None:
        """What its writer leads under; None where there is one writer or none."""

    @property
    def lost(self) -> LeaderLost | None:
        """Why its writer writes no more, once that is known."""

    def close(self) -> None:
        """Give up the log; idempotent."""

    def abandon(self) -> None:
        """As `close`, but leave every byte as it is: a log that was refused is evidence."""
